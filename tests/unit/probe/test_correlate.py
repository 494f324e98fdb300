"""Sightings, trace events and conntrack make one Path; packets are told apart, gaps named."""

from __future__ import annotations

import struct

from synthetic import (
    ACK,
    ARRIVED,
    CLIENT,
    NODE,
    POD,
    RST,
    SENT,
    SYN,
    VIP,
    Facts,
    Script,
    icmp_error,
    ip_packet,
    tcp_packet,
)

from testbed.flow import (
    DELIVERED,
    DROPPED,
    NO_LISTENER,
    NO_ROUTE,
    REFUSED,
    TIMEOUT,
    ConntrackEntry,
    Flow,
    Path,
    Route,
)
from testbed.flow import fingerprint as fingerprints
from testbed.probe.correlate import Evidence, correlate
from testbed.probe.rules import ChainText
from testbed.probe.verdicts import Ending

SYN_SENT = tcp_packet(SENT, SYN)
SYN_ARRIVED = tcp_packet(ARRIVED, SYN, ttl=62)
ANSWER = tcp_packet(ARRIVED.reversed(), SYN | ACK, 7000, 1001, ip_id=0)
ANSWER_HOME = tcp_packet(SENT.reversed(), SYN | ACK, 7000, 1001, ip_id=0, ttl=62)


def path_of(script: Script, facts: Facts | None = None, ending: Ending | None = None) -> Path:
    evidence = Evidence(
        "client",
        SENT,
        script.sightings,
        script.events,
        fingerprints.of_tcp(SENT, 1000),
        ending or Ending("timeout", "timed out"),
    )
    return correlate(evidence, facts or Facts())


def there(script: Script) -> None:
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    script.cross(SYN_ARRIVED, ">w1/veth0", "<web/eth0")


def back(script: Script) -> None:
    script.cross(ANSWER, ">web/eth0", "<w1/veth0")
    script.cross(ANSWER_HOME, ">w1/eth0", "<client/eth0")


def test_a_connection_is_one_path_there_and_back() -> None:
    script = Script()
    there(script)
    back(script)
    path = path_of(script, ending=Ending("answered", response="hello"))
    assert path.verdict.kind == DELIVERED
    assert [hop.namespace for hop in path.hops] == ["client", "w1", "web"]
    assert [hop.namespace for hop in path.reply] == ["web", "w1", "client"]
    assert [str(nat) for nat in path.hops[1].nat] == [
        f"DNAT {VIP}:80 → {POD}:8080",
        f"SNAT {CLIENT}:40000 → {NODE}:5555",
    ]
    assert [str(nat) for nat in path.reply[1].nat] == [
        f"un-DNAT {POD}:8080 → {VIP}:80",
        f"un-SNAT {NODE}:5555 → {CLIENT}:40000",
    ]
    assert (path.backend, path.source_seen, path.response) == ("web", NODE, "hello")
    assert path.duration == 70


def test_other_traffic_between_the_same_hosts_is_left_out() -> None:
    script = Script()
    other = Flow("tcp", CLIENT, 40001, VIP, 80)
    script.cross(tcp_packet(other, SYN, 900_000), ">client/eth0", "<w1/eth0", ">w1/veth1")
    there(script)
    script.cross(tcp_packet(other.reversed(), SYN | ACK, 5, 900_001), ">w1/eth0", "<client/eth0")
    path = path_of(script)
    assert [hop.namespace for hop in path.hops] == ["client", "w1", "web"]
    assert path.reply == ()


def test_a_retransmission_is_counted_and_the_packet_that_came_furthest_is_shown() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    again = tcp_packet(SENT, SYN, ip_id=2)
    script.cross(again, ">client/eth0", "<w1/eth0")
    script.cross(tcp_packet(ARRIVED, SYN, ip_id=2, ttl=62), ">w1/veth0", "<web/eth0")
    path = path_of(script)
    assert path.retransmissions == 1
    assert path.hops[-1].namespace == "web"


def test_identical_retransmissions_are_told_apart_by_their_places() -> None:
    script = Script()
    for _ in range(3):
        script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    path = path_of(script)
    assert path.retransmissions == 2
    assert [hop.namespace for hop in path.hops] == ["client", "w1"]


def test_a_hairpin_visits_its_namespace_twice() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/veth0")
    script.cross(SYN_ARRIVED, ">w1/veth0", "<client/eth0")
    path = path_of(script)
    assert [(hop.namespace, hop.interface_in, hop.interface_out) for hop in path.hops] == [
        ("client", "", "eth0"),
        ("w1", "veth0", "veth0"),
        ("client", "eth0", ""),
    ]


def test_a_node_that_is_crossed_twice_makes_two_hops() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0", ">w1/eth0", "<lb/eth0")
    back_again = tcp_packet(SENT, SYN, ttl=61)
    script.cross(back_again, ">lb/eth0", "<w1/eth0", ">w1/veth0", "<web/eth0")
    path = path_of(script)
    assert [hop.namespace for hop in path.hops] == ["client", "w1", "lb", "w1", "web"]


def test_flooded_copies_are_named_and_not_followed() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0", ">w1/veth1")
    script.see("other/eth0", "in", SYN_SENT, to_us=False)
    script.cross(SYN_SENT, ">w1/veth0", "<web/eth0")
    script.see("third/eth0", "in", SYN_SENT, to_us=False)
    path = path_of(script)
    assert path.hops[-1].namespace == "web"
    assert set(path.copies) == {"other/eth0", "third/eth0"}
    assert "other" not in [hop.namespace for hop in path.hops]


def test_a_packet_that_only_strangers_got_ends_at_the_switch_that_flooded_it() -> None:
    script = Script()
    script.see("client/eth0", "out", SYN_SENT)
    script.see("switch/p1", "in", SYN_SENT, to_us=False)
    script.see("switch/p2", "out", SYN_SENT)
    script.see("other/eth0", "in", SYN_SENT, to_us=False)
    script.see("switch/p3", "out", SYN_SENT)
    script.see("third/eth0", "in", SYN_SENT, to_us=False)
    path = path_of(script)
    assert path.hops[-1].namespace == "switch"
    assert set(path.copies) == {"other/eth0", "third/eth0"}
    assert (path.verdict.kind, path.verdict.where) == (DROPPED, "switch")
    assert path.verdict.detail.startswith("switch flooded it")


def test_a_bridges_ports_are_no_copies() -> None:
    script = Script()
    script.see("client/eth0", "out", SYN_SENT)
    script.see("switch/p1", "in", SYN_SENT, to_us=False)
    script.cross(SYN_SENT, ">switch/p2", "<w1/eth0")
    path = path_of(script)
    assert [hop.namespace for hop in path.hops] == ["client", "switch", "w1"]
    assert str(path.hops[1].route) == "bridged to p2"
    assert path.copies == ()


def test_rules_hang_on_the_hop_that_met_them() -> None:
    script = Script()
    there(script)
    script.enter("w1", SYN_SENT)
    script.rule("w1", "nat", "PREROUTING", 7, "jump KUBE", packet=SYN_SENT)
    script.rule("w1", "nat", "KUBE", 9, "accept")
    chains = {
        ("w1", ("ip", "nat", "PREROUTING")): ChainText(((7, "-j KUBE"),), "prerouting"),
        ("w1", ("ip", "nat", "KUBE")): ChainText(((8, "-d 1.2.3.4 -j X"), (9, "-j DNAT"))),
    }
    path = path_of(script, Facts(chains))
    assert [hop.namespace for hop in path.hops if hop.rules] == ["w1"]
    first, second = path.hops[1].rules
    assert (first.text, first.verdict, first.hook) == ("-j KUBE", "jump KUBE", "prerouting")
    assert (second.text, second.hook, second.tried) == (
        "-j DNAT",
        "prerouting",
        ("-d 1.2.3.4 -j X",),
    )


def test_masquerade_is_told_from_snat_by_the_rule() -> None:
    script = Script()
    there(script)
    script.enter("w1", SYN_SENT)
    script.rule("w1", "nat", "POST", 7, "accept", packet=SYN_SENT)
    key = ("w1", ("ip", "nat", "POST"))
    path = path_of(script, Facts({key: ChainText(((7, "-j MASQUERADE --random-fully"),))}))
    assert [nat.kind for nat in path.hops[1].nat] == ["DNAT", "masquerade"]
    assert path.masqueraded_at() == ("w1",)


def test_a_translation_on_the_way_out_shows_the_flow_as_it_was_sent() -> None:
    script = Script()
    script.enter("client", SYN_SENT, "output")
    translated = tcp_packet(Flow("tcp", CLIENT, 40000, POD, 8080), SYN)
    script.cross(translated, ">client/eth0", "<web/eth0")
    path = path_of(script)
    assert path.hops[0].before == SENT
    assert [nat.kind for nat in path.hops[0].nat] == ["DNAT"]


def test_conntrack_tells_what_became_of_a_packet_that_ended_here() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    local = Flow("tcp", CLIENT, 40000, NODE, 8080)
    entry = ConntrackEntry(SENT, local.reversed())
    path = path_of(script, Facts(entries={("w1", SENT): entry}))
    assert path.hops[1].after == local
    assert path.hops[1].nat[0].after == f"{NODE}:8080"


def drop(text: str) -> tuple[Script, Facts]:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    script.enter("w1", SYN_SENT)
    script.rule("w1", "filter", "FORWARD", 5, "drop", packet=SYN_SENT)
    return script, Facts({("w1", ("ip", "filter", "FORWARD")): ChainText(((5, text),))})


def test_a_drop_names_namespace_and_rule() -> None:
    script, facts = drop("-j DROP")
    verdict = path_of(script, facts).verdict
    assert (verdict.kind, verdict.where) == (DROPPED, "w1")
    assert verdict.rule is not None
    assert verdict.rule.text == "-j DROP"


def test_a_rejecting_rule_refuses_and_the_client_got_icmp() -> None:
    script, facts = drop("-j REJECT --reject-with icmp-port-unreachable")
    error = icmp_error(NODE, CLIENT, SYN_SENT)
    script.cross(error, ">w1/eth0", "<client/eth0")
    verdict = path_of(script, facts, Ending("refused")).verdict
    assert (verdict.kind, verdict.where) == (REFUSED, "w1")
    assert verdict.answer == "ICMP port unreachable"
    assert verdict.rule is not None


def test_a_reset_without_a_rule_is_a_missing_listener() -> None:
    script = Script()
    there(script)
    script.cross(tcp_packet(ARRIVED.reversed(), RST | ACK, 0, 1001), ">web/eth0", "<w1/veth0")
    script.cross(tcp_packet(SENT.reversed(), RST | ACK, 0, 1001), ">w1/eth0", "<client/eth0")
    path = path_of(script, ending=Ending("refused"))
    assert (path.verdict.kind, path.verdict.where) == (NO_LISTENER, "web")
    assert "port 8080" in path.verdict.detail


def test_an_unreachable_host_is_no_route() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    script.cross(icmp_error(NODE, CLIENT, SYN_SENT, 3, 1), ">w1/eth0", "<client/eth0")
    facts = Facts(routes={("w1", VIP): Route("none", error="no route to the destination")})
    verdict = path_of(script, facts, Ending("no route")).verdict
    assert (verdict.kind, verdict.where) == (NO_ROUTE, "w1")
    assert verdict.detail == "no route to the destination"


def test_a_packet_that_left_and_was_not_seen_again_says_where() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0", ">w1/eth1")
    verdict = path_of(script).verdict
    assert (verdict.kind, verdict.where) == (DROPPED, "w1")
    assert verdict.detail == "left w1 by eth1 and was not seen again"


def test_a_reverse_path_failure_is_read_off_the_route() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    reason = "source address fails the reverse path filter"
    verdict = path_of(script, Facts(routes={("w1", VIP): Route("none", error=reason)})).verdict
    assert (verdict.kind, verdict.detail) == (DROPPED, reason)


def test_a_silent_backend_is_a_timeout_there() -> None:
    script = Script()
    there(script)
    verdict = path_of(script, Facts(routes={("web", POD): Route("local")})).verdict
    assert (verdict.kind, verdict.where) == (TIMEOUT, "web")


def test_a_lost_answer_is_said_to_be_the_answer() -> None:
    script = Script()
    there(script)
    script.cross(ANSWER, ">web/eth0", "<w1/veth0")
    script.cross(ANSWER_HOME, ">w1/eth0")
    path = path_of(script)
    assert (path.verdict.kind, path.verdict.direction) == (DROPPED, "reply")
    assert path.verdict.where == "w1"
    assert path.backend == "web"


def test_an_answer_that_nobody_translated_back_is_lost_though_it_came_home() -> None:
    script = Script()
    arrived = Flow("tcp", CLIENT, 40000, POD, 8080)
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    script.cross(tcp_packet(arrived, SYN, ttl=62), ">w1/veth0", "<web/eth0")
    past = tcp_packet(arrived.reversed(), SYN | ACK, 7000, 1001, ip_id=0)
    script.cross(past, ">web/eth0", "<client/eth0")
    verdict = path_of(script).verdict
    assert (verdict.kind, verdict.where, verdict.direction) == (DROPPED, "client", "reply")
    assert verdict.detail.endswith(f"came from {POD}:8080, not from {VIP}:80")


def test_an_answer_from_beyond_the_watched_namespaces_is_a_gap() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    script.cross(SYN_ARRIVED, ">w1/veth0")
    script.cross(ANSWER, "<w1/veth0")
    script.cross(ANSWER_HOME, ">w1/eth0", "<client/eth0")
    path = path_of(script)
    assert path.verdict.kind == DELIVERED
    assert path.backend == ""
    assert path.unseen == ("what is behind w1/veth0: the packet was answered from there",)


def test_nothing_seen_is_no_route_or_said_so() -> None:
    assert path_of(Script(), ending=Ending("no route", "Network is unreachable")).verdict.kind == (
        NO_ROUTE
    )
    assert path_of(Script()).verdict.detail == "timed out"


def test_an_echoed_datagram_is_a_reply_although_it_carries_the_token() -> None:
    flow = Flow("udp", CLIENT, 40000, POD, 53)
    body = b"token123 and more"
    out = ip_packet(flow, 17, struct.pack(">HHHH", 40000, 53, 25, 0) + body)
    home = ip_packet(flow.reversed(), 17, struct.pack(">HHHH", 53, 40000, 25, 0) + body, ip_id=9)
    script = Script()
    script.cross(out, ">client/eth0", "<web/eth0")
    script.cross(home, ">web/eth0", "<client/eth0")
    made = fingerprints.of_udp(flow, body)
    path = correlate(Evidence("client", flow, script.sightings, (), made), Facts())
    assert path.verdict.kind == DELIVERED
    assert [hop.namespace for hop in path.reply] == ["web", "client"]


def test_a_flow_is_followed_without_a_fingerprint_by_what_nat_leaves_alone() -> None:
    script = Script()
    there(script)
    back(script)
    path = correlate(Evidence("client", SENT, script.sightings), Facts())
    assert [hop.namespace for hop in path.hops] == ["client", "w1", "web"]
    assert [hop.namespace for hop in path.reply] == ["web", "w1", "client"]


def test_a_proxys_own_connection_is_the_next_leg() -> None:
    token = b"0123abcd"
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<lb/eth0")
    script.cross(tcp_packet(SENT.reversed(), SYN | ACK, 7, 1001), ">lb/eth0", "<client/eth0")
    own = Flow("tcp", NODE, 6000, POD, 8080)
    script.cross(tcp_packet(own, SYN, 900_000), ">lb/eth1", "<web/eth0")
    script.cross(tcp_packet(own.reversed(), SYN | ACK, 3, 900_001), ">web/eth0", "<lb/eth1")
    request = tcp_packet(own, ACK, 900_001, 4, ip_id=2)
    script.cross(request + b"PROXY header " + token, ">lb/eth1", "<web/eth0")
    made = fingerprints.of_tcp(SENT, 1000)
    path = correlate(Evidence("client", SENT, script.sightings, (), made, token=token), Facts())
    assert path.backend == "lb"
    assert path.relayed is not None
    assert path.relayed.backend == "web"
    assert (path.relayed_at(), path.source_seen) == (("lb",), NODE)
    plain = correlate(Evidence("client", SENT, script.sightings, (), made), Facts())
    assert plain.relayed is None


def test_a_routed_packet_is_not_called_bridged() -> None:
    script = Script()
    script.cross(SYN_SENT, ">client/eth0", "<w1/eth0")
    script.cross(tcp_packet(SENT, SYN, ttl=63), ">w1/eth1", "<web/eth0")
    path = path_of(script, Facts(routes={("w1", VIP): Route("unicast", "eth1")}))
    assert str(path.hops[1].route) == "dev eth1"


def test_a_frame_that_a_switch_kept_is_dropped_there_and_not_called_unroutable() -> None:
    script = Script()
    script.see("client/eth0", "out", SYN_SENT)
    script.see("switch/p1", "in", SYN_SENT, to_us=False)
    facts = Facts(routes={("switch", VIP): Route("none", error="no route to the destination")})
    verdict = path_of(script, facts).verdict
    assert (verdict.kind, verdict.where) == (DROPPED, "switch")
    assert "another host" in verdict.detail


def test_an_unreachable_protocol_is_one_that_the_backend_does_not_speak() -> None:
    script = Script()
    there(script)
    error = icmp_error(POD, NODE, tcp_packet(ARRIVED, SYN), 3, 2)
    script.cross(error, ">web/eth0", "<w1/veth0")
    home = icmp_error(POD, CLIENT, SYN_SENT, 3, 2)
    script.cross(home, ">w1/eth0", "<client/eth0")
    verdict = path_of(script, ending=Ending("refused")).verdict
    assert (verdict.kind, verdict.where) == (NO_LISTENER, "web")
    assert verdict.detail == "web doesn't speak TCP"
