"""A small world of its own: client – router – node (DNAT) – two Pods, and an echo server."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from testbed import shell
from testbed.netlink import NetlinkSocket

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

CLIENT, CLIENT6 = "203.0.113.10", "2001:db8:113::10"
NODE, NODE6 = "172.18.0.11", "fd00:172:18::11"
PODS = {"web-0": "10.244.1.5", "web-1": "10.244.1.6"}
PODS6 = {"web-0": "fd00:10:244:1::5", "web-1": "fd00:10:244:1::6"}
VIP, VIP6 = "10.96.10.1", "fd00:10:96::1"


class NetNs:
    """A named namespace with the probe's Namespace protocol."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self._fd = os.open(path, os.O_RDONLY)

    def call(self, fn: Callable[[], Any]) -> Any:
        result: list[Any] = []

        def work() -> None:
            if _libc.setns(self._fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                result.append((fn(), None))
            except BaseException as error:
                result.append((None, error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        value, error = result[0]
        if error is not None:
            raise error
        return value

    def socket(self, family: int, type: int, proto: int = 0) -> socket.socket:
        made: socket.socket = self.call(lambda: socket.socket(family, type, proto))
        return made

    def netlink(self, protocol: int) -> NetlinkSocket:
        return NetlinkSocket(self.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))

    def run(self, argv: Sequence[str], input: str | None = None) -> str:
        return shell.run(argv, input=input, netns_fd=self._fd, netns=self.name)

    def write(self, sysctl: str, value: str) -> None:
        def put() -> None:
            with open(f"/proc/sys/{sysctl}", "w") as file:
                file.write(value)

        self.call(put)

    def close(self) -> None:
        os.close(self._fd)


class EchoServer:
    """Answers TCP lines, HTTP requests and datagrams with one JSON line about the peer."""

    def __init__(self, namespace: NetNs, pod: str, port: int = 8080) -> None:
        self._pod = pod
        self._tcp = namespace.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._udp = namespace.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        for sock in (self._tcp, self._udp):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("::", port))
        self._tcp.listen(16)
        self._stopping = False
        for work in (self._serve_tcp, self._serve_udp):
            threading.Thread(target=work, daemon=True).start()

    def _line(self, peer: tuple[Any, ...]) -> bytes:
        address = peer[0].removeprefix("::ffff:")
        return json.dumps({"pod": self._pod, "peer": f"{address}:{peer[1]}"}).encode() + b"\n"

    def _serve_tcp(self) -> None:
        while not self._stopping:
            try:
                connection, peer = self._tcp.accept()
            except OSError:
                return
            with connection:
                try:
                    asked = connection.recv(4096)
                    line = self._line(peer)
                    if asked.startswith(b"GET "):
                        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(line)}\r\n"
                        line = head.encode() + b"Connection: close\r\n\r\n" + line
                    connection.sendall(line)
                except OSError:
                    continue

    def _serve_udp(self) -> None:
        while not self._stopping:
            try:
                _, peer = self._udp.recvfrom(65536)
                self._udp.sendto(self._line(peer), peer)
            except OSError:
                return

    def close(self) -> None:
        self._stopping = True
        for sock in (self._tcp, self._udp):
            sock.close()


class Relay:
    """A proxy for one request: takes a connection and hands its bytes on over one of its own."""

    def __init__(self, namespace: NetNs, port: int, target: str, target_port: int) -> None:
        self._namespace = namespace
        self._target = (target, target_port)
        self._server = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(("0.0.0.0", port))
        self._server.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, self._namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as behind:
            behind.connect(self._target)
            behind.sendall(connection.recv(4096))
            connection.sendall(behind.recv(4096))

    def close(self) -> None:
        self._server.close()


class World:
    """client – router – w1 – bridge – web-0, web-1; routes both ways, both families."""

    NAMES = ("client", "router", "w1", "web-0", "web-1")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._made: list[str] = []
        self.namespaces: dict[str, NetNs] = {}
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> NetNs:
        return self.namespaces[name]

    def all(self) -> list[NetNs]:
        return list(self.namespaces.values())

    def _build(self) -> None:
        for name in self.NAMES:
            full = f"{self.prefix}-{name}"
            shell.run(["ip", "netns", "add", full])
            self._made.append(full)
            namespace = self.namespaces[name] = NetNs(name, f"/run/netns/{full}")
            namespace.write("net/ipv6/conf/all/accept_dad", "0")
            namespace.write("net/ipv6/conf/default/accept_dad", "0")
            if name in ("router", "w1"):
                namespace.write("net/ipv4/ip_forward", "1")
                namespace.write("net/ipv6/conf/all/forwarding", "1")
        self._link("client", "eth0", "router", "c0")
        self._link("router", "n0", "w1", "eth0")
        self._link("web-0", "eth0", "w1", "veth-web-0")
        self._link("web-1", "eth0", "w1", "veth-web-1")
        self._ip(
            "client",
            f"""
            addr add {CLIENT}/24 dev eth0
            addr add {CLIENT6}/64 dev eth0 nodad
            route add default via 203.0.113.1
            route add default via 2001:db8:113::1""",
        )
        self._ip(
            "router",
            """
            addr add 203.0.113.1/24 dev c0
            addr add 2001:db8:113::1/64 dev c0 nodad
            addr add 172.18.0.1/24 dev n0
            addr add fd00:172:18::1/64 dev n0 nodad
            route add 10.244.1.0/24 via 172.18.0.11
            route add 10.96.0.0/16 via 172.18.0.11
            route add fd00:10:244:1::/64 via fd00:172:18::11
            route add fd00:10:96::/112 via fd00:172:18::11""",
        )
        self._ip(
            "w1",
            f"""
            link add cni0 type bridge
            link set cni0 up
            link set veth-web-0 master cni0
            link set veth-web-1 master cni0
            addr add {NODE}/24 dev eth0
            addr add {NODE6}/64 dev eth0 nodad
            addr add 10.244.1.1/24 dev cni0
            addr add fd00:10:244:1::1/64 dev cni0 nodad
            route add default via 172.18.0.1
            route add default via fd00:172:18::1""",
        )
        self["w1"].run(["bridge", "link", "set", "dev", "veth-web-0", "hairpin", "on"])
        self["w1"].write("net/ipv4/conf/all/route_localnet", "1")
        for pod in PODS:
            self._ip(
                pod,
                f"""
                addr add {PODS[pod]}/24 dev eth0
                addr add {PODS6[pod]}/64 dev eth0 nodad
                route add default via 10.244.1.1
                route add default via fd00:10:244:1::1""",
            )

    def _link(self, one: str, one_name: str, other: str, other_name: str) -> None:
        self[one].run([
            "ip", "link", "add", one_name, "type", "veth",
            "peer", "name", other_name, "netns", f"{self.prefix}-{other}",
        ])  # fmt: skip
        self._ip(one, f"link set lo up\nlink set {one_name} up")
        self._ip(other, f"link set lo up\nlink set {other_name} up")

    def _ip(self, name: str, lines: str) -> None:
        for line in lines.strip().splitlines():
            words = line.split()
            if words[0] in ("addr", "route") and any(":" in word for word in words[1:]):
                words.insert(0, "-6")
            self[name].run(["ip", *words])

    def close(self) -> None:
        for namespace in self.namespaces.values():
            namespace.close()
        for full in self._made:
            shell.run(["ip", "netns", "del", full], check=False)


IPTABLES = f"""*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC - [0:0]
:KUBE-SEP - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SERVICES -d 10.96.10.9/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d {VIP}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC
-A KUBE-SERVICES -d {VIP}/32 -p udp -m udp --dport 80 -j KUBE-SVC
-A KUBE-SERVICES -d {VIP}/32 -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.244.1.5:9999
-A KUBE-SVC ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SVC -j KUBE-SEP
-A KUBE-SEP -s 10.244.1.5/32 -j KUBE-MARK-MASQ
-A KUBE-SEP -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SEP -p udp -m udp -j DNAT --to-destination 10.244.1.5:8080
COMMIT
*filter
:KUBE-PORTALS - [0:0]
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PORTALS
-A OUTPUT -j KUBE-PORTALS
-A KUBE-PORTALS -d {VIP}/32 -p tcp -m tcp --dport 82 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-PORTALS -d {VIP}/32 -p tcp -m tcp --dport 83 -j DROP
-A FORWARD -d 10.96.0.0/16 -p udp -m udp --dport 82 -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""

NFT = f"""table ip kube-proxy {{
  set cluster-ips {{ type ipv4_addr; elements = {{ {VIP} }}; }}
  map no-endpoint-services {{
    type ipv4_addr . inet_proto . inet_service : verdict;
    elements = {{ {VIP} . tcp . 82 : goto reject-chain, {VIP} . tcp . 83 : drop }};
  }}
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict;
    elements = {{ {VIP} . tcp . 80 : goto service-web, {VIP} . udp . 80 : goto service-web-udp,
                  {VIP} . tcp . 81 : goto service-deaf }};
  }}
  chain reject-chain {{ reject; }}
  chain service-web {{
    meta l4proto tcp dnat ip to numgen random mod 2 map {{
      0 : 10.244.1.5 . 8080, 1 : 10.244.1.5 . 8080 }};
  }}
  chain service-web-udp {{ meta l4proto udp dnat ip to 10.244.1.5:8080; }}
  chain service-deaf {{ meta l4proto tcp dnat ip to 10.244.1.5:9999; }}
  chain services {{
    ip daddr @cluster-ips ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000 comment "masq"
    ip daddr . meta l4proto . th dport vmap @service-ips
  }}
  chain masquerading {{
    meta mark & 0x4000 != 0 meta mark set meta mark ^ 0x4000 masquerade fully-random
    ct status dnat ip saddr 10.244.1.5 ip daddr 10.244.1.5 masquerade fully-random
  }}
  chain check {{ ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }}
  chain filter-forward {{
    type filter hook forward priority filter;
    ct state new jump check
    ip daddr 10.96.0.0/16 udp dport 82 reject
  }}
  chain filter-output {{ type filter hook output priority filter; jump check; }}
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading; }}
}}
"""
