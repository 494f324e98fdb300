"""Oracle and proxy never ask each other; on random worlds they must agree about every flow.

The oracle reads objects, the proxy turns the same objects into rules, a tracer walks the rules.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from testbed.api.objects import IPV4, IPV6, EndpointSlice, Node, Service, family_of
from testbed.flow.tuples import Flow
from testbed.oracle.expect import expect
from testbed.oracle.expectation import Expectation, Origin, Place, SourceKind, Verdict
from testbed.oracle.world import DetectLocal, Mode, Settings
from testbed.oracle.world import World as OracleWorld
from testbed.proxy.config import KubeProxyConfiguration, ModeConfiguration
from testbed.proxy.inputs import World as ProxyWorld
from testbed.proxy.inputs import render_rules
from tests.random_services import with_policies
from tests.unit.oracle.tracers import End, Iptables, Nftables, Packet, ends_in

CLUSTER = ("10.244.0.0/16", "fd00:10:244::/56")
RANGES = ("10.96.0.0/16", "fd00:10:96::/112")
NODES = ("w1", "w2", "w3")
OUTSIDE = {IPV4: ("203.0.113.2", "198.18.0.7"), IPV6: ("2001:db8:113::2", "2001:db8:7::7")}
NOWHERE = {IPV4: "10.96.200.200", IPV6: "fd00:10:96::dddd"}
LOOPBACK = {IPV4: "127.0.0.1", IPV6: "::1"}


@dataclass
class Random:
    """One world's dice."""

    dice: random.Random

    def some(self, *values: Any) -> Any:
        return self.dice.choice(values)

    def node(self, name: str) -> Node:
        i = name[1]
        addresses = [f"172.18.0.1{i}", f"fd00:172:18::1{i}", f"172.19.0.1{i}"]
        return Node.from_document(
            {
                "metadata": {
                    "name": name,
                    "labels": {"topology.kubernetes.io/zone": self.some("a", "b")},
                },
                "spec": {"podCIDRs": [f"10.244.{i}.0/24", f"fd00:10:244:{i}::/64"]},
                "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
            }
        )

    def service(self, i: int) -> Service:
        families = self.some([IPV4], [IPV6], [IPV4, IPV6])
        ips = {IPV4: f"10.96.1.{i}", IPV6: f"fd00:10:96::1{i}"}
        kind = self.some("ClusterIP", "NodePort", "LoadBalancer")
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        if self.some(True, False):
            ports.append({"name": "dns", "port": self.some(53, 80), "protocol": "UDP"})
        spec: dict[str, Any] = {
            "type": kind,
            "clusterIPs": [ips[f] for f in families],
            "ports": ports,
        }
        external = [f"192.0.2.{i}", f"2001:db8:e::{i}"]
        return Service.from_document(with_policies(self.some, i, spec, external))

    def slices(self, i: int) -> Iterator[EndpointSlice]:
        hinted = self.some(False, True)
        for family in (IPV4, IPV6):
            for number in range(self.some(0, 1, 1, 2)):
                yield EndpointSlice.from_document(
                    {
                        "metadata": {
                            "name": f"s{i}-{family.lower()}-{number}",
                            "namespace": "default",
                            "labels": {"kubernetes.io/service-name": f"s{i}"},
                        },
                        "addressType": family,
                        "ports": [
                            {"name": "http", "protocol": "TCP", "port": self.some(8080, 8081)},
                            {"name": "dns", "protocol": "UDP", "port": self.some(5353, None)},
                        ],
                        "endpoints": [
                            self.endpoint(family, hinted) for _ in range(self.some(0, 1, 2, 3))
                        ],
                    }
                )

    def endpoint(self, family: str, hinted: bool) -> dict[str, Any]:
        node = self.some(*NODES)
        host = self.some(5, 6, 7, 8)
        pod = {IPV4: f"10.244.{node[1]}.{host}", IPV6: f"fd00:10:244:{node[1]}::{host}"}
        own = {IPV4: f"172.18.0.1{node[1]}", IPV6: f"fd00:172:18::1{node[1]}"}
        address = self.some(pod, pod, pod, own)[family]
        conditions = {
            name: self.some(True, True, False, None) for name in ("ready", "serving", "terminating")
        }
        made = {"addresses": [address], "nodeName": node, "conditions": conditions}
        if hinted:
            made["hints"] = {
                "forZones": [{"name": self.some("a", "b")}],
                "forNodes": self.some([], [{"name": node}]),
            }
        return made


def worlds(seed: int) -> tuple[OracleWorld, ProxyWorld]:
    """The same objects and settings, for either side."""
    chance = Random(random.Random(seed))
    services = tuple(chance.service(i) for i in range(1, 6))
    slices = tuple(piece for i in range(1, 6) for piece in chance.slices(i))
    nodes = {name: chance.node(name) for name in NODES}
    cidrs = chance.some(CLUSTER, CLUSTER, CLUSTER, ())
    detect = chance.some("ClusterCIDR", "NodeCIDR")
    everywhere, localhost = chance.some(False, True), chance.some(True, False)
    given = chance.some(
        (), (), ("primary",), ("172.19.0.0/24", "127.0.0.0/8"), ("0.0.0.0/0", "::/0")
    )
    settings = Settings(
        cluster_cidrs=cidrs,
        service_cidrs=RANGES,
        detect_local=DetectLocal(detect),
        masquerade_all=everywhere,
        nodeport_addresses=given,
        localhost_nodeports=localhost,
    )
    config = KubeProxyConfiguration(
        cluster_cidr=cidrs,
        detect_local_mode=detect,
        node_port_addresses=given,
        localhost_node_ports=localhost,
        iptables=ModeConfiguration(masquerade_all=everywhere),
        nftables=ModeConfiguration(masquerade_all=everywhere),
    )
    return (
        OracleWorld(services, slices, nodes.values(), (), settings),
        ProxyWorld(services, slices, nodes, config, RANGES),
    )


def flows(world: OracleWorld, node: str, family: str) -> Iterator[tuple[Origin, Flow]]:
    own = [a for a in world.addresses[node] if family_of(a) == family]
    local = [*own, LOOPBACK[family]]
    places = {place for place in world.front_ends if family_of(place[0]) == family}
    for found, protocol, number in world.node_ports:
        if found == family:
            places |= {(a, protocol, number) for a in local}
    places |= {(a, "tcp", number) for number in world.health_ports for a in own}
    others = (*world.cluster_ips, *world.foreign_ips, *world.proxy_ips, NOWHERE[family])
    places |= {(ip, "tcp", 9) for ip in others if family_of(ip) == family}
    pods = {e.ip for s in world.served.values() for p in s for e in p.endpoints if e.node == node}
    starts = [(Place.POD, ip) for ip in pods if family_of(ip) == family and ip not in own]
    starts += [(Place.OUTSIDE, ip) for ip in (*OUTSIDE[family], world.primary("w2", family))]
    starts += [(Place.OUTSIDE, {IPV4: "10.244.9.9", IPV6: "fd00:10:244:9::9"}[family])]
    for dst, protocol, number in sorted(places):
        if dst == LOOPBACK[family]:
            yield Origin(Place.NODE, node), Flow(protocol, dst, 0, dst, number)
            continue
        source = dst if dst in own else own[0]
        yield Origin(Place.NODE, node), Flow(protocol, source, 0, dst, number)
        for place, src in starts:
            if src not in own:
                yield Origin(place, node), Flow(protocol, src, 0, dst, number)


def ends_of(said: Expectation) -> set[End]:
    if said.verdict is Verdict.DELIVERED:
        return {(b.address, b.source.kind is SourceKind.NODE) for b in said.backends}
    words = {Verdict.REFUSED: "REJECT", Verdict.DROPPED: "DROP"}
    return {(words.get(said.verdict, ""), False)}


@pytest.mark.parametrize("mode", [Mode.IPTABLES, Mode.NFTABLES])
@pytest.mark.parametrize("seed", range(25))
def test_oracle_and_proxy_agree(seed: int, mode: Mode) -> None:
    oracle, proxy = worlds(seed)
    oracle.settings = replace(oracle.settings, mode=mode)
    asked = 0
    for node in ("w1", "w3"):
        for family in (IPV4, IPV6):
            rules = render_rules(proxy.instance(node, family), proxy.state(node, family), mode)
            tracer = (Iptables if mode is Mode.IPTABLES else Nftables)(rules.text())
            local = frozenset(oracle.addresses[node])
            for origin, flow in flows(oracle, node, family):
                hook = "OUTPUT" if origin.place is Place.NODE else "PREROUTING"
                packet = Packet(
                    flow.source, flow.destination, flow.protocol, flow.destination_port, hook, local
                )
                said, traced = expect(oracle, origin, flow), ends_in(tracer.ends(packet), packet)
                asked += 1
                if traced == {("ACCEPT", False)}:
                    assert said.verdict is Verdict.NODE, (node, origin, flow, said)
                else:
                    assert ends_of(said) == traced, (node, origin, flow, said.reason)
    assert asked > 100
