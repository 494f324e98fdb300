from __future__ import annotations

from dataclasses import replace

from testbed.api.objects import NamespacedName
from testbed.cloud.balancer import DataPlane, Listener, LoadBalancer, Target
from testbed.cloud.rules import ServiceRules, chain_name, change, service_rules

W1 = Target("w1", ("172.18.0.11", "fd00:172:18::11"))
W2 = Target("w2", ("172.18.0.12", "fd00:172:18::12"))
WEB = LoadBalancer(
    key=NamespacedName("default", "web"),
    addresses=("198.51.100.1", "2001:db8:100::1"),
    listeners=(Listener("TCP", 80, 30080), Listener("UDP", 53, 30053)),
    targets=(W1, W2),
    source_ranges=(),
    affinity=False,
    health_port=10256,
    data_plane=DataPlane.NAT,
)
LABELS = {"w1": 1, "w2": 2}


def test_every_address_and_port_leads_to_the_chain() -> None:
    assert service_rules(WEB, {"w1"}, LABELS).elements == {
        ("nat-v4", "198.51.100.1 . tcp . 80"),
        ("nat-v4", "198.51.100.1 . udp . 53"),
        ("nat-v6", "2001:db8:100::1 . tcp . 80"),
        ("nat-v6", "2001:db8:100::1 . udp . 53"),
    }


def test_one_healthy_node_gets_everything() -> None:
    made = service_rules(WEB, {"w2"}, LABELS).rules
    assert "meta nfproto ipv4 tcp dport 80 dnat ip to 172.18.0.12 : 30080" in made
    assert "meta nfproto ipv6 udp dport 53 dnat ip6 to [fd00:172:18::12] : 30053" in made


def test_flow_hash_spreads_and_affinity_hashes_the_client_alone() -> None:
    spread = service_rules(WEB, {"w1", "w2"}, LABELS).rules[0]
    assert "jhash ip saddr . tcp sport mod 2" in spread
    assert "{ 0 : 172.18.0.11, 1 : 172.18.0.12 } : 30080" in spread
    sticky = service_rules(replace(WEB, affinity=True), {"w1", "w2"}, LABELS).rules[0]
    assert "jhash ip saddr mod 2" in sticky


def test_without_a_healthy_node_packets_are_dropped() -> None:
    assert all(rule.endswith(" drop") for rule in service_rules(WEB, (), LABELS).rules)


def test_node_without_the_familys_address_is_left_out_of_it() -> None:
    single = replace(WEB, targets=(Target("w1", ("172.18.0.11",)),))
    made = service_rules(single, {"w1"}, LABELS).rules
    assert "meta nfproto ipv6 tcp dport 80 drop" in made


def test_dsr_and_proxy_are_looked_up_per_packet() -> None:
    for kind in (DataPlane.DSR, DataPlane.PROXY):
        made = service_rules(replace(WEB, data_plane=kind), {"w1"}, LABELS)
        assert ("route-v4", "198.51.100.1 . tcp . 80") in made.elements


def test_chain_names_stay_within_the_limit_and_apart() -> None:
    long = [replace(WEB, key=NamespacedName("n" * 63, "s" * 62 + end)) for end in "ab"]
    names = {chain_name(balancer) for balancer in long}
    assert len(names) == 2
    assert all(len(name) <= 120 for name in names)


def test_change_touches_only_what_differs() -> None:
    a, b, d = [(f"198.51.100.{n}", "tcp", 80) for n in (1, 2, 4)]
    old = ServiceRules("c", "nat", ("one",), frozenset({a, b}))
    new = ServiceRules("c", "nat", ("two",), frozenset({b, d}))
    assert change(old, new).splitlines() == [
        "delete element inet cloud nat-v4 { 198.51.100.1 . tcp . 80 }",
        "flush chain inet cloud c",
        "add rule inet cloud c two",
        "add element inet cloud nat-v4 { 198.51.100.4 . tcp . 80 : goto c }",
    ]
    assert change(old, None).splitlines()[-1] == "delete chain inet cloud c"
    assert change(None, new).splitlines()[0] == "add chain inet cloud c"
