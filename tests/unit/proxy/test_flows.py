"""Upstream's flow vectors through the rendered rules, in both modes, by a tracer (no kernel)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.api.documents import Document
from testbed.api.objects import IPV4, IPV6
from testbed.proxy.changes import ProxyState
from testbed.proxy.config import KubeProxyConfiguration
from testbed.proxy.instance import Instance
from testbed.proxy.iptables.render import Renderer as IptablesRenderer
from testbed.proxy.nftables.render import Renderer as NftablesRenderer
from testbed.proxy.node import LocalNode
from tests.flow_tables import (
    ALL_VECTORS,
    CONFIG,
    EXPECTED,
    FRONTS,
    MASQUERADE,
    MODES,
    NODE_PORT,
    NODE_PORTS,
    POLICIES,
    SERVICE_CIDRS,
    SOURCES,
    Vector,
    adapted,
    endpoints,
    objects_of,
    service,
)
from tests.unit.proxy.tracer import IptablesTracer, NftablesTracer, Outcome, Packet
from tests.unit.proxy.worlds import make_state

NODE = LocalNode("w1", IPV4, "192.168.0.2", ("127.0.0.1", "192.168.0.2", "192.168.1.2"))


def trace(
    docs: list[Document],
    mode: str,
    packet: tuple[str, str, str, int],
    config: KubeProxyConfiguration = CONFIG,
    node: LocalNode = NODE,
) -> Outcome:
    instance = Instance(node, config, SERVICE_CIDRS)
    state: ProxyState = make_state(docs, node.family, node.name)
    # The VIPs count as the node's own where a packet comes from one: SNATed there by itself.
    local = {*node.addresses, *(address for address in (packet[1],) if address in VIPS)}
    sent = Packet(*packet, frozenset(local))
    if mode == "iptables":
        return IptablesTracer(IptablesRenderer(instance).render(state), sent).trace()
    return NftablesTracer(NftablesRenderer(instance).render(state), sent).trace()


VIPS = {"1.2.3.4", "5.6.7.8"}


@pytest.mark.parametrize(
    ("vector", "mode"), ALL_VECTORS, ids=[f"{v.name}-{mode}" for v, mode in ALL_VECTORS]
)
def test_a_packet_ends_where_upstream_says(vector: Vector, mode: str) -> None:
    expected = vector.expected[mode]
    docs = objects_of(vector)
    packet = vector.protocol, vector.source, vector.destination, vector.port
    if vector.name.startswith("HealthCheckNodePort"):
        packet = vector.protocol, "203.0.113.2", vector.destination, vector.port
    assert str(trace(docs, mode, packet)) == expected


@pytest.mark.parametrize("masquerade_all", [False, True], ids=["", "masquerade-all"])
@pytest.mark.parametrize("without", [False, True], ids=["", "no-detector"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", MASQUERADE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_masquerade_is_decided_as_upstream(
    row: tuple[str, ...], mode: str, without: bool, masquerade_all: bool
) -> None:
    source, front, *outcomes = row
    config = replace(
        CONFIG,
        cluster_cidr=() if without else CONFIG.cluster_cidr,
        iptables=replace(CONFIG.iptables, masquerade_all=masquerade_all),
        nftables=replace(CONFIG.nftables, masquerade_all=masquerade_all),
    )
    for policy, outcome in enumerate(outcomes):
        destination = "127.0.0.1" if source == "localhost" else FRONTS[front][policy]
        number = 3001 + policy if front == "NodePort" else 80
        traced = trace(POLICIES, mode, ("tcp", SOURCES[source], destination, number), config)
        if source == "localhost" and mode == "nftables":
            assert not traced.endpoints
            continue
        wanted = adapted(source, front, policy, outcome, without, masquerade_all).split()
        assert str(traced) == EXPECTED[wanted[0]] + (" M" if wanted[1] == "M" else "")


SIX = LocalNode("w1", IPV6, "fd00:20::2", ("::1", "fd00:20::2", "fd00:21::2"))


@pytest.mark.parametrize(
    ("mode", "family", "localhost", "addresses", "second", "loopback"), NODE_PORTS
)
def test_node_ports_are_served_where_upstream_serves_them(
    mode: str,
    family: str,
    localhost: bool,
    addresses: tuple[str, ...],
    second: bool,
    loopback: bool,
) -> None:
    node = NODE if family == IPV4 else SIX
    cluster_ip, pod, host, client = (
        ("172.30.0.41", "10.0.0.2", "10.180.0.1", "203.0.113.2")
        if family == IPV4
        else ("fd00:30::41", "fd00:10::2", "fd00:10::1", "2001:db8::2")
    )
    docs = [
        service("s", cluster_ip, NODE_PORT, type="NodePort"),
        endpoints("s", f"{host}/l", family=family),
    ]
    config = replace(CONFIG, localhost_node_ports=localhost, node_port_addresses=addresses)
    endpoint = f"{host}:80" if family == IPV4 else f"[{host}]:80"

    def reach(source: str, destination: str, number: int = 3001) -> str:
        return str(trace(docs, mode, ("tcp", source, destination, number), config, node))

    assert reach(pod, cluster_ip, 80) == endpoint
    assert reach(client, node.ip) == f"{endpoint} M"
    assert reach(node.ip, node.ip) == f"{endpoint} M"
    assert reach(client, node.addresses[2]) == (f"{endpoint} M" if second else "no match")
    loop = node.addresses[0]
    assert reach(loop, loop) == (f"{endpoint} M" if loopback else "no match")
