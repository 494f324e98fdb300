"""The server on loopback sockets: UDP, TCP, truncation, forwarding, the log."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import dnslib
import pytest

from testbed.api.objects import EndpointSlice, NamespacedName, Service
from testbed.dns.forward import Forwarder
from testbed.dns.public import PublicZone
from testbed.dns.records import ClusterRecords
from testbed.dns.server import DnsServer, LogEntry, Responder
from testbed.dns.zone import Source

DEAD = ("127.0.0.1", 1)


def sockets(address: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on one port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((address, 0))
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.bind((address, udp.getsockname()[1]))
        except OSError:
            continue
        tcp.listen()
        return udp, tcp


class Lab:
    """A cluster's DNS that forwards to a public one."""

    def __init__(self) -> None:
        self.records = ClusterRecords()
        self.public = PublicZone()
        self.log: list[LogEntry] = []
        _, self.upstream = self.serve(self.public)
        self.forwarder = Forwarder([DEAD, self.upstream], timeout=0.3)
        self.server, self.address = self.serve(self.records, self.forwarder, self.log.append)

    def serve(
        self,
        source: Source,
        forwarder: Forwarder | None = None,
        log: Callable[[LogEntry], None] | None = None,
    ) -> tuple[DnsServer, tuple[str, int]]:
        udp, tcp = sockets()
        server = DnsServer(Responder(source, forwarder), [udp], [tcp], log)
        return server, udp.getsockname()

    async def ask(
        self, name: str, kind: str = "A", *, tcp: bool = False, edns: int | None = None
    ) -> Any:
        query = dnslib.DNSRecord.question(name, kind)
        if edns:
            query.add_ar(dnslib.EDNS0(udp_len=edns))
        found = await Forwarder([self.address], timeout=2).ask(query.pack(), tcp=tcp)
        assert found is not None
        return dnslib.DNSRecord.parse(found)


def play(story: Callable[[Lab], Awaitable[None]]) -> None:
    async def run() -> None:
        lab = Lab()
        await story(lab)
        lab.server.close()

    asyncio.run(run())


def service(name: str, **spec: Any) -> Service:
    return Service.from_document({"metadata": {"name": name, "namespace": "ns"}, "spec": spec})


def data(reply: Any) -> list[str]:
    return [str(resource.rdata) for resource in reply.rr]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_service_is_answered_and_a_change_is_seen_at_once(tcp: bool) -> None:
    async def story(lab: Lab) -> None:
        name = "web.ns.svc.cluster.local"
        lab.records.set_service(service("web", clusterIPs=["10.96.0.7"], ports=[]))
        assert data(await lab.ask(name, tcp=tcp)) == ["10.96.0.7"]
        lab.records.set_service(service("web", clusterIPs=["10.96.0.8"], ports=[]))
        assert data(await lab.ask(name.upper(), tcp=tcp)) == ["10.96.0.8"]
        lab.records.delete_service(NamespacedName("ns", "web"))
        reply = await lab.ask(name, tcp=tcp)
        assert (reply.header.rcode, len(reply.auth)) == (3, 1)

    play(story)


def test_long_answer_is_cut_over_udp_and_whole_over_tcp_or_with_edns() -> None:
    async def story(lab: Lab) -> None:
        lab.records.set_service(service("web", clusterIPs=["None"], ports=[]))
        endpoints = [{"addresses": [f"10.244.1.{n}"]} for n in range(60)]
        labels = {"kubernetes.io/service-name": "web"}
        meta = {"name": "web-1", "namespace": "ns", "labels": labels}
        document = {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints}
        lab.records.set_slice(EndpointSlice.from_document(document))
        name = "web.ns.svc.cluster.local"
        plain = await lab.ask(name)
        assert (plain.header.tc, data(plain)) == (1, [])
        assert len(data(await lab.ask(name, edns=1232))) == 60
        orders = [data(await lab.ask(name, tcp=True)) for _ in range(3)]
        assert all(len(order) == 60 for order in orders)
        assert orders[0] != orders[1] or orders[1] != orders[2]

    play(story)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_other_names_are_asked_for_upstream_past_a_dead_server(tcp: bool) -> None:
    async def story(lab: Lab) -> None:
        lab.public.add("www.example.com", "A", "203.0.113.80")
        assert data(await lab.ask("www.example.com", tcp=tcp)) == ["203.0.113.80"]
        assert (await lab.ask("no.example.com", tcp=tcp)).header.rcode == 3

    play(story)


def test_reverse_name_outside_the_cluster_goes_upstream() -> None:
    async def story(lab: Lab) -> None:
        lab.public.set_addresses("my.test", ["192.0.2.123"])
        assert data(await lab.ask("123.2.0.192.in-addr.arpa", "PTR")) == ["my.test."]

    play(story)


def test_external_name_is_resolved_to_its_end() -> None:
    async def story(lab: Lab) -> None:
        lab.public.add("foo.example.com", "CNAME", "bar.example.com")
        lab.public.add("bar.example.com", "A", "203.0.113.80")
        lab.records.set_service(service("web", type="ExternalName", externalName="foo.example.com"))
        reply = await lab.ask("web.ns.svc.cluster.local")
        assert data(reply) == ["foo.example.com.", "bar.example.com.", "203.0.113.80"]
        assert reply.header.rcode == 0

    play(story)


def test_without_an_upstream_names_elsewhere_are_refused_and_a_silent_one_fails() -> None:
    async def story(lab: Lab) -> None:
        for forwarder, code in ((None, 5), (Forwarder([DEAD], timeout=0.1), 2)):
            _, lab.address = lab.serve(lab.records, forwarder)
            assert (await lab.ask("www.example.com")).header.rcode == code

    play(story)


def test_every_query_is_logged_as_coredns_does() -> None:
    async def story(lab: Lab) -> None:
        lab.records.set_service(service("web", clusterIPs=["10.96.0.7"], ports=[]))
        await lab.ask("web.ns.svc.cluster.local")
        await lab.ask("Nothing.ns.svc.cluster.local", "AAAA", tcp=True)
        first, second = map(str, lab.log)
        assert first.startswith("127.0.0.1:")
        assert '"A IN web.ns.svc.cluster.local. udp 42 false 512" NOERROR qr,aa,rd 58 ' in first
        assert '"AAAA IN nothing.ns.svc.cluster.local. tcp 46 false 65535" NXDOMAIN' in second

    play(story)


def test_garbage_gets_an_error_or_nothing_and_the_server_lives() -> None:
    async def story(lab: Lab) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(lab.address)
            await loop.sock_sendall(sock, b"x")
            await loop.sock_sendall(sock, b"\0\7\0\0\0\0\0\0\0\0\0\0")
            reply = await asyncio.wait_for(loop.sock_recv(sock, 512), 2)
            assert reply[:2] == b"\0\7"
            assert reply[3] & 0xF == 1
        assert (await lab.ask("dns-version.cluster.local", "TXT")).header.rcode == 0

    play(story)


def test_unknown_edns_version_is_told() -> None:
    async def story(lab: Lab) -> None:
        query = dnslib.DNSRecord.question("dns-version.cluster.local", "TXT")
        query.add_ar(dnslib.EDNS0(version=1, udp_len=1232))
        found = await Forwarder([lab.address], timeout=2).ask(query.pack(), tcp=False)
        assert found is not None
        reply = dnslib.DNSRecord.parse(found)
        assert reply.ar[0].edns_rcode == 1
        assert reply.rr == []

    play(story)


def test_external_name_that_is_not_there_says_so_with_the_zone_that_denies_it() -> None:
    async def story(lab: Lab) -> None:
        lab.records.set_service(service("web", type="ExternalName", externalName="no.example.com"))
        reply = await lab.ask("web.ns.svc.cluster.local")
        assert data(reply) == ["no.example.com."]
        assert reply.header.rcode == 3
        assert [str(each.rname) for each in reply.auth] == ["."]

    play(story)
