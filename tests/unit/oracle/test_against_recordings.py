"""The oracle against what a real kube-proxy 1.36.2 programmed: every recorded world, both modes.

The oracle reads the objects, a tracer reads the recorded rules; they must say the same about every
flow. Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.api.documents import load_file
from testbed.api.objects import IPV4, IPV6, family_of
from testbed.flow.tuples import Flow
from testbed.oracle.dump import world_from
from testbed.oracle.expect import expect
from testbed.oracle.expectation import Expectation, Origin, Place, SourceKind, Verdict
from testbed.oracle.world import Mode, Settings, World
from tests.unit.oracle.tracers import End, Iptables, Nftables, Packet, ends_in

RECORDINGS = Path(__file__).parents[2] / "golden" / "rules"
WORLDS = sorted(path.parent.name for path in RECORDINGS.glob("*/objects.yaml"))
OUTSIDE = {
    IPV4: ("203.0.113.2", "192.0.2.99", "198.51.100.10", "10.244.9.9"),
    IPV6: ("2001:db8:113::2", "2001:db8:99::2", "fd00:10:244:9::9"),
}
LOOPBACK = {IPV4: "127.0.0.1", IPV6: "::1"}
UNKNOWN = {IPV4: ("10.96.200.200", "9.9.9.9"), IPV6: ("fd00:10:96::dddd", "2001:db8::9")}


def world_of(name: str, mode: Mode) -> World:
    settings = Settings(
        mode=mode,
        cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/56"),
        service_cidrs=("10.96.0.0/16", "fd00:10:96::/112"),
    )
    return world_from(load_file(RECORDINGS / name / "objects.yaml"), settings)


def origins(world: World, node: str, family: str) -> Iterator[tuple[Origin, str]]:
    for pod in world.pods.values():
        if pod.node_name == node and not pod.host_network:
            for ip in pod.ips:
                if family_of(ip) == family:
                    yield Origin(Place.POD, node), ip
    spare = {IPV4: f"10.244.{node[1]}.250", IPV6: f"fd00:10:244:{node[1]}::250"}
    yield Origin(Place.POD, node), spare[family]
    yield Origin(Place.NODE, node), world.primary(node, family)
    for source in (*OUTSIDE[family], world.primary("w2", family)):
        yield Origin(Place.OUTSIDE, node), source


def flows(world: World, node: str, family: str) -> Iterator[tuple[Origin, Flow]]:
    places = {(ip, protocol, number) for ip, protocol, number in world.front_ends}
    own = world.primary(node, family)
    for found, protocol, number in world.node_ports:
        if found == family:
            places |= {(own, protocol, number), (LOOPBACK[family], protocol, number)}
    places |= {(own, "tcp", number) for number in world.health_ports}
    for ip in (*world.cluster_ips, *world.foreign_ips, *world.proxy_ips, *UNKNOWN[family], own):
        places |= {(ip, protocol, number) for protocol in ("tcp", "udp") for number in (9, 80)}
    for origin, src in origins(world, node, family):
        for dst, protocol, number in sorted(places):
            if family_of(dst) != family:
                continue
            if dst != LOOPBACK[family]:
                yield origin, Flow(protocol, src, 0, dst, number)
            elif origin.place is Place.NODE:
                yield origin, Flow(protocol, dst, 0, dst, number)


def ends_of(said: Expectation) -> set[End]:
    match said.verdict:
        case Verdict.DELIVERED:
            return {(b.address, b.source.kind is SourceKind.NODE) for b in said.backends}
        case Verdict.REFUSED:
            return {("REJECT", False)}
        case Verdict.DROPPED:
            return {("DROP", False)}
    return {("", False)}


@pytest.mark.parametrize("mode", [Mode.IPTABLES, Mode.NFTABLES])
@pytest.mark.parametrize("name", WORLDS)
def test_oracle_and_recorded_rules_agree(name: str, mode: Mode) -> None:
    world = world_of(name, mode)
    asked = 0
    for node in ("w1", "w3"):
        for family in (IPV4, IPV6):
            suffix = "iptables" if mode is Mode.IPTABLES else "nft"
            path = RECORDINGS / name / f"{node}.{family.lower()}.{suffix}"
            rules = (Iptables if mode is Mode.IPTABLES else Nftables)(path.read_text())
            local = frozenset(world.addresses[node])
            for origin, flow in flows(world, node, family):
                hook = "OUTPUT" if origin.place is Place.NODE else "PREROUTING"
                packet = Packet(
                    flow.source,
                    flow.destination,
                    flow.protocol.lower(),
                    flow.destination_port,
                    hook,
                    local,
                )
                said = expect(world, origin, flow)
                traced = ends_in(rules.ends(packet), packet)
                health_check = traced == {("ACCEPT", False)}
                if health_check:
                    assert said.verdict is Verdict.NODE, (node, flow)
                    assert said.service, (node, flow)
                else:
                    assert ends_of(said) == traced, (node, origin, flow, said.reason)
                asked += 1
    assert asked > 100


def test_there_are_recordings() -> None:
    assert len(WORLDS) == 27
