"""Rules as they are against rules as they should be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.compare.rules import RuleChange, changes

GOLDEN = Path(__file__).parents[2] / "golden/rules"
IPTABLES = (GOLDEN / "nodeport-local/w1.ipv4.iptables").read_text()
NFT = (GOLDEN / "session-affinity/w1.ipv4.nft").read_text()


@pytest.mark.parametrize("text", [IPTABLES, NFT])
def test_the_same_rules_have_no_changes(text: str) -> None:
    assert changes(text, text) == []


def test_every_rule_that_is_deleted_is_named() -> None:
    lines = IPTABLES.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("-A "):
            found = changes(IPTABLES, "\n".join(lines[:number] + lines[number + 1 :]))
            _, chain, rule = line.split(" ", 2)
            assert [(c.chain, c.missing, c.found) for c in found] == [(chain, rule, "")]


def test_an_altered_rule_is_one_change() -> None:
    altered = re.sub(r"--to-destination \S+", "--to-destination 192.0.2.1:1", IPTABLES, count=1)
    (change,) = changes(IPTABLES, altered)
    assert change.chain.startswith("KUBE-SEP-")
    assert "192.0.2.1:1" in change.found
    assert "altered in nat KUBE-SEP-" in str(change)


def test_other_peoples_rules_in_built_in_chains_do_not_count() -> None:
    own = IPTABLES.replace("-A POSTROUTING", "-A POSTROUTING -s 1.2.3.4 -j ACCEPT\n-A POSTROUTING")
    assert changes(IPTABLES, own) == []
    own = IPTABLES.replace("-A KUBE-FORWARD", "-A KUBE-FORWARD -j DROP\n-A KUBE-FORWARD", 1)
    assert changes(IPTABLES, own) == [RuleChange("filter", "KUBE-FORWARD", "", "-j DROP")]


@pytest.mark.parametrize(
    ("container", "element"),
    [
        ("service-ips", "10.96.10.1 . tcp . 80 : goto service-PFISGYVC-default/web/tcp/"),
        ("cluster-ips", "10.96.10.1"),
    ],
)
def test_an_element_that_is_missing_is_named(container: str, element: str) -> None:
    without = NFT.replace(f"\t\t\t{element},\n", "", 1)
    assert changes(NFT, without) == [RuleChange("ip kube-proxy", container, element, "")]


def test_a_table_that_is_gone_misses_everything() -> None:
    assert all(c.missing and not c.found for c in changes(NFT, ""))
    assert len(changes(NFT, "")) > 30


def test_a_chain_or_a_table_without_any_of_its_rules_is_said_to_be_wholly_gone() -> None:
    chain = re.search(r"^-A (KUBE-SVC-\S+)", IPTABLES, re.MULTILINE)
    assert chain
    flushed = re.sub(rf"(?m)^-A {chain[1]} .*\n", "", IPTABLES)
    assert {(c.chain, c.whole) for c in changes(IPTABLES, flushed)} == {(chain[1], "chain")}
    gone = changes(IPTABLES, IPTABLES[IPTABLES.index("*filter") :].split("*nat")[0])
    assert {c.whole for c in gone if c.table == "nat"} == {"table"}
    assert {c.whole for c in changes(NFT, "")} == {"table"}
