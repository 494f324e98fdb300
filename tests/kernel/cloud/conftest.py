"""A small world for load balancers: client, router, balancer and two nodes, without kube-proxy.

A node answers on a port by saying its name and the peer's address; what a VIP would meet on a node
(kube-proxy's rules) is an address on its loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from testbed.api.objects import Node, Service
from testbed.clock import ManualClock
from testbed.cloud.balancer import DataPlane
from testbed.cloud.dataplane import Site
from testbed.cloud.fake import FakeCloud
from testbed.netlink import NetlinkSocket

CLIENT = {4: "203.0.113.10", 6: "2001:db8:113::10"}
RANGES = ("198.51.100.0/24", "2001:db8:100::/64")
BALANCER = ("172.19.0.2", "fd00:172:19::2")
NODES = {
    "w1": ("172.18.0.11", "fd00:172:18::11"),
    "w2": ("172.18.0.12", "fd00:172:18::12"),
}
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Netns:
    """A named namespace of this test run."""

    def __init__(self, name: str) -> None:
        self.name = name
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.run(["ip", "link", "set", "lo", "up"])
        # Link-local addresses are usable at once.
        for name in ("all", "default"):
            self.sysctl(f"net.ipv6.conf.{name}.accept_dad", "0")

    def run(self, argv: Sequence[str], *, input: str | None = None) -> str:
        command = ["ip", "netns", "exec", self.name, *argv]
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.name}: {argv}\n{input}\n{done.stderr}"
        return done.stdout

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        made: list[socket.socket] = []

        def enter() -> None:
            with open(f"/run/netns/{self.name}") as place:
                assert _libc.setns(place.fileno(), _CLONE_NEWNET) == 0, os.strerror(
                    ctypes.get_errno()
                )
            made.append(socket.socket(family, kind, protocol))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return made[0]

    def netlink(self, protocol: int) -> NetlinkSocket:
        return NetlinkSocket(self.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))

    def sysctl(self, key: str, value: str) -> str:
        return self.run(["sysctl", "-qw", f"{key.replace('/', '.')}={value}"])

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)


class World:
    """client -- router -- nodes, and router -- balancer; a cloud on the last."""

    def __init__(self) -> None:
        prefix = f"cloud{uuid.uuid4().hex[:6]}"
        names = ("client", "router", "balancer", *NODES)
        self.ns = {name: Netns(f"{prefix}-{name}") for name in names}
        self.clock = ManualClock()
        self.servers: list[Any] = []
        self.sockets: dict[tuple[str, int], socket.socket] = {}
        self.status: dict[tuple[str, int], int] = {}
        router = self.ns["router"]
        for name in ("router", "balancer"):
            for key, value in {
                "net.ipv4.ip_forward": "1",
                "net.ipv6.conf.all.forwarding": "1",
                "net.ipv4.conf.all.rp_filter": "0",
                "net.ipv4.conf.default.rp_filter": "0",
            }.items():
                self.ns[name].sysctl(key, value)
        self._link(
            "client",
            "cl",
            ("203.0.113.1/24", "2001:db8:113::1/64"),
            ("203.0.113.10/24", "2001:db8:113::10/64"),
        )
        self._link(
            "balancer",
            "lb",
            ("172.19.0.1/24", "fd00:172:19::1/64"),
            ("172.19.0.2/24", "fd00:172:19::2/64"),
        )
        router.run(["ip", "link", "add", "nodes", "type", "bridge"])
        self._addresses(router, "nodes", ("172.18.0.1/24", "fd00:172:18::1/64"))
        for name, (v4, v6) in NODES.items():
            self._link(name, name, (), (f"{v4}/24", f"{v6}/64"), ("172.18.0.1", "fd00:172:18::1"))
            router.run(["ip", "link", "set", name, "master", "nodes"])
        for vips, via in zip(RANGES, BALANCER, strict=True):
            router.run(["ip", "route", "add", vips, "via", via])
        self.site = Site(self.ns["balancer"], "eth0", BALANCER, router, "lb", RANGES)

    def _link(
        self,
        name: str,
        device: str,
        router_addresses: Sequence[str],
        addresses: Sequence[str],
        gateways: Sequence[str] = (),
    ) -> None:
        router, other = self.ns["router"], self.ns[name]
        router.run(
            ["ip", "link", "add", device, "type", "veth", "peer", "eth0", "netns", other.name]
        )
        self._addresses(router, device, router_addresses)
        self._addresses(other, "eth0", addresses)
        for gateway in gateways or (a.split("/")[0] for a in router_addresses):
            other.run(["ip", "route", "add", "default", "via", gateway])

    def _addresses(self, ns: Netns, device: str, addresses: Sequence[str]) -> None:
        for address in addresses:
            extra = ["nodad"] if ":" in address else []
            ns.run(["ip", "address", "add", address, "dev", device, *extra])
        ns.run(["ip", "link", "set", device, "up"])

    def cloud(self, data_plane: DataPlane = DataPlane.NAT) -> FakeCloud:
        cloud = FakeCloud(self.site, self.clock, data_plane=data_plane)
        self.servers.append(cloud)
        return cloud

    def play(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test's coroutine and close what it opened."""

        async def run() -> None:
            try:
                await story()
            finally:
                for server in self.servers:
                    server.close()

        asyncio.run(run())

    async def serve(self, node: str, port: int, status: int = 200) -> None:
        """On `port` (TCP, all addresses) `node` answers HTTP with who it is and whom it saw."""
        self.status[node, port] = status

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while await reader.readline():
                    seen = writer.get_extra_info("peername")[0].removeprefix("::ffff:")
                    local = writer.get_extra_info("sockname")[0].removeprefix("::ffff:")
                    body = json.dumps({"node": node, "peer": seen, "local": local})
                    code = self.status[node, port]
                    writer.write(f"HTTP/1.1 {code} X\r\n\r\n{body}\n".encode())
                    await writer.drain()
                    if code != 200:
                        break
            writer.close()

        sock = self.ns[node].socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::", port))
        self.servers.append(await asyncio.start_server(answer, sock=sock))

    async def get(
        self, address: str, port: int, *, source_port: int = 0, timeout: float = 0.4
    ) -> dict[str, str] | None:
        """One request from the client; None where no answer came in time."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.ns["client"].socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            sock.bind((CLIENT[6 if ":" in address else 4], source_port))
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.get_running_loop().sock_connect(sock, (address, port))
                    return await self.ask(sock)
            except (TimeoutError, OSError):
                return None

    async def serve_datagrams(self, node: str, port: int) -> None:
        """On `port` (UDP) `node` answers each datagram with its name and the peer it saw."""

        class Answer(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, peer: Any) -> None:
                seen = {"node": node, "peer": peer[0].removeprefix("::ffff:")}
                self.transport.sendto(json.dumps(seen).encode(), peer)

        sock = self.ns[node].socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::", port))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Answer, sock=sock)
        self.servers.append(transport)

    async def exchange(self, sock: socket.socket, timeout: float = 0.4) -> dict[str, str] | None:
        """One datagram on a connected socket and its answer; None where none came."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        try:
            async with asyncio.timeout(timeout):
                await loop.sock_sendall(sock, b"hello")
                found: dict[str, str] = json.loads(await loop.sock_recv(sock, 4096))
                return found
        except (TimeoutError, OSError):
            return None

    async def ask(self, sock: socket.socket) -> dict[str, str]:
        """One more request on a connection."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"GET\n")
        text = b""
        while not text.endswith(b"}\n"):
            part = await loop.sock_recv(sock, 4096)
            if not part:
                raise ConnectionResetError
            text += part
        found: dict[str, str] = json.loads(text.split(b"\r\n\r\n", 1)[1])
        return found

    async def pass_time(self, cloud: FakeCloud, seconds: float, step: float = 0.5) -> None:
        """Let the lab's clock go on, waiting for the checks that fall due."""
        await cloud.settled()
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            await cloud.settled()

    def close(self) -> None:
        for ns in self.ns.values():
            ns.delete()


def node(name: str, **labels: str) -> Node:
    return Node(name, labels, tuple(("InternalIP", a) for a in NODES[name]), ())


def service(name: str = "web", **spec: Any) -> Service:
    spec = {
        "type": "LoadBalancer",
        "ports": [{"port": 80, "nodePort": 30080}],
        "ipFamilies": ["IPv4", "IPv6"],
        **spec,
    }
    annotations = spec.pop("annotations", {})
    return Service.from_document(
        {
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": spec,
        }
    )


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def make_service() -> Any:
    return service


@pytest.fixture
def nodes() -> list[Node]:
    return [node(name) for name in NODES]
