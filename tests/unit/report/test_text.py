"""The text of a Path: fits 100 columns, marks translations, names the rule."""

from __future__ import annotations

from testbed.flow import (
    DELIVERED,
    NO_LISTENER,
    REFUSED,
    ConntrackEntry,
    Flow,
    Hop,
    Nat,
    Path,
    Route,
    RuleHit,
    Verdict,
)
from testbed.report.text import WIDTH, render, summary

SENT = Flow("tcp", "2001:db8:113::10", 40000, "fd00:10:96::1", 80)
ARRIVED = Flow("tcp", "fd00:172:18::11", 5000, "fd00:10:244:1::5", 8080)
RULE = RuleHit(
    "ip6",
    "nat",
    "KUBE-SEP-GSGFIMZKNHLNTAQH",
    7,
    '-p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination [fd00::5]:8080',
    "accept",
    meaning="1/3 → endpoint [fd00:10:244:1::5]:8080, pod web-0 on w1",
    tried=("-s fd00:10:244:1::5/128 -j KUBE-MARK-MASQ",),
)
NODE = Hop(
    "w1",
    "eth0",
    "veth-web-0",
    SENT,
    ARRIVED,
    15_000,
    2_500_000,
    ("eth0", "cni0", "veth-web-0"),
    (
        Nat("DNAT", "[fd00:10:96::1]:80", "[fd00:10:244:1::5]:8080"),
        Nat("masquerade", "[2001:db8:113::10]:40000", "[fd00:172:18::11]:5000"),
    ),
    (RULE,),
    Route("unicast", "cni0"),
    ConntrackEntry(SENT, ARRIVED.reversed(), state="ESTABLISHED"),
)


def made(verdict: Verdict) -> Path:
    return Path(
        "client",
        SENT,
        1,
        "TCP SYN",
        verdict,
        (NODE,),
        backend="web-0",
        backend_flow=ARRIVED,
        unseen=("what is behind w1/eth1",),
    )


def test_no_line_is_longer_than_the_table() -> None:
    text = render(made(Verdict(DELIVERED, "web-0")), all_rules=True)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_translations_rules_and_meanings_stand_below_their_hop() -> None:
    words = " ".join(render(made(Verdict(DELIVERED, "web-0"))).split())
    assert "DNAT destination [fd00:10:96::1]:80 → [fd00:10:244:1::5]:8080" in words
    assert "masquerade source [2001:db8:113::10]:40000 → [fd00:172:18::11]:5000" in words
    assert words.index("• 1/3 → endpoint") < words.index("nat KUBE-SEP-GSGFIMZKNHLNTAQH")
    assert "KUBE-MARK-MASQ" not in words


def test_rules_without_a_match_are_shown_on_request() -> None:
    assert "KUBE-MARK-MASQ" in render(made(Verdict(DELIVERED, "web-0")), all_rules=True)


def test_the_lost_client_address_is_said() -> None:
    text = render(made(Verdict(DELIVERED, "web-0")))
    assert "(the client's 2001:db8:113::10 was replaced at w1)" in " ".join(text.split())


def test_a_refusal_names_the_rule_and_what_the_client_got() -> None:
    verdict = Verdict(REFUSED, "w1", rule=RULE, answer="ICMP port unreachable")
    words = " ".join(render(made(verdict)).split())
    assert "verdict: refused at w1 by nat KUBE-SEP-GSGFIMZKNHLNTAQH" in words
    assert "the client got ICMP port unreachable" in words
    assert "not seen: what is behind w1/eth1" in words


def test_a_summary_is_one_line() -> None:
    line = summary(made(Verdict(DELIVERED, "web-0")))
    assert line == ("client → [fd00:10:96::1]:80: delivered to web-0, source seen fd00:172:18::11")


def test_where_nothing_listens_behind_a_translation_the_service_did_its_part() -> None:
    line = "the Service did its part; nothing listens in the Pod"
    assert line in render(made(Verdict(NO_LISTENER, "default.web-0")))
    assert line not in render(made(Verdict(DELIVERED, "default.web-0")))
