"""Upstream's flow tables as real packets: where each ends is read off captures, never off rules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from testbed.api.objects import IPV4
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
    SOURCES,
    Vector,
    adapted,
    endpoints,
    objects_of,
    service,
)
from tests.kernel.flows.conftest import WorldOf
from tests.kernel.flows.world import FlowWorld

pytestmark = pytest.mark.kernel

HEALTH = "HealthCheckNodePort"
PACKETS = [(v, mode) for v, mode in ALL_VECTORS if not v.name.startswith(HEALTH)]
HEALTH_CHECKS = [(v, mode) for v, mode in ALL_VECTORS if v.name.startswith(HEALTH)]
SENDERS = {"pod": "pods", "node": "node", "localhost": "node", "ext": "outside"}


def sender_of(address: str) -> str:
    """The namespace that a vector's source address belongs to; a VIP as source is the node's."""
    if address.startswith("10."):
        return "pods"
    return "outside" if address.startswith("203.0.113.") else "node"


def ids(vectors: list[tuple[Vector, str]]) -> list[str]:
    return [f"{vector.name}-{mode}" for vector, mode in vectors]


@pytest.mark.parametrize(("vector", "mode"), PACKETS, ids=ids(PACKETS))
def test_a_packet_ends_where_upstream_says(vector: Vector, mode: str, world_of: WorldOf) -> None:
    world = world_of(replace(CONFIG, mode=mode))
    world.set_objects(objects_of(vector))
    sent = vector.protocol, vector.source, vector.destination, vector.port
    expected = vector.expected[mode]
    assert world.send(sender_of(vector.source), *sent, expected) == expected


@contextmanager
def host_firewall(world: FlowWorld, port: int) -> Iterator[None]:
    """A rule of the administrator's, after kube-proxy's, that drops what nobody accepted."""
    rule = ["INPUT", "-p", "tcp", "--dport", str(port), "-j", "DROP"]
    world.node.run(["iptables", "-A", *rule])
    yield
    world.node.run(["iptables", "-D", *rule])


@pytest.mark.parametrize(("vector", "mode"), HEALTH_CHECKS, ids=ids(HEALTH_CHECKS))
def test_health_check_node_ports_pass_a_host_firewall(
    vector: Vector, mode: str, world_of: WorldOf
) -> None:
    world = world_of(replace(CONFIG, mode=mode))
    world.set_objects(objects_of(vector))
    # The node's kernel answers what has passed: nobody listens in this world.
    expected = {"ACCEPT": "no match", "no match": "DROP"}[vector.expected[mode]]
    with host_firewall(world, vector.port):
        sent = vector.protocol, vector.source, vector.destination, vector.port
        assert world.send("outside", *sent, expected) == expected


@pytest.mark.parametrize("masquerade_all", [False, True], ids=["", "masquerade-all"])
@pytest.mark.parametrize("without", [False, True], ids=["", "no-detector"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", MASQUERADE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_packets_are_masqueraded_as_upstream_says(
    row: tuple[str, ...], mode: str, without: bool, masquerade_all: bool, world_of: WorldOf
) -> None:
    source, front, *outcomes = row
    world = world_of(
        replace(
            CONFIG,
            mode=mode,
            cluster_cidr=() if without else CONFIG.cluster_cidr,
            iptables=replace(CONFIG.iptables, masquerade_all=masquerade_all),
            nftables=replace(CONFIG.nftables, masquerade_all=masquerade_all),
        )
    )
    world.set_objects(POLICIES)
    for policy, outcome in enumerate(outcomes):
        destination = "127.0.0.1" if source == "localhost" else FRONTS[front][policy]
        number = 3001 + policy if front == "NodePort" else 80
        reached, marked = adapted(source, front, policy, outcome, without, masquerade_all).split()
        expected = EXPECTED[reached] + (" M" if marked == "M" else "")
        if source == "localhost" and mode == "nftables":
            expected = "no match"
        sent = "tcp", SOURCES[source], destination, number
        assert world.send(SENDERS[source], *sent, expected) == expected


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
    cluster_ip, pod, host, client, nodes, loop = (
        *("172.30.0.41", "10.0.0.2", "10.180.0.1", "203.0.113.2"),
        *(("192.168.0.2", "192.168.1.2"), "127.0.0.1"),
    )
    if family != IPV4:
        cluster_ip, pod, host, client, nodes, loop = (
            *("fd00:30::41", "fd00:10::2", "fd00:10::1", "2001:db8::2"),
            *(("fd00:20::2", "fd00:21::2"), "::1"),
        )
    endpoint = f"{host}:80" if family == IPV4 else f"[{host}]:80"
    masqueraded = f"{endpoint} M"
    config = replace(
        CONFIG, mode=mode, localhost_node_ports=localhost, node_port_addresses=addresses
    )
    # A world of its own: route_localnet, once set, stays.
    world = FlowWorld(f"ports{os.getpid()}", config)
    try:
        world.set_objects(
            [
                service("s", cluster_ip, NODE_PORT, type="NodePort"),
                endpoints("s", f"{host}/l", family=family),
            ]
        )
        for sender, source, destination, number, expected in (
            ("pods", pod, cluster_ip, 80, endpoint),
            ("outside", client, nodes[0], 3001, masqueraded),
            ("node", nodes[0], nodes[0], 3001, masqueraded),
            ("outside", client, nodes[1], 3001, masqueraded if second else "no match"),
            ("node", loop, loop, 3001, masqueraded if loopback else "no match"),
        ):
            seen = world.send(sender, "tcp", source, destination, number, expected)
            assert (destination, seen) == (destination, expected)
    finally:
        world.close()
