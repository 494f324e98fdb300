"""Random worlds for the proxy: Services, EndpointSlices, nodes and settings of every kind."""

from __future__ import annotations

from hypothesis import strategies as st

from testbed.api.objects import IPV4, IPV6, EndpointSlice, NamespacedName, Service
from testbed.proxy.config import KubeProxyConfiguration, ModeConfiguration
from testbed.proxy.instance import Instance
from testbed.proxy.node import LocalNode

NODES = ("w1", "w2", "w3")
ZONES = ("a", "b")
NAMES = ("alpha", "beta", "gamma")
PORTS = (("", "TCP"), ("http", "TCP"), ("dns", "UDP"), ("dns-tcp", "TCP"), ("s1ap", "SCTP"))

_ADDRESS = {
    IPV4: ("10.96.1.{}", "10.244.1.{}", "198.51.100.{}", "203.0.113.{}"),
    IPV6: ("fd00:10:96::{:x}", "fd00:10:244:1::{:x}", "2001:db8:100::{:x}", "2001:db8:113::{:x}"),
}
_RANGES = {
    IPV4: (
        *("203.0.113.0/24", "203.0.112.0/24", " 10.0.0.0/8", "192.0.2.7/32", "172.18.0.11/16"),
        *("192.0.2.8/32", "100.65.0.0/16", "100.66.0.0/16"),
    ),
    IPV6: (
        *("2001:db8:113::/64", "2001:db8:112::/64", "fd00::/16", "2001:db8::7/128"),
        *("2001:db8::8/128", "2001:db8:1::/48", "2001:db8:2::/48"),
    ),
}
_EVERYTHING = {IPV4: "0.0.0.0/0", IPV6: "::/0"}

names = st.sampled_from(NAMES)
numbers = st.integers(1, 30)


def _subset(values: tuple[str, ...], limit: int = 3) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=limit, unique=True)


@st.composite
def services(draw: st.DrawFn, name: str | None = None) -> Service:
    """A Service as the API server would keep it; now and then of a kind that isn't proxied."""
    name = name or draw(names)
    index = NAMES.index(name) + 1
    families = draw(st.sampled_from([[IPV4], [IPV6], [IPV4, IPV6], [IPV6, IPV4]]))
    kind = draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]))
    has_node_port = kind in ("NodePort", "LoadBalancer")
    chosen = draw(st.lists(st.sampled_from(range(len(PORTS))), min_size=1, unique=True))
    ports = [
        {
            "name": PORTS[i][0],
            "protocol": PORTS[i][1],
            "port": 80 + i,
            "nodePort": 30000 + 10 * index + i if has_node_port else 0,
        }
        for i in chosen
    ]
    external = draw(st.sampled_from(["", "Cluster", "Local"]))
    spec = {
        "type": kind,
        "clusterIPs": [_ADDRESS[family][0].format(index) for family in families],
        "ipFamilies": families,
        "ports": ports,
        "internalTrafficPolicy": draw(st.sampled_from(["Cluster", "Local"])),
        "externalTrafficPolicy": external,
        "healthCheckNodePort": 32000 + index,
        "externalIPs": [
            _ADDRESS[f][2].format(200 + index) for f in draw(_subset(tuple(families), 2))
        ],
        "sessionAffinity": draw(st.sampled_from(["None", "ClientIP"])),
        "sessionAffinityConfig": {
            "clientIP": {"timeoutSeconds": draw(st.sampled_from([1, 60, 3661, 10800, 86400]))}
        },
        "loadBalancerSourceRanges": [
            text
            for family in families
            for text in [
                *draw(_subset(_RANGES[family])),
                *([_EVERYTHING[family]] if draw(st.integers(0, 9)) == 0 else []),
            ]
        ],
    }
    if draw(st.integers(0, 19)) == 0:
        spec["clusterIPs"] = ["None"]
    labels = {}
    if draw(st.integers(0, 19)) == 0:
        labels["service.kubernetes.io/service-proxy-name"] = "other"
    ingress = [
        {
            "ip": _ADDRESS[f][2].format(10 * index + number),
            "ipMode": draw(st.sampled_from(["VIP", "VIP", "Proxy"])),
        }
        for f in (draw(_subset(tuple(families), 2)) if kind == "LoadBalancer" else [])
        for number in range(1, draw(st.integers(1, 2)) + 1)
    ]
    return Service.from_document(
        {
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        }
    )


@st.composite
def slices(draw: st.DrawFn, key: str | None = None) -> EndpointSlice:
    """An EndpointSlice of one of the Services, or of none."""
    key = key or draw(st.sampled_from(["s1", "s2", "s3", "s4"]))
    family = draw(st.sampled_from([IPV4, IPV6]))
    owner = draw(st.sampled_from([*NAMES, *NAMES, ""]))
    state = st.sampled_from([None, True, False])
    endpoints = [
        {
            "addresses": [_ADDRESS[family][1].format(draw(numbers))],
            "conditions": {
                "ready": draw(state),
                "serving": draw(state),
                "terminating": draw(state),
            },
            "nodeName": draw(st.sampled_from([*NODES, ""])),
            "hints": {
                "forZones": [{"name": zone} for zone in draw(_subset(ZONES, 2))],
                "forNodes": [{"name": node} for node in draw(_subset(NODES, 1))],
            },
        }
        for _ in range(draw(st.integers(0, 4)))
    ]
    chosen = draw(st.lists(st.sampled_from(PORTS), unique=True, max_size=3))
    labels = {"kubernetes.io/service-name": owner} if owner else {}
    if draw(st.integers(0, 19)) == 0:
        labels["service.kubernetes.io/headless"] = ""
    return EndpointSlice.from_document(
        {
            "metadata": {"name": key, "namespace": "default", "labels": labels},
            "addressType": family,
            "endpoints": endpoints,
            "ports": [
                {
                    "name": name,
                    "protocol": protocol,
                    "port": draw(st.sampled_from([None, 8080, 53])),
                }
                for name, protocol in chosen
            ],
        }
    )


@st.composite
def instances(draw: st.DrawFn, nfacct: bool | None = None) -> Instance:
    """An instance on w1 with settings of every kind."""
    family = draw(st.sampled_from([IPV4, IPV6]))
    node_ports = st.sampled_from(
        [(), ("primary",), ("172.18.0.0/16", "fd00:172:18::/64"), ("127.0.0.0/8",), ("0.0.0.0/0",)]
    )
    mode = ModeConfiguration(
        masquerade_all=draw(st.booleans()), masquerade_bit=draw(st.sampled_from([0, 14, 20, 30]))
    )
    config = KubeProxyConfiguration(
        cluster_cidr=draw(st.sampled_from([(), ("10.244.0.0/16", "fd00:10:244::/56")])),
        detect_local_mode=draw(
            st.sampled_from(["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"])
        ),
        bridge_interface="br0",
        interface_name_prefix="veth",
        node_port_addresses=draw(node_ports),
        localhost_node_ports=draw(st.booleans()),
        iptables=mode,
        nftables=mode,
        nfacct=draw(st.booleans()) if nfacct is None else nfacct,
    )
    four = family == IPV4
    node = LocalNode(
        name="w1",
        family=family,
        ip="172.18.0.11" if four else "fd00:172:18::11",
        addresses=("127.0.0.1", "172.18.0.11", "192.168.7.1")
        if four
        else ("::1", "fd00:172:18::11"),
        zone=draw(st.sampled_from(["", *ZONES])),
        pod_cidr="10.244.1.0/24" if four else "fd00:10:244:1::/64",
    )
    cidrs = draw(
        st.sampled_from(
            [
                (),
                ("10.96.0.0/16", "fd00:10:96::/112"),
                ("10.96.0.0/16", "10.98.0.0/16"),
                ("10.97.0.0/16", "10.98.0.0/16"),
                ("fd00:10:97::1:0/112", "fd00:10:97::2:0/112"),
            ]
        )
    )
    return Instance(node, config, cidrs)


#: Changes as (verb, argument): "service" and "slice" with an object, "drop-…" with a name.
changes = st.lists(
    st.one_of(
        st.tuples(st.just("service"), services()),
        st.tuples(st.just("slice"), slices()),
        st.tuples(st.just("drop-service"), names.map(lambda n: NamespacedName("default", n))),
        st.tuples(
            st.just("drop-slice"),
            st.sampled_from(["s1", "s2", "s3", "s4"]).map(lambda n: NamespacedName("default", n)),
        ),
    ),
    max_size=12,
)
