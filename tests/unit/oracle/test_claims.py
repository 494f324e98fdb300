"""Claims about Services that surprise people, each as the oracle states it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.api.objects import Pod
from testbed.errors import UsageError
from testbed.flow.tuples import Flow
from testbed.oracle.expect import expect
from testbed.oracle.expectation import (
    Expectation,
    FrontEndKind,
    Origin,
    Place,
    SourceKind,
    Verdict,
)
from testbed.oracle.world import DetectLocal, Mode, Settings, World
from tests.unit.oracle.builders import endpoint, node, port, service, slice_of

NODES = [node(f"w{i}", f"172.18.0.1{i}", f"fd00:172:18::1{i}", zone="a") for i in (1, 2, 3)]
SETTINGS = Settings(
    cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/56"), service_cidrs=("10.96.0.0/16",)
)
CLIENT = "203.0.113.2"
WEB = {
    "type": "LoadBalancer",
    "vips": ["198.51.100.10"],
    "externalIPs": ["8.8.8.8"],
    "ports": [port("", 80, node_port=30080)],
}
ENDS = [endpoint("10.244.1.5", "w1"), endpoint("10.244.2.5", "w2")]


def pod(name: str, ip: str, where: str) -> Pod:
    return Pod.from_document(
        {
            "metadata": {"namespace": "default", "name": name},
            "spec": {"nodeName": where},
            "status": {"podIP": ip, "phase": "Running"},
        }
    )


PODS = [pod("a", "10.244.1.5", "w1"), pod("b", "10.244.2.5", "w2"), pod("c", "10.244.3.9", "w3")]


def world(mode: str = "iptables", ends: list | None = None, **spec: object) -> World:
    settings = spec.pop("settings", SETTINGS)
    assert isinstance(settings, Settings)
    found = ENDS if ends is None else ends
    return World(
        [service("default/web", "10.96.0.20", **WEB | spec)],
        [slice_of("default/web", found, ("", "TCP", 8080))] if found else [],
        NODES,
        PODS,
        replace(settings, mode=Mode(mode)),
    )


def ask(
    asked: World, place: Place, where: str, src: str, dst: str, dport: int, protocol: str = "TCP"
) -> Expectation:
    return expect(asked, Origin(place, where), Flow(protocol.lower(), src, 0, dst, dport))


def from_pod(asked: World, dst: str, dport: int, protocol: str = "TCP") -> Expectation:
    """From Pod c, on w3, which runs no backend."""
    return ask(asked, Place.POD, "w3", "10.244.3.9", dst, dport, protocol)


def from_client(asked: World, dst: str, dport: int, entry: str = "") -> Expectation:
    return ask(asked, Place.OUTSIDE, entry, CLIENT, dst, dport)


def ips(expectation: Expectation) -> list[str]:
    return [b.ip for b in expectation.backends]


BOTH = pytest.mark.parametrize("mode", ["iptables", "nftables"])


@BOTH
def test_node_port_needs_no_cluster_ip(mode: str) -> None:
    said = from_client(world(mode), "172.18.0.13", 30080)
    assert said.front_end is FrontEndKind.NODE_PORT
    assert ips(said) == ["10.244.1.5", "10.244.2.5"]
    assert {b.port for b in said.backends} == {8080}
    assert {b.source.address for b in said.backends} == {"172.18.0.13"}


@BOTH
def test_local_policy_does_not_bind_pods_and_the_node_itself(mode: str) -> None:
    local = world(mode, externalTrafficPolicy="Local")
    own = from_pod(local, "172.18.0.13", 30080)
    assert ips(own) == ["10.244.1.5", "10.244.2.5"]
    assert {b.source.address for b in own.backends} == {"10.244.3.9"}
    node_process = ask(local, Place.NODE, "w3", "172.18.0.13", "198.51.100.10", 80)
    assert len(node_process.backends) == 2
    assert {b.source.kind for b in node_process.backends} == {SourceKind.NODE}


@BOTH
def test_where_a_pod_enters_decides_about_its_short_cut(mode: str) -> None:
    """A Pod's packet to another node's NodePort is external there, unless its address tells."""
    policy = {"externalTrafficPolicy": "Local", "settings": SETTINGS}
    ends = [endpoint("10.244.1.5", "w1")]
    by_interface = replace(SETTINGS, detect_local=DetectLocal.INTERFACE)
    masquerading = replace(SETTINGS, pods_masqueraded=True)
    for settings in (by_interface, masquerading):
        asked = world(mode, ends, **policy | {"settings": settings})
        assert from_pod(asked, "172.18.0.13", 30080).verdict is Verdict.DELIVERED
        other = from_pod(asked, "172.18.0.12", 30080)
        assert (other.verdict, other.node) == (Verdict.DROPPED, "w2")
        assert other.entered == ("w3", "w2")
    by_address = from_pod(world(mode, ends, **policy), "172.18.0.12", 30080)
    assert (by_address.verdict, by_address.node) == (Verdict.DELIVERED, "w2")


@BOTH
def test_internal_and_external_policy_are_independent(mode: str) -> None:
    only_internal = world(mode, internalTrafficPolicy="Local", externalTrafficPolicy="Cluster")
    assert from_pod(only_internal, "10.96.0.20", 80).verdict is Verdict.DROPPED
    assert from_client(only_internal, "172.18.0.13", 30080).verdict is Verdict.DELIVERED
    only_external = world(mode, externalTrafficPolicy="Local")
    assert from_pod(only_external, "10.96.0.20", 80).verdict is Verdict.DELIVERED
    assert from_client(only_external, "172.18.0.13", 30080).verdict is Verdict.DROPPED


@BOTH
def test_no_endpoint_here_drops_and_none_anywhere_refuses(mode: str) -> None:
    assert (
        from_client(world(mode, externalTrafficPolicy="Local"), "172.18.0.13", 30080).verdict
        is Verdict.DROPPED
    )
    nowhere = world(mode, [], externalTrafficPolicy="Local")
    assert from_client(nowhere, "172.18.0.13", 30080).verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    ("mode", "undefined", "unallocated"),
    [
        ("iptables", Verdict.ROUTED, Verdict.ROUTED),
        ("nftables", Verdict.REFUSED, Verdict.DROPPED),
    ],
)
def test_what_no_service_has_leaks_or_is_stopped_by_mode(
    mode: str, undefined: Verdict, unallocated: Verdict
) -> None:
    asked = world(mode)
    assert from_pod(asked, "10.96.0.20", 81).verdict is undefined
    assert from_pod(asked, "10.96.0.20", 80, "UDP").verdict is undefined
    assert from_pod(asked, "10.96.0.20", 0, "ICMP").verdict is undefined
    assert from_pod(asked, "10.96.0.21", 80).verdict is unallocated


def test_source_ranges_guard_the_balancer_address_alone() -> None:
    asked = world(loadBalancerSourceRanges=["198.18.0.0/15"])
    assert from_client(asked, "198.51.100.10", 80, "w1").verdict is Verdict.DROPPED
    assert from_client(asked, "172.18.0.11", 30080).verdict is Verdict.DELIVERED
    assert from_client(asked, "8.8.8.8", 80, "w1").verdict is Verdict.DELIVERED
    assert from_pod(asked, "198.51.100.10", 80).verdict is Verdict.DROPPED
    assert from_pod(asked, "10.96.0.20", 80).verdict is Verdict.DELIVERED


def test_zero_range_or_none_of_the_family_switches_the_filter_off() -> None:
    for ranges in (["198.18.0.0/15", " 0.0.0.0/0 "], ["2001:db8::/32"]):
        asked = world(loadBalancerSourceRanges=ranges)
        assert from_client(asked, "198.51.100.10", 80, "w1").verdict is Verdict.DELIVERED


def test_blocked_source_without_endpoints_is_refused_or_dropped_by_mode() -> None:
    for mode, verdict in (("iptables", Verdict.REFUSED), ("nftables", Verdict.DROPPED)):
        asked = world(mode, [], loadBalancerSourceRanges=["198.18.0.0/15"])
        assert from_client(asked, "198.51.100.10", 80, "w1").verdict is verdict
        listed = world(mode, [], loadBalancerSourceRanges=["203.0.113.0/24"])
        assert from_client(listed, "198.51.100.10", 80, "w1").verdict is Verdict.REFUSED


@BOTH
def test_external_ip_captures_any_address(mode: str) -> None:
    said = from_pod(world(mode), "8.8.8.8", 80)
    assert (said.verdict, said.front_end) == (Verdict.DELIVERED, FrontEndKind.EXTERNAL_IP)


@BOTH
def test_address_of_a_proxying_balancer_is_left_alone(mode: str) -> None:
    said = from_pod(world(mode, ip_mode="Proxy"), "198.51.100.10", 80)
    assert said.verdict is Verdict.ROUTED
    assert "ipMode Proxy" in said.reason


def test_iptables_lets_a_node_process_pass_to_an_unserved_external_address() -> None:
    node_process = (Place.NODE, "w1", "172.18.0.11", "198.51.100.10", 80)
    assert ask(world("iptables", []), *node_process).verdict is Verdict.ROUTED
    assert ask(world("nftables", []), *node_process).verdict is Verdict.REFUSED
    assert from_pod(world("iptables", []), "198.51.100.10", 80).verdict is Verdict.REFUSED


@BOTH
def test_affinity_keeps_a_client_while_its_backend_is_usable(mode: str) -> None:
    asked = world(mode, sessionAffinity="ClientIP")
    flow = Flow("tcp", CLIENT, 0, "172.18.0.11", 30080)
    origin = Origin(Place.OUTSIDE)
    stuck = expect(asked, origin, flow, stuck_to="10.244.2.5:8080")
    assert [(b.ip, b.probability) for b in stuck.backends] == [("10.244.2.5", 1.0)]
    assert stuck.affinity == 10800
    gone = expect(asked, origin, flow, stuck_to="10.244.9.9:8080")
    assert len(gone.backends) == 2
    assert len(expect(world(mode), origin, flow, stuck_to="10.244.2.5:8080").backends) == 2


@BOTH
def test_health_check_port_is_on_every_node_and_counts_ready_endpoints(mode: str) -> None:
    ends = [
        endpoint("10.244.1.5", "w1"),
        endpoint("10.244.2.5", "w2", ready=False, terminating=True),
    ]
    asked = world(mode, ends, externalTrafficPolicy="Local", healthCheckNodePort=32000)
    said = [from_client(asked, f"172.18.0.1{i}", 32000) for i in (1, 2, 3)]
    assert {s.verdict for s in said} == {Verdict.NODE}
    assert ["200" in s.reason for s in said] == [True, False, False]


@BOTH
def test_last_terminating_pod_is_still_served(mode: str) -> None:
    ends = [endpoint("10.244.2.5", "w2", ready=False, serving=True, terminating=True)]
    assert ips(from_client(world(mode, ends), "172.18.0.11", 30080)) == ["10.244.2.5"]


@BOTH
def test_outside_client_reaches_a_cluster_ip_by_a_route_and_is_masqueraded(mode: str) -> None:
    said = from_client(world(mode), "10.96.0.20", 80, "w1")
    assert said.verdict is Verdict.DELIVERED
    assert {b.source.address for b in said.backends} == {"172.18.0.11"}


@BOTH
def test_pod_keeps_its_address_to_a_host_network_endpoint(mode: str) -> None:
    ends = [endpoint("172.18.0.13", "w3"), endpoint("172.18.0.11", "w1")]
    said = from_pod(world(mode, ends), "10.96.0.20", 80)
    assert {b.source.address for b in said.backends} == {"10.244.3.9"}
    masquerading = world(mode, ends, settings=replace(SETTINGS, pods_masqueraded=True))
    seen = {b.ip: b.source.address for b in from_pod(masquerading, "10.96.0.20", 80).backends}
    assert seen == {"172.18.0.13": "10.244.3.9", "172.18.0.11": "172.18.0.13"}


@BOTH
def test_only_the_first_address_and_a_real_port_count(mode: str) -> None:
    two = [endpoint("10.244.1.5", "w1") | {"addresses": ["10.244.1.5", "10.244.1.6"]}]
    assert ips(from_pod(world(mode, two), "10.96.0.20", 80)) == ["10.244.1.5"]
    for number in (0, None):
        asked = World(
            [service("default/web", "10.96.0.20", **WEB)],
            [slice_of("default/web", ENDS, ("", "TCP", number))],
            NODES,
            settings=replace(SETTINGS, mode=Mode(mode)),
        )
        assert from_pod(asked, "10.96.0.20", 80).verdict is Verdict.REFUSED


@BOTH
def test_renamed_port_finds_no_endpoints(mode: str) -> None:
    asked = World(
        [service("default/web", "10.96.0.20", ports=[port("http", 80)])],
        [slice_of("default/web", ENDS, ("web", "TCP", 8080))],
        NODES,
        settings=replace(SETTINGS, mode=Mode(mode)),
    )
    assert from_pod(asked, "10.96.0.20", 80).verdict is Verdict.REFUSED


@BOTH
def test_service_for_another_proxy_is_nobodys(mode: str) -> None:
    asked = world(mode, labels={"service.kubernetes.io/service-proxy-name": "other"})
    said = from_pod(asked, "10.96.0.20", 80)
    assert said.verdict is (Verdict.ROUTED if mode == "iptables" else Verdict.DROPPED)
    assert from_client(asked, "172.18.0.11", 30080).verdict is Verdict.NODE


@BOTH
def test_service_without_a_family_has_no_node_port_in_it(mode: str) -> None:
    said = ask(world(mode), Place.OUTSIDE, "", "2001:db8:113::2", "fd00:172:18::11", 30080)
    assert said.verdict is Verdict.NODE


def test_node_without_a_proxy_passes_everything_on() -> None:
    asked = world(settings=replace(SETTINGS, modes={"w3": Mode.NONE}))
    assert from_pod(asked, "10.96.0.20", 80).verdict is Verdict.ROUTED
    assert from_pod(asked, "172.18.0.11", 30080).node == "w1"


def test_pod_address_is_no_service() -> None:
    said = from_pod(world(), "10.244.1.5", 8080)
    assert (said.verdict, ips(said)) == (Verdict.ROUTED, ["10.244.1.5"])


def test_clouds_address_of_a_node_is_the_nodes_own() -> None:
    nodes = [replace(NODES[0], addresses=(*NODES[0].addresses, ("ExternalIP", "192.0.2.1")))]
    asked = World(
        [service("default/web", "10.96.0.20", **WEB)],
        [slice_of("default/web", ENDS, ("", "TCP", 8080))],
        nodes,
        settings=replace(SETTINGS, mode=Mode.NFTABLES),
    )
    assert from_client(asked, "192.0.2.1", 30080).verdict is Verdict.DELIVERED


def test_packet_from_outside_for_a_vip_needs_its_entry_node() -> None:
    with pytest.raises(UsageError, match="which node"):
        from_client(world(), "198.51.100.10", 80)


def test_addresses_are_compared_in_one_spelling() -> None:
    asked = World(
        [service("default/web", "fd00:10:96:0::0020", ports=[port("", 80)])],
        [slice_of("default/web", [endpoint("FD00:10:244:1::5", "w1")], ("", "TCP", 8080))],
        NODES,
        settings=SETTINGS,
    )
    said = ask(asked, Place.POD, "w1", "fd00:10:244:1::6", "fd00:10:96::20", 80)
    assert ips(said) == ["fd00:10:244:1::5"]
    with pytest.raises(UsageError, match="isn't an IP address"):
        ask(asked, Place.POD, "w1", "nonsense", "fd00:10:96::20", 80)
