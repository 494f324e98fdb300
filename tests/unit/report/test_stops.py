"""Switches are part of a link, unless they are where it ended; places get their roles."""

from __future__ import annotations

import dataclasses

from testbed.flow import DELIVERED, DROPPED, Flow, Hop, Path, Route, RuleHit, Verdict
from testbed.flow.paths import BRIDGED
from testbed.report.stops import Place, places, stops
from testbed.report.text import render, summary
from testbed.report.words import meaning, rule, verdict

FLOW = Flow("tcp", "203.0.113.10", 40000, "172.18.0.11", 30007)
POD = "shop.web-0"
RULE = RuleHit(
    "ip",
    "nat",
    "KUBE-SERVICES",
    3,
    '-m comment --comment "kubernetes service nodeports; \\"all\\"" -j KUBE-NODEPORTS',
    "jump KUBE-NODEPORTS",
    meaning="→ node ports",
)


def hop(name: str, route: Route | None = None, *, first: bool = False, last: bool = False) -> Hop:
    way = "" if first else "eth0", "" if last else "eth1"
    return Hop(name, *way, FLOW, FLOW, 0, 0, route=route)


def switched(verdict: Verdict, *, far: bool = True) -> Path:
    carried = Route(BRIDGED, "eth1")
    node = dataclasses.replace(hop("w1", Route("unicast", "veth")), rules=(RULE,))
    hops = (hop("client", first=True), hop("cluster", carried), node, hop(POD, last=True))
    return Path("client", FLOW, 1, "TCP SYN", verdict, hops if far else hops[:2])


def test_a_switch_between_two_stops_is_folded_into_the_link() -> None:
    listed = stops(switched(Verdict(DELIVERED, POD)))
    assert [(stop.number, stop.place.name) for stop in listed] == [
        (1, "client"), (2, "w1"), (3, POD),
    ]  # fmt: skip
    assert [hop.namespace for hop in listed[0].switches] == ["cluster"]


def test_a_switch_where_the_packet_was_lost_is_a_stop() -> None:
    lost = switched(Verdict(DROPPED, "cluster", "never left"), far=False)
    assert [stop.place.name for stop in stops(lost)] == ["client", "cluster"]


def test_a_bridge_beside_a_pod_is_its_node() -> None:
    carried = Route(BRIDGED, "eth1")
    hops = (hop("default.a", first=True), hop("w1", carried), hop("default.b", last=True))
    path = Path("default.a", FLOW, 1, "TCP SYN", Verdict(DELIVERED, "default.b"), hops)
    assert [(p.name, p.role, p.on) for p in places(path)] == [
        ("default.a", "pod", "w1"), ("w1", "node", ""), ("default.b", "pod", "w1"),
    ]  # fmt: skip


def test_places_are_guessed_and_what_is_known_wins() -> None:
    path = switched(Verdict(DELIVERED, POD))
    assert [place.role for place in places(path)] == ["client", "node", "pod"]
    known = places(path, [Place("client", "host")])
    assert [place.role for place in known] == ["host", "node", "pod"]


def test_a_pod_is_named_with_its_node_and_its_namespace_unless_default() -> None:
    path = switched(Verdict(DELIVERED, POD))
    assert verdict(path) == "delivered to Pod shop/web-0 on w1"
    assert summary(path).startswith("client → 172.18.0.11:30007: delivered to Pod shop/web-0 on w1")
    assert Place("default.web-0", "pod").title == "Pod web-0"


def test_the_text_names_switches_only_when_everything_is_asked_for() -> None:
    path = switched(Verdict(DELIVERED, POD))
    assert "cluster" not in render(path)
    assert "switch cluster" in render(path, all_rules=True)


def test_a_comment_that_its_meaning_repeats_is_left_out() -> None:
    assert rule(RULE, whole=False) == "nat KUBE-SERVICES  -j KUBE-NODEPORTS"
    assert "nodeports" in rule(RULE)
    assert meaning(RULE) == "node ports"
    unknown = dataclasses.replace(RULE, meaning="")
    assert rule(unknown, whole=False) == rule(unknown)


def test_of_a_map_only_the_picked_endpoint_is_named() -> None:
    words = "1/2 each → endpoint 10.0.0.1:80 (Pod a on w1), endpoint 10.0.0.11:80 (Pod b on w2)"
    hit = dataclasses.replace(RULE, meaning=words, element="1 : 10.0.0.1 . 80")
    assert meaning(hit) == "1/2 → endpoint 10.0.0.1:80 (Pod a on w1)"
    assert meaning(dataclasses.replace(hit, element="")) == words


def test_brief_text_counts_the_rules_that_decided_nothing() -> None:
    text = render(switched(Verdict(DELIVERED, POD)), brief=True)
    assert "1 rule met, nothing decided here" in text
    assert "KUBE-SERVICES" not in text


def test_a_rule_that_rejects_is_not_said_to_drop() -> None:
    hit = RuleHit("ip", "kube-proxy", "reject-chain", 1, "reject", "drop")
    assert rule(hit) == "kube-proxy reject-chain  reject"
