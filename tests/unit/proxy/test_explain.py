"""What chains, sets, elements and rules mean, and what leads to them."""

from __future__ import annotations

import pytest

from testbed.api.objects import IPV4
from testbed.proxy.explain import Explainer
from testbed.proxy.inputs import render_rules
from tests.unit.proxy.worlds import CASES, documents, make_instance, make_state


def explainer(case: str, mode: str, node: str = "w1", family: str = IPV4) -> Explainer:
    docs = documents(case)
    state = make_state(docs, family, node)
    return Explainer(render_rules(make_instance(docs, family, node), state, mode), state)


def test_an_endpoint_chain_names_service_port_and_endpoint() -> None:
    (found,) = explainer("nodeport", "iptables").find("KUBE-SEP-XQWD6PXGZUTOOIVQ")
    assert found.subject == "nat KUBE-SEP-XQWD6PXGZUTOOIVQ"
    assert "10.244.1.5:8080 (Pod default/web-0 on w1)" in found.meaning
    assert "Service default/web, port 80/TCP" in found.meaning


def test_the_rules_that_lead_to_a_chain_come_in_a_packets_order() -> None:
    (found,) = explainer("nodeport", "iptables").find("KUBE-SEP-XQWD6PXGZUTOOIVQ")
    chains = [text.split()[3] for text, _ in found.leading]
    order = ["PREROUTING", "KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXT-LOLE4ISW44XBNF3G"]
    assert [name for name in dict.fromkeys(chains) if name in order] == order
    assert chains[-1] == "KUBE-SVC-LOLE4ISW44XBNF3G"
    assert found.leading[-1][1] == "1/3 → endpoint 10.244.1.5:8080 (Pod default/web-0 on w1)"


@pytest.mark.parametrize(
    ("mode", "query", "meaning"),
    [
        ("iptables", "KUBE-SVC-LOLE", "Service default/web, port 80/TCP: all endpoints"),
        ("iptables", "KUBE-MARK-MASQ", "marks for masquerade"),
        ("iptables", "10.96.10.1:80", "clusterIP of Service default/web"),
        ("iptables", "172.18.0.11:30007", "node port of Service default/web"),
        ("iptables", "10.244.2.6:8080", "endpoint of Service default/web"),
        ("nftables", "service-PFISGYVC", "Service default/web, port 80/TCP: all endpoints"),
        ("nftables", "10.96.10.1", "clusterIP of Service default/web"),
        ("nftables", "tcp . 30007", "→ Service default/web, port 80/TCP: traffic to its external"),
        (
            "nftables",
            "tcp . 30007 : goto external-PFISGYVC-default/web/tcp/,",
            "→ Service default/web, port 80/TCP: traffic to its external",
        ),
        ("nftables", "cluster-ips", "set: Active ClusterIPs"),
        ("nftables", "10.244.2.6:8080", "endpoint of Service default/web"),
    ],
)
def test_a_name_a_prefix_an_address_or_an_element_is_found(
    mode: str, query: str, meaning: str
) -> None:
    found = explainer("nodeport", mode).find(query)
    assert found[0].meaning.startswith(meaning)
    assert found[0].leading or query == "cluster-ips"


def test_a_chain_of_another_nodes_is_still_named() -> None:
    (found,) = explainer("internal-local", "iptables", "w3").find("KUBE-SVL-LOLE4ISW44XBNF3G")
    assert "Service default/web" in found.meaning
    assert "this node has no such chain" in found.meaning


def test_an_unknown_name_finds_nothing() -> None:
    for mode in ("iptables", "nftables"):
        assert explainer("nodeport", mode).find("KUBE-SVC-NOSUCH") == []
        assert explainer("nodeport", mode).find("") == []


@pytest.mark.parametrize(
    ("case", "mode", "place", "rule", "words"),
    [
        (
            *("nodeport", "iptables", ""),
            "-A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "
            '"default/web -> 10.244.2.6:8080" -m statistic --mode random '
            "--probability 0.50000000000 -j KUBE-SEP-GSGFIMZKNHLNTAQH",
            "1/3 → endpoint 10.244.2.6:8080 (Pod default/web-1 on w2)",
        ),
        (
            *("nodeport", "iptables", "KUBE-POSTROUTING"),
            "-j MARK --set-xmark 0x4000/0x0",
            "clear the mark",
        ),
        (
            *("session-affinity", "iptables", "KUBE-SVC-LDATH6LIB7VCFHLW"),
            '-m comment --comment "default/np -> 10.244.1.5:8080" -m recent --rcheck --seconds 60 '
            "--reap --name KUBE-SEP-KKAYSMSONWI56KZA --mask 255.255.255.255 --rsource "
            "-j KUBE-SEP-KKAYSMSONWI56KZA",
            "a client seen here within 60 s → endpoint 10.244.1.5:8080 (Pod default/web-0 on w1) "
            "again",
        ),
        (
            *("nodeport", "nftables", "masquerading"),
            "ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections "
            "masquerade fully-random",
            "the endpoint reaches itself: masquerade",
        ),
        (
            *("loadbalancer-source-ranges", "nftables", "firewall-PFISGYVC-default/web/tcp/"),
            "ip saddr != { 10.200.0.0/16, 198.51.100.10, 203.0.113.0/24 } drop",
            "from any other source: drop",
        ),
    ],
)
def test_a_rule_has_words(case: str, mode: str, place: str, rule: str, words: str) -> None:
    assert explainer(case, mode).meaning(rule, place) == words


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("case", CASES)
def test_every_chain_set_and_rule_has_a_meaning(case: str, mode: str) -> None:
    explain = explainer(case, mode)
    names = explain.names()
    assert names
    for name in names:
        for found in explain.find(name):
            assert found.meaning
            assert "not kube-proxy's" not in found.meaning
            assert [text for text, words in (*found.holds, *found.leading) if not words] == []
