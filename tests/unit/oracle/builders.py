"""Small worlds for the oracle's tests, in the words of kube-proxy's own unit tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from testbed.api.objects import EndpointSlice, Node, Service
from testbed.flow.tuples import Flow
from testbed.oracle.expect import expect
from testbed.oracle.expectation import Expectation, Origin, Place, SourceKind, Verdict
from testbed.oracle.world import Mode, Settings, World

NODE = "testnode"
NODE_IP, SECOND_IP = "192.168.0.2", "192.168.1.2"
NODE_IP6, SECOND_IP6 = "2001:db8::1", "2001:db8:1::2"
POD_CIDRS = ("10.0.0.0/8", "fd00:10::/64")
SETTINGS = Settings(cluster_cidrs=POD_CIDRS, service_cidrs=("172.30.0.0/16", "fd00:172:30::/112"))


def node(name: str = NODE, *addresses: str, zone: str = "") -> Node:
    return Node(
        name=name,
        labels={"topology.kubernetes.io/zone": zone} if zone else {},
        addresses=tuple(
            ("InternalIP", a) for a in addresses or (NODE_IP, SECOND_IP, NODE_IP6, SECOND_IP6)
        ),
        pod_cidrs=(),
    )


def service(name: str = "ns1/svc1", ip: str = "172.30.0.41", **spec: Any) -> Service:
    """A Service from the spec's own field names; `ports` default to p80, 80/TCP."""
    namespace, _, short = name.partition("/")
    vips = spec.pop("vips", ())
    mode = spec.pop("ip_mode", "VIP")
    spec.setdefault("ports", [port("p80", 80)])
    return Service.from_document(
        {
            "metadata": {"namespace": namespace, "name": short, "labels": spec.pop("labels", {})},
            "spec": {"clusterIPs": ip.split(","), **spec},
            "status": {"loadBalancer": {"ingress": [{"ip": v, "ipMode": mode} for v in vips]}},
        }
    )


def port(name: str, number: int, protocol: str = "TCP", node_port: int = 0) -> dict[str, Any]:
    return {"name": name, "port": number, "protocol": protocol, "nodePort": node_port}


def endpoint(ip: str, where: str = NODE, **conditions: Any) -> dict[str, Any]:
    hints = conditions.pop("hints", None)
    made = {"addresses": [ip], "nodeName": where, "conditions": conditions}
    return made | ({"hints": hints} if hints else {})


def slice_of(
    name: str, endpoints: list[dict[str, Any]], *ports: tuple[str, str, int | None]
) -> EndpointSlice:
    namespace, _, short = name.partition("/")
    ip = endpoints[0]["addresses"][0] if endpoints else ""
    return EndpointSlice.from_document(
        {
            "metadata": {
                "namespace": namespace,
                "name": f"{short}-{len(ports)}{ip}",
                "labels": {"kubernetes.io/service-name": short},
            },
            "addressType": "IPv6" if ":" in ip else "IPv4",
            "endpoints": endpoints,
            "ports": [
                {"name": n, "protocol": p, "port": i} for n, p, i in ports or [("p80", "TCP", 80)]
            ],
        }
    )


@dataclass
class Case:
    """A world and its one node, asked flow by flow."""

    services: list[Service]
    slices: list[EndpointSlice]
    settings: Settings = SETTINGS
    nodes: list[Node] = field(default_factory=lambda: [node()])

    def ask(self, mode: str, packet: str, place: Place | None = None) -> Expectation:
        """`packet` is written `tcp 10.0.0.2 -> 172.30.0.41:80`; IPv6 in brackets."""
        protocol, src, _, target = packet.split()
        dst, _, number = target.rpartition(":")
        src, dst = src.strip("[]"), dst.strip("[]")
        world = World(
            self.services, self.slices, self.nodes, (), replace(self.settings, mode=Mode(mode))
        )
        return expect(
            world, Origin(place or place_of(src), NODE), Flow(protocol, src, 0, dst, int(number))
        )


def place_of(src: str) -> Place:
    if src in (NODE_IP, SECOND_IP, NODE_IP6, SECOND_IP6, "127.0.0.1", "::1"):
        return Place.NODE
    return Place.POD if src.startswith(("10.", "fd00:10:")) else Place.OUTSIDE


def said(expectation: Expectation) -> str:
    """The expectation in the catalogue's words: `a:1, b:2 M`, REJECT, DROP, ACCEPT, no match."""
    match expectation.verdict:
        case Verdict.REFUSED:
            return "REJECT"
        case Verdict.DROPPED:
            return "DROP"
        case Verdict.NODE if expectation.service:
            return "ACCEPT"
        case Verdict.NODE | Verdict.ROUTED:
            return "no match"
    masqueraded = {b.source.kind is SourceKind.NODE for b in expectation.backends}
    assert len(masqueraded) == 1
    mark = " M" if masqueraded.pop() else ""
    return ", ".join(b.address for b in expectation.backends) + mark
