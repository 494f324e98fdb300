"""What an explanation says: the first place that differs, and the rules that are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.compare import Difference, RuleChange
from testbed.compare.spread import Spread
from testbed.errors import UsageError
from testbed.flow import DROPPED, Flow, Hop, RuleHit, Verdict
from testbed.flow import Path as PacketPath
from testbed.lab.evidence import write_pcapng
from testbed.lab.explain import Explanation
from testbed.probe.exchange import Outcome
from testbed.probe.observe import Observation

FLOW = Flow("tcp", "10.0.0.1", 5, "10.0.0.2", 80)
MET = RuleHit("ip", "nat", "KUBE-SERVICES", 3, "-j KUBE-SVC-Z", "accept")
HOPS = (
    Hop("client", "", "eth0", FLOW, FLOW, 0, 0),
    Hop("w1", "eth0", "", FLOW, FLOW, 1, 1, rules=(MET,)),
)
PATH = PacketPath("client", FLOW, 1, "TCP SYN", Verdict(DROPPED, "w1"), HOPS)


def explained(*changes: RuleChange, difference: Difference | None = None) -> Explanation:
    drift = tuple(("w1", each) for each in changes)
    return Explanation(Observation(PATH, (), ()), (), difference, drift)


def missing(chain: str, rule: str, whole: str = "") -> RuleChange:
    return RuleChange("nat", chain, rule, "", whole)


def test_of_several_changed_rules_on_a_node_the_first_in_order_is_named() -> None:
    found = explained(missing("KUBE-Z", "-j Z"), missing("KUBE-A", "-j A"))
    assert found.first == ("w1", "missing in nat KUBE-Z: -j Z")


def test_a_change_in_a_chain_that_the_packet_met_comes_before_others() -> None:
    found = explained(missing("KUBE-A", "-j A"), missing("KUBE-SERVICES", "-j B"))
    assert found.first == ("w1", "missing in nat KUBE-SERVICES: -j B")


def test_only_the_rule_that_explains_the_difference_should_have_matched() -> None:
    changes = (missing("KUBE-A", "-j A"), missing("KUBE-SERVICES", "-j B"))
    words = explained(*changes, difference=Difference("w1", 2, "sends it", "drops it")).verdict()
    assert words.splitlines() == [
        "differs at hop 2, w1: expected: sends it; seen: drops it",
        "rules of w1 differ: the rule that should have matched is missing in nat KUBE-SERVICES: "
        "-j B",
        "rules of w1 differ: missing in nat KUBE-A: -j A",
    ]
    assert "should have matched" not in explained(*changes).verdict()


def test_a_table_or_a_chain_that_is_wholly_gone_is_one_line() -> None:
    table = [RuleChange("filter", f"KUBE-{n}", "-j X", "", "table") for n in range(3)]
    chain = [missing("KUBE-SVC-A", f"-j {n}", "chain") for n in range(3)]
    assert explained(*table, *chain).verdict().splitlines() == [
        "rules of w1 differ: all of table filter is missing",
        "rules of w1 differ: all of nat KUBE-SVC-A is missing",
    ]


def test_a_spread_that_is_not_as_expected_is_a_line_of_the_verdict() -> None:
    half = {"a": 0.5, "b": 0.5}
    biased = replace(explained(), spread=Spread({"a": 90, "b": 10}, half, {}))
    assert (biased.verdict(), biased.agrees) == ("spread: not as expected", False)
    gone = replace(explained(missing("KUBE-A", "-j A")), spread=Spread({"a": 20}, half, {}))
    assert gone.verdict().splitlines() == [
        "rules of w1 differ: missing in nat KUBE-A: -j A",
        "spread: not as expected: nothing came to b",
    ]
    unlikely = replace(explained(), spread=Spread({"a": 65, "b": 35}, half, {}))
    assert (unlikely.verdict(), unlikely.agrees) == ("as expected", True)
    assert "unlikely, but no proof" in unlikely.render()


def test_a_long_list_of_changes_is_cut() -> None:
    lines = explained(*(missing("KUBE-A", f"-j {n}") for n in range(70))).verdict().splitlines()
    assert len(lines) == 11
    assert lines[-1] == "… and 60 more"


def test_a_capture_that_cannot_be_written_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="/dev/full: No space left"):
        write_pcapng(Path("/dev/full"), explained())


def test_the_status_of_an_http_answer_is_shown() -> None:
    outcome = Outcome("answered", FLOW, "no", status=503)
    found = Explanation(Observation(PATH, (), (), outcome), ())
    assert "HTTP status:  503\n" in found.render()
    assert found.as_json()["httpStatus"] == 503
    assert "HTTP status" not in explained().render()
    assert explained().as_json()["httpStatus"] is None
