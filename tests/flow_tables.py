"""Upstream's flow tables: fixture objects, vectors, the masquerade and the NodePort tables.

Read twice: by a tracer over rendered rules (tests/unit/proxy/test_flows.py) and as real packets
(tests/kernel/flows). Source: pkg/proxy/{iptables,nftables}/proxier_test.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.api.documents import Document
from testbed.api.objects import IPV4, IPV6
from testbed.proxy.config import KubeProxyConfiguration

VECTORS = Path(__file__).parent / "golden" / "flows.txt"
CONFIG = KubeProxyConfiguration(cluster_cidr=("10.0.0.0/8", "fd00:10::/64"))
MODES = ("iptables", "nftables")
SERVICE_CIDRS = ("172.30.0.0/16", "fd00:30::/112")


def service(name: str, ip: str, *ports: Document, **spec: Any) -> Document:
    ingress = [{"ip": vip} for vip in spec.pop("vips", ())]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"clusterIPs": [ip], "ports": list(ports or [{"name": "p", "port": 80}]), **spec},
        "status": {"loadBalancer": {"ingress": ingress}},
    }


def endpoints(name: str, hosts: str, *ports: Document, family: str = IPV4) -> Document:
    """`hosts`: addresses with flags, `10.0.0.1/lst`: local, serving (not ready), terminating."""
    found = []
    for word in hosts.split():
        address, _, flags = word.partition("/")
        conditions = {}
        if "s" in flags or "t" in flags:
            conditions = {"ready": False, "serving": "s" in flags, "terminating": "t" in flags}
        where = "w1" if "l" in flags else "w2"
        found.append({"addresses": [address], "nodeName": where, "conditions": conditions})
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": "ns",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": family,
        "endpoints": found,
        "ports": list(ports or [{"name": "p", "protocol": "TCP", "port": 80}]),
    }


def port(name: str, number: int, target: int, protocol: str = "TCP") -> tuple[Document, Document]:
    return (
        {"name": name, "port": number, "protocol": protocol},
        {"name": name, "port": target, "protocol": protocol},
    )


PORTS = [
    port("http", 80, 80),
    port("https", 443, 8443),
    port("dns-tcp", 53, 5353),
    port("dns-udp", 53, 53, "UDP"),
    port("dns-sctp", 53, 53, "SCTP"),
]
NODE_PORT = {"name": "p", "port": 80, "nodePort": 3001}
EVERYWHERE = {"type": "LoadBalancer", "externalIPs": ["192.168.99.11"], "vips": ["1.2.3.4"]}
SPREAD = endpoints("s", "10.180.0.1 10.180.2.1/l")
READY = "10.0.1.1/l 10.0.1.2/l 10.0.1.3/lst 10.0.1.4/lt 10.0.1.5"
NO_USE = "10.0.1.2/lt 10.0.1.3/lt 10.0.1.4/t 10.0.1.5/t"


def three(local: str) -> list[Document]:
    policy = "Local" if local else "Cluster"
    hosts = " ".join(f"10.0.1.{n}/{'l' if str(n) in local else ''}" for n in (1, 2, 3))
    return [service("s", "172.30.1.1", internalTrafficPolicy=policy), endpoints("s", hosts)]


def terminating(policy: str, hosts: str) -> list[Document]:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": policy, "vips": ["1.2.3.4"]}
    return [service("s", "172.30.1.1", **spec), endpoints("s", hosts)]


def worlds() -> Iterator[tuple[str, list[Document]]]:
    """By the beginning of a vector's name, its objects; the longest that fits counts."""
    yield "NoEndpointsReject/", [service("s", "172.30.0.41", NODE_PORT, **EVERYWHERE)]
    yield (
        "ClusterIPGeneral/",
        [
            service("s1", "172.30.0.41", PORTS[0][0]),
            endpoints("s1", "10.180.0.1/l", PORTS[0][1]),
            service("s2", "172.30.0.42", *(front for front, _ in PORTS)),
            endpoints("s2", "10.180.0.1/l 10.180.2.1", *(back for _, back in PORTS)),
        ],
    )
    limited = {
        "type": "LoadBalancer",
        "vips": ["1.2.3.4", "5.6.7.8"],
        "loadBalancerSourceRanges": ["192.168.0.0/24", "203.0.113.0/25", " 198.51.100.0/28"],
    }
    one = endpoints("s", "10.180.0.1/l")
    yield "LoadBalancer/", [service("s", "172.30.0.41", NODE_PORT, **limited), one]
    for policy, row in (
        ("Local", "HealthCheckNodePort/firewall accepts"),
        ("Cluster", "HealthCheckNodePort/HealthCheckNodePort no longer"),
    ):
        spec = {"externalTrafficPolicy": policy, "healthCheckNodePort": 30000}
        yield row, [service("s", "172.30.1.1", NODE_PORT, type="LoadBalancer", **spec), one]
    for policy in ("Local", "Cluster"):
        spec = {**EVERYWHERE, "externalTrafficPolicy": policy}
        yield (
            f"ExternalTrafficPolicy{policy}/",
            [
                service("s", "172.30.0.41", NODE_PORT, **spec),
                SPREAD,
            ],
        )
        test = f"TerminatingEndpointsTrafficPolicy{policy}/"
        last = "10.0.1.5" if policy == "Local" else "10.0.1.5/st"
        yield f"{test}ready", terminating(policy, READY)
        only = f"10.0.1.2/lst 10.0.1.3/lst 10.0.1.4/lt {last}"
        yield f"{test}only terminating", terminating(policy, only)
        yield f"{test}terminating endpoints on remote", terminating(policy, "10.0.1.5/st")
        yield f"{test}no usable", terminating(policy, NO_USE)
    test = "InternalTrafficPolicy/internalTrafficPolicy is"
    yield f"{test} cluster", three("")
    yield f"{test} local and there is one local", three("1")
    yield f"{test} local and there are multiple", three("12")
    yield f"{test} local and there are no", three("x")


WORLDS = sorted(worlds(), key=lambda world: -len(world[0]))


@dataclass(frozen=True)
class Vector:
    name: str
    protocol: str
    source: str
    destination: str
    port: int
    expected: dict[str, str]


def vectors() -> list[Vector]:
    found = []
    for line in VECTORS.read_text().splitlines():
        if not line.startswith("#"):
            name, packet, iptables, nftables = line.split(" | ")
            protocol, source, _, target = packet.split()
            destination, _, number = target.rpartition(":")
            expected = {"iptables": iptables, "nftables": nftables}
            found.append(Vector(name, protocol, source, destination, int(number), expected))
    return found


def objects_of(vector: Vector) -> list[Document]:
    """The objects that a vector is sent among."""
    docs = next(docs for prefix, docs in WORLDS if vector.name.startswith(prefix))
    if vector.name.endswith("endpoints deleted"):
        return [doc for doc in docs if doc["kind"] == "Service"]
    return docs


#: Upstream has no such case in one of the modes where its result is a dash.
ALL_VECTORS = [(v, mode) for v in vectors() for mode in MODES if v.expected[mode] != "–"]

POLICIES = [
    service("cluster", "172.30.0.41", NODE_PORT, type="LoadBalancer", vips=["1.2.3.4"]),
    service(
        *("external", "172.30.0.42", {**NODE_PORT, "nodePort": 3002}),
        type="LoadBalancer",
        vips=["5.6.7.8"],
        externalTrafficPolicy="Local",
    ),
    service(
        *("internal", "172.30.0.43", {**NODE_PORT, "nodePort": 3003}),
        type="LoadBalancer",
        vips=["9.10.11.12"],
        internalTrafficPolicy="Local",
    ),
    *(endpoints(name, "10.180.0.1/l 10.180.1.1") for name in ("cluster", "external", "internal")),
]
FRONTS = {
    "clusterIP": ("172.30.0.41", "172.30.0.42", "172.30.0.43"),
    "NodePort": ("192.168.0.2",) * 3,
    "LB": ("1.2.3.4", "5.6.7.8", "9.10.11.12"),
}
SOURCES = {"pod": "10.0.0.2", "node": "192.168.0.2", "localhost": "127.0.0.1", "ext": "203.0.113.2"}
#: Source and destination, then for iTP and eTP Cluster, eTP Local, iTP Local: which endpoints, M.
MASQUERADE = [
    ("pod", "clusterIP", "all -", "all -", "local -"),
    ("node", "clusterIP", "all M", "all M", "local M"),
    ("ext", "clusterIP", "all M", "all M", "local M"),
    ("pod", "NodePort", "all M", "all -", "all M"),
    ("pod", "LB", "all M", "all -", "all M"),
    ("node", "NodePort", "all M", "all M", "all M"),
    ("node", "LB", "all M", "all M", "all M"),
    ("localhost", "NodePort", "all M", "all M", "all M"),
    ("ext", "NodePort", "all M", "local -", "all M"),
    ("ext", "LB", "all M", "local -", "all M"),
]
EXPECTED = {"all": "10.180.0.1:80, 10.180.1.1:80", "local": "10.180.0.1:80"}


def adapted(source: str, front: str, policy: int, expected: str, without: bool, all_: bool) -> str:
    """What differs without a local detector, and with --masquerade-all (catalogue 3.8)."""
    reached, marked = expected.split()
    if front == "clusterIP":
        if without:
            marked = "-"
        if all_:
            marked = "M"
    if without and source == "pod" and front != "clusterIP" and policy == 1:
        reached = "local"
    return f"{reached} {marked}"


BROAD = ("192.168.0.0/16", "fd00:20::/32", "fd00:21::/32")
NARROW_LOCALHOST = ("192.168.0.0/24", "fd00:20::/32", "127.0.0.0/8", "::1/128")
#: mode, family, localhost allowed, --nodeport-addresses; then whether the second address and
#: localhost are served.
NODE_PORTS = [
    ("iptables", IPV4, True, (), True, True),
    ("iptables", IPV4, False, (), True, False),
    ("iptables", IPV4, False, NARROW_LOCALHOST, False, False),
    ("iptables", IPV4, True, BROAD, True, False),
    ("iptables", IPV6, True, (), True, False),
    ("iptables", IPV6, False, (), True, False),
    ("iptables", IPV6, False, NARROW_LOCALHOST, False, False),
    ("nftables", IPV4, True, (), False, False),
    ("nftables", IPV6, True, (), False, False),
    ("nftables", IPV4, True, BROAD, True, False),
    ("nftables", IPV6, True, BROAD, True, False),
]
