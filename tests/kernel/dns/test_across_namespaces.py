"""Cluster DNS on sockets of a Pod's namespace, asked from another one and forwarding to a third."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import dnslib
import pytest

from testbed.api.objects import Service
from testbed.dns.forward import Forwarder
from testbed.dns.public import PublicZone
from testbed.dns.records import ClusterRecords
from testbed.dns.server import DnsServer, Responder, listening_sockets
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import End, NamespaceSpec, Plan, Veth

pytestmark = pytest.mark.kernel

DNS = {4: "10.0.0.1", 6: "fd00::1"}
PUBLIC = {4: "10.0.1.1", 6: "fd00:1::1"}


@pytest.fixture
def fabric() -> Iterator[Fabric]:
    plan = Plan(
        namespaces=tuple(map(NamespaceSpec, ("dns", "client", "public"))),
        veths=(
            Veth(
                End("dns", "eth0", addresses=("10.0.0.1/24", "fd00::1/64")),
                End("client", "eth0", addresses=("10.0.0.2/24", "fd00::2/64")),
            ),
            Veth(
                End("dns", "eth1", addresses=("10.0.1.2/24", "fd00:1::2/64")),
                End("public", "eth0", addresses=("10.0.1.1/24", "fd00:1::1/64")),
            ),
        ),
    )
    with Fabric(f"dns-{uuid.uuid4().hex[:8]}") as made:
        made.deploy(plan)
        yield made


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_cluster_and_public_names_are_resolved(fabric: Fabric, version: int, tcp: bool) -> None:
    async def story() -> None:
        public = PublicZone()
        public.add("www.example.com", "A", "203.0.113.80")
        records = ClusterRecords()
        records.set_service(
            Service.from_document(
                {
                    "metadata": {"name": "web", "namespace": "ns"},
                    "spec": {"clusterIPs": ["10.96.0.7"], "ports": []},
                }
            )
        )
        pod = fabric.namespace("dns")
        forwarder = Forwarder([(PUBLIC[version], 53)], pod.socket)
        servers = []
        for name, responder in (
            ("public", Responder(public)),
            ("dns", Responder(records, forwarder)),
        ):
            udp, stream = listening_sockets(fabric.namespace(name).socket)
            servers.append(DnsServer(responder, [udp], [stream]))
        client = Forwarder([(DNS[version], 53)], fabric.namespace("client").socket)
        for name, address in (
            ("web.ns.svc.cluster.local", "10.96.0.7"),
            ("www.example.com", "203.0.113.80"),
        ):
            answer = await client.ask(dnslib.DNSRecord.question(name).pack(), tcp=tcp)
            assert answer is not None
            assert [str(r.rdata) for r in dnslib.DNSRecord.parse(answer).rr] == [address]
        for server in servers:
            server.close()

    asyncio.run(story())
