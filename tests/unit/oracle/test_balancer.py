"""The cloud's step: which nodes a load balancer sends to, and what arrives there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.errors import UsageError
from testbed.flow.tuples import Flow
from testbed.oracle.balancer import BalancerKind, after_balancer, balancer_nodes, expect_balanced
from testbed.oracle.expectation import FrontEndKind, SourceKind
from testbed.oracle.world import Settings, World
from tests.unit.oracle.builders import endpoint, node, port, service, slice_of

NODES = [node(f"w{i}", f"172.18.0.1{i}") for i in (1, 2, 3)]
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
FLOW = Flow("tcp", "203.0.113.2", 0, "198.51.100.10", 80)


def world(nodes: list, **spec: object) -> World:
    web = service(
        "default/web",
        "10.96.0.20",
        type="LoadBalancer",
        vips=["198.51.100.10"],
        ports=[port("", 80, node_port=spec.pop("node_port", 30080))],
        **spec,
    )
    ends = [endpoint("10.244.1.5", "w1")]
    return World([web], [slice_of("default/web", ends, ("", "TCP", 8080))], nodes, (), Settings())


def listed(asked: World) -> list[tuple[str, bool]]:
    (web,) = asked.services.values()
    return [(n.name, n.healthy) for n in balancer_nodes(asked, web)]


def test_every_node_is_listed_ready_or_not() -> None:
    nodes = [*NODES[:2], replace(NODES[2], ready=False)]
    assert listed(world(nodes)) == [("w1", True), ("w2", True), ("w3", True)]


def test_local_policy_leaves_nodes_in_the_list_and_fails_their_health_check() -> None:
    asked = world(NODES, externalTrafficPolicy="Local")
    assert listed(asked) == [("w1", True), ("w2", False), ("w3", False)]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"labels": {EXCLUDE: ""}}, 2),
        ({"labels": {EXCLUDE: "true"}}, 2),
        ({"labels": {EXCLUDE: "false"}}, 3),
        ({"taints": ("ToBeDeletedByClusterAutoscaler",)}, 2),
        ({"deleting": True}, 2),
    ],
)
def test_node_leaves_the_list(change: dict[str, object], left: int) -> None:
    nodes = [*NODES[:2], replace(NODES[2], **change)]
    assert len(listed(world(nodes))) == left


def test_packet_arrives_as_the_balancer_makes_it() -> None:
    asked = world(NODES)
    (web,) = asked.services.values()
    made = {
        (kind, keep): after_balancer(
            asked, kind, FLOW, "w2", web.ports[0], address="198.51.100.1", keep_source=keep
        )
        for kind in BalancerKind
        for keep in (False, True)
    }
    assert made[BalancerKind.DSR, False] == FLOW
    to_node = replace(FLOW, destination="172.18.0.12", destination_port=30080)
    assert made[BalancerKind.NAT, True] == to_node
    assert made[BalancerKind.NAT, False] == replace(to_node, source="198.51.100.1")
    assert made[BalancerKind.PROXY, True] == replace(to_node, source="198.51.100.1")


def test_without_a_node_port_only_dsr_can_send() -> None:
    asked = world(NODES, node_port=0)
    (web,) = asked.services.values()
    assert after_balancer(asked, BalancerKind.DSR, FLOW, "w1", web.ports[0]) == FLOW
    with pytest.raises(UsageError, match="no NodePort"):
        after_balancer(asked, BalancerKind.NAT, FLOW, "w1", web.ports[0])


@pytest.mark.parametrize(
    ("kind", "keep", "front_end", "seen"),
    [
        (BalancerKind.DSR, False, FrontEndKind.LOAD_BALANCER, "203.0.113.2"),
        (BalancerKind.NAT, True, FrontEndKind.NODE_PORT, "203.0.113.2"),
        (BalancerKind.NAT, False, FrontEndKind.NODE_PORT, "198.51.100.10"),
        (BalancerKind.PROXY, False, FrontEndKind.NODE_PORT, "198.51.100.10"),
    ],
)
def test_local_policy_keeps_what_the_balancer_left(
    kind: BalancerKind, keep: bool, front_end: FrontEndKind, seen: str
) -> None:
    asked = world(NODES, externalTrafficPolicy="Local")
    (web,) = asked.services.values()
    said = expect_balanced(asked, kind, FLOW, "w1", web.ports[0], keep_source=keep)
    assert said.front_end is front_end
    assert [(b.source.kind, b.source.address) for b in said.backends] == [
        (SourceKind.UNCHANGED, seen)
    ]
