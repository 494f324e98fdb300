"""Packets that scapy built, sent and followed."""

from __future__ import annotations

import pytest
from small_world import CLIENT, CLIENT6, PODS, PODS6, VIP, World

from testbed.flow import DELIVERED, DROPPED, TIMEOUT, Flow
from testbed.probe import Observer, packets
from testbed.report.text import render

pytestmark = pytest.mark.kernel


def test_a_crafted_syn_meets_the_rules_and_is_answered(world: World) -> None:
    syn = packets.tcp(Flow("tcp", CLIENT, 40001, VIP, 80))
    path = Observer(world.all()).follow_packets(world["client"], syn).path
    assert path.verdict.kind == DELIVERED, render(path)
    assert (path.sent, path.answer) == ("TCP SYN", "TCP SYN ACK")
    assert path.masqueraded_at() == ("w1",)


def test_a_packet_without_a_source_gets_the_namespaces_own(world: World) -> None:
    from scapy.layers.inet import IP, TCP

    syn = IP(dst=VIP) / TCP(sport=40002, dport=83, seq=7)
    path = Observer(world.all()).follow_packets(world["client"], syn, wait=0.05).path
    assert path.flow.source == CLIENT
    assert path.verdict.kind == DROPPED


def test_a_ping_is_answered_in_both_families(world: World) -> None:
    for source, target in ((CLIENT, PODS["web-1"]), (CLIENT6, PODS6["web-1"])):
        ping = packets.echo(Flow("icmp", source, 77, target, 77))
        path = Observer(world.all()).follow_packets(world["client"], ping).path
        assert path.verdict.kind == DELIVERED, render(path)
        assert path.backend == "web-1"
        assert path.answer == "ICMP echo reply"


def test_a_crafted_datagram_is_followed_through_nat(world: World) -> None:
    datagram = packets.udp(Flow("udp", CLIENT, 40003, VIP, 80))
    path = Observer(world.all()).follow_packets(world["client"], datagram).path
    assert path.verdict.kind == DELIVERED, render(path)
    assert path.translated_at() == ("w1",)


def test_fragments_are_put_together_at_the_node_and_followed(world: World) -> None:
    whole = packets.udp(Flow("udp", CLIENT, 40004, VIP, 80), b"0123456789abcdef" * 125)
    pieces = packets.fragments(whole, 1280)
    assert len(pieces) == 2
    path = Observer(world.all()).follow_packets(world["client"], pieces).path
    assert path.verdict.kind == DELIVERED, render(path)
    assert path.backend == "web-0"


def test_an_sctp_init_nobody_takes_is_followed_to_its_end(world: World) -> None:
    init = packets.sctp_init(Flow("sctp", CLIENT, 40005, PODS["web-0"], 9))
    path = Observer(world.all()).follow_packets(world["client"], init, wait=0.1).path
    assert path.sent == "SCTP INIT"
    assert path.hops[-1].namespace == "web-0"
    assert path.verdict.kind != DELIVERED


def test_a_packet_whose_ttl_runs_out_is_dropped_where_it_did(world: World) -> None:
    syn = packets.tcp(Flow("tcp", CLIENT, 40006, VIP, 80))
    syn.ttl = 1
    path = Observer(world.all()).follow_packets(world["client"], syn).path
    assert path.verdict.kind == DROPPED, render(path)
    assert path.verdict.where == "router"
    assert path.verdict.answer == "ICMP time exceeded"


def test_a_silent_backend_is_a_timeout_at_the_backend(world: World) -> None:
    pod = world["web-1"]
    rules = "table ip quiet {\n chain o {\n type filter hook output priority 10\n"
    pod.run(["nft", "-f", "-"], input=f"{rules} tcp sport 8080 drop\n }}\n}}\n")
    syn = packets.tcp(Flow("tcp", CLIENT, 40007, PODS["web-1"], 8080))
    observer = Observer(world.all())
    traced = observer.follow_packets(world["client"], syn, wait=0.1).path
    blind = (
        Observer(world.all(), trace=False)
        .follow_packets(
            world["client"], packets.tcp(Flow("tcp", CLIENT, 40008, PODS["web-1"], 8080)), wait=0.1
        )
        .path
    )
    pod.run(["nft", "delete", "table", "ip", "quiet"])
    assert (traced.verdict.kind, traced.verdict.direction) == (DROPPED, "reply"), render(traced)
    assert (blind.verdict.kind, blind.verdict.where) == (TIMEOUT, "web-1"), render(blind)
