"""A small world for load balancers: client, router, balancer and two nodes, without kube-proxy.

A node answers on a port by saying its name and the peer's address; what a VIP would meet on a node
(kube-proxy's rules) is an address on its loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.api.objects import Node, Service
from testbed.clock import ManualClock
from testbed.cloud.balancer import DataPlane
from testbed.cloud.dataplane import Site
from testbed.cloud.fake import FakeCloud
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import Bridge, End, NamespaceSpec, Plan, Route, Veth

CLIENT = {4: "203.0.113.10", 6: "2001:db8:113::10"}
RANGES = ("198.51.100.0/24", "2001:db8:100::/64")
BALANCER = ("172.19.0.2", "fd00:172:19::2")
PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
NODES = {
    "w1": ("172.18.0.11", "fd00:172:18::11"),
    "w2": ("172.18.0.12", "fd00:172:18::12"),
}


def plan() -> Plan:
    """The world's links, written from the router's side."""
    cables = {
        "client": (
            ("203.0.113.1/24", "2001:db8:113::1/64"),
            (f"{CLIENT[4]}/24", f"{CLIENT[6]}/64"),
        ),
        "balancer": (
            ("172.19.0.1/24", "fd00:172:19::1/64"),
            [f"{a}/{n}" for a, n in zip(BALANCER, (24, 64), strict=True)],
        ),
    }
    nodes = Bridge("router", "nodes", addresses=("172.18.0.1/24", "fd00:172:18::1/64"))
    veths, gateways = [], {}
    for name, (near, far) in cables.items():
        gateways[name] = [a.split("/")[0] for a in near]
        veths.append(
            Veth(End("router", name, addresses=near), End(name, "eth0", addresses=tuple(far)))
        )
    for name, (v4, v6) in NODES.items():
        gateways[name] = ["172.18.0.1", "fd00:172:18::1"]
        far = End(name, "eth0", addresses=(f"{v4}/24", f"{v6}/64"))
        veths.append(Veth(End("router", name, bridge="nodes"), far))
    forwarding = ("router", "balancer")
    return Plan(
        namespaces=tuple(
            NamespaceSpec(n, forwarding=n in forwarding) for n in ("router", *gateways)
        ),
        bridges=(nodes,),
        veths=tuple(veths),
        routes=(
            *(
                Route(name, "::/0" if ":" in via else "0.0.0.0/0", via=via)
                for name, listed in gateways.items()
                for via in listed
            ),
            *(Route("router", vips, via=a) for vips, a in zip(RANGES, BALANCER, strict=True)),
        ),
    )


async def proxy_header(reader: asyncio.StreamReader) -> str:
    """The client's address out of a PROXY protocol v2 header, read after its first two bytes."""
    rest = await reader.readexactly(14)
    assert rest.startswith(PROXY_SIGNATURE[2:]), rest
    addresses = await reader.readexactly(int.from_bytes(rest[-2:], "big"))
    size = {0x11: 4, 0x21: 16}[rest[-3]]
    return str(ipaddress.ip_address(addresses[:size]))


class World:
    """client -- router -- nodes, and router -- balancer; a cloud on the last."""

    def __init__(self, directory: Path) -> None:
        self.fabric = Fabric(f"cloud-{uuid.uuid4().hex[:8]}")
        self.fabric.deploy(plan())
        self.ns = {namespace.name: namespace for namespace in self.fabric.namespaces()}
        self.clock = ManualClock()
        self.servers: list[Any] = []
        self.status: dict[tuple[str, int], int] = {}
        self.site = Site(
            balancer=self.ns["balancer"],
            balancer_device="eth0",
            balancer_addresses=BALANCER,
            router=self.ns["router"],
            router_device="balancer",
            ranges=RANGES,
            directory=directory,
        )

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
        """On `port` (TCP, all addresses) `node` answers HTTP with who it is and whom it saw.

        Where the connection begins with a PROXY protocol header, `told` is the client it names.
        """
        self.status[node, port] = status

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told = ""
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    if line == PROXY_SIGNATURE[:2]:
                        told = await proxy_header(reader)
                        continue
                    seen = writer.get_extra_info("peername")[0].removeprefix("::ffff:")
                    local = writer.get_extra_info("sockname")[0].removeprefix("::ffff:")
                    body = json.dumps({"node": node, "peer": seen, "local": local, "told": told})
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
        self.fabric.close()


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
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
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
