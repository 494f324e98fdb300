"""What each Pod network driver plans."""

from __future__ import annotations

import pytest

from testbed.api.objects import Node
from testbed.control.podnet import DRIVERS, ClusterNetworks, egress, node_end, pod_network
from testbed.errors import UsageError
from testbed.fabric.specs import Route, faults


def node(number: int) -> Node:
    return Node(
        name=f"w{number}",
        labels={},
        addresses=(
            ("Hostname", f"w{number}"),
            ("InternalIP", f"172.18.0.1{number}"),
            ("InternalIP", f"fd00:172:18::1{number}"),
        ),
        pod_cidrs=(f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"),
    )


W1, W2, W3 = node(1), node(2), node(3)
POD = ("10.244.1.5", "fd00:10:244:1::5")


@pytest.mark.parametrize("name", DRIVERS)
def test_a_node_that_joins_later_gets_the_same_as_one_that_was_there(name: str) -> None:
    network = pod_network(name)
    at_once = network.node_plan([W1, W2, W3])
    later = network.node_plan([W1, W2]) + network.node_plan([W3], known=[W1, W2])
    for kind in ("bridges", "vxlans", "neighbours", "forwardings", "routes", "rulesets"):
        assert set(getattr(at_once, kind)) == set(getattr(later, kind))
        assert len(getattr(at_once, kind)) == len(getattr(later, kind))


def test_routes_lead_to_other_nodes_addresses() -> None:
    routes = pod_network("routes").node_plan([W1, W2]).routes
    assert Route("w1", "10.244.2.0/24", via="172.18.0.12") in routes
    assert Route("w2", "fd00:10:244:1::/64", via="fd00:172:18::11") in routes
    assert Route("w1", "10.244.1.0/24", kind="unreachable") in routes


def test_an_unnumbered_pod_has_host_addresses_and_permanent_neighbours() -> None:
    plan = pod_network("routes").pod_plan("pod-a", W1, POD)
    (veth,) = plan.veths
    assert veth.left.addresses == ("10.244.1.5/32", "fd00:10:244:1::5/128")
    assert veth.right.addresses == ()
    assert {n.address for n in plan.neighbours} == {"169.254.1.1", "fe80::1", *POD}
    ends = {veth.left.namespace: veth.right.mac, veth.right.namespace: veth.left.mac}
    assert all(n.mac == ends[n.namespace] for n in plan.neighbours)
    assert Route("w1", "10.244.1.5", interface=node_end("pod-a"), source="172.18.0.11") in (
        plan.routes
    )


def test_a_bridged_pod_has_the_cidr_s_length_and_a_hairpin_port() -> None:
    network = pod_network("bridge")
    (bridge,) = network.node_plan([W1]).bridges
    assert bridge.addresses == ("10.244.1.1/24", "fd00:10:244:1::1/64")
    (veth,) = network.pod_plan("pod-a", W1, POD).veths
    assert veth.left.addresses == ("10.244.1.5/24", "fd00:10:244:1::5/64")
    assert (veth.right.bridge, veth.right.hairpin) == ("cni0", True)


def test_a_tunnelled_pod_leaves_room_for_the_outer_headers() -> None:
    network = pod_network("vxlan")
    (veth,) = network.pod_plan("pod-a", W1, POD).veths
    assert (veth.left.mtu, veth.right.mtu) == (1450, 1450)
    plan = network.node_plan([W1, W2])
    assert {v.local for v in plan.vxlans} == {"172.18.0.11", "172.18.0.12"}
    assert {(f.namespace, f.remote) for f in plan.forwardings} == {
        ("w1", "172.18.0.12"),
        ("w2", "172.18.0.11"),
    }


@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("addresses", [POD[:1], POD[1:], POD], ids=["IPv4", "IPv6", "dual"])
def test_a_pod_has_one_default_route_per_family(name: str, addresses: tuple[str, ...]) -> None:
    plan = pod_network(name).pod_plan("pod-a", W1, addresses)
    assert faults(plan) == []
    defaults = [r for r in plan.routes if r.namespace == "pod-a"]
    assert len(defaults) == len(addresses)


def test_egress_spares_everything_in_the_cluster() -> None:
    text = egress("w1", ClusterNetworks(pods=("10.1.0.0/16",), services=("10.2.0.0/16",))).text
    order = [line.strip() for line in text.splitlines() if " saddr " in line or " daddr " in line]
    assert order == [
        "ip daddr 10.1.0.0/16 return",
        "ip daddr 10.2.0.0/16 return",
        "ip daddr 172.18.0.0/24 return",
        "ip6 daddr fd00:172:18::/64 return",
        "ip saddr 10.1.0.0/16 masquerade",
    ]


def test_an_unknown_driver_is_told_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'calico' is unknown; there are: routes, bridge, vxlan"):
        pod_network("calico")
