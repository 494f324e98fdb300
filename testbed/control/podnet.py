"""Pod network drivers: how Pods get their links and find Pods of other nodes. Pure: they plan.

A driver knows nothing of Services. A node's network namespace bears the node's name. Source: the
contract of https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model
(every Pod reaches every Pod by its own address, without NAT); each driver's docstring names the
plugin that it follows.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import ClassVar

from testbed.api.objects import Node
from testbed.errors import UsageError
from testbed.fabric.specs import (
    Bridge,
    End,
    Forwarding,
    NamespaceSpec,
    Neighbour,
    Plan,
    Route,
    Ruleset,
    Sysctl,
    Veth,
    Vxlan,
)

#: The gateway of a Pod whose link is unnumbered; no interface bears these addresses.
GATEWAYS = {4: "169.254.1.1", 6: "fe80::1"}
#: The node's end of every Pod's link (as Calico's): a Pod's permanent neighbour entry needs it.
NODE_END_MAC = "ee:ee:ee:ee:ee:ee"
DEFAULT_ROUTES = {4: "0.0.0.0/0", 6: "::/0"}
EGRESS_TABLE = "testbed-egress"
TUNNEL, TUNNEL_VNI, TUNNEL_PORT = "flannel.1", 1, 8472
TUNNEL_MTU = {4: 1450, 6: 1430}
POD_BRIDGE = "cni0"


@dataclass(frozen=True, slots=True)
class ClusterNetworks:
    """The CIDRs of a cluster, of either family: those of Pods, Services and nodes.

    `strangers` are addresses of the node network that are no node's, such as the router's: they
    have no way to Pods, so what Pods send them is masqueraded.
    """

    pods: tuple[str, ...] = ("10.244.0.0/16", "fd00:10:244::/56")
    services: tuple[str, ...] = ("10.96.0.0/16", "fd00:10:96::/112")
    nodes: tuple[str, ...] = ("172.18.0.0/24", "fd00:172:18::/64")
    strangers: tuple[str, ...] = ()


class PodNetwork(ABC):
    """A driver. `name` is what a user writes to choose it."""

    name: ClassVar[str]

    def __init__(self, networks: ClusterNetworks | None = None) -> None:
        self.networks = networks or ClusterNetworks()

    def node_plan(self, nodes: Sequence[Node], known: Sequence[Node] = ()) -> Plan:
        """What `nodes` need when they join a cluster of the `known` nodes.

        Routes both ways between new and known nodes, and masquerading of what Pods send out of
        the cluster.
        """
        pairs = [(here, there) for here in nodes for there in (*nodes, *known) if here != there]
        pairs += [(here, there) for here in known for there in nodes]
        plans = [self.new_node(node) for node in nodes]
        plans += [self.way(here, there) for here, there in pairs]
        plans.append(Plan(rulesets=tuple(egress(node.name, self.networks) for node in nodes)))
        return Plan.total(plans)

    @abstractmethod
    def new_node(self, node: Node) -> Plan:
        """What a node needs for its own Pods."""

    @abstractmethod
    def way(self, here: Node, there: Node) -> Plan:
        """What `here` needs to reach the Pods of `there`."""

    @abstractmethod
    def pod_plan(self, pod_namespace: str, node: Node, addresses: Sequence[str]) -> Plan:
        """A Pod's namespace, its link to `node` and its routes; `addresses` without a length."""


class RoutesNetwork(PodNetwork):
    """Routes and nothing else: unnumbered veth pairs, a route for each Pod on its node, a route
    for each other node's Pod CIDR through that node's address.

    As Calico without encapsulation (proxied gateway 169.254.1.1) and kindnet (routes to nodes).
    Neighbours are permanent, so no packet waits for ARP.
    """

    name = "routes"

    def new_node(self, node: Node) -> Plan:
        """An address that no Pod has is unreachable at once, rather than sent to the gateway."""
        return Plan(
            routes=tuple(Route(node.name, cidr, kind="unreachable") for cidr in node.pod_cidrs)
        )

    def way(self, here: Node, there: Node) -> Plan:
        addresses = _by_family(internal_addresses(there))
        return Plan(
            routes=tuple(
                Route(here.name, cidr, via=addresses[family])
                for family, cidr in _by_family(there.pod_cidrs).items()
                if family in addresses
            )
        )

    def pod_plan(self, pod_namespace: str, node: Node, addresses: Sequence[str]) -> Plan:
        return unnumbered_pod(pod_namespace, node, addresses)


class VxlanNetwork(RoutesNetwork):
    """Pods as with `routes`; other nodes' Pod CIDRs through a VXLAN tunnel over the node network.

    As flannel's vxlan backend: VNI 1, port 8472, static neighbours and forwarding entries instead
    of learning. Unlike flannel's, the tunnel bears no address, so what a node masquerades keeps the
    node's own. One tunnel carries both families.
    """

    name = "vxlan"

    def new_node(self, node: Node) -> Plan:
        underlay = _underlay(node)
        tunnel = Vxlan(
            node.name,
            TUNNEL,
            TUNNEL_VNI,
            underlay,
            port=TUNNEL_PORT,
            mac=tunnel_mac(node),
            mtu=TUNNEL_MTU[ip_address(underlay).version],
        )
        return super().new_node(node) + Plan(vxlans=(tunnel,))

    def way(self, here: Node, there: Node) -> Plan:
        mac = tunnel_mac(there)
        gateways = {c: str(ip_network(c).network_address) for c in there.pod_cidrs}
        return Plan(
            neighbours=tuple(Neighbour(here.name, TUNNEL, g, mac) for g in gateways.values()),
            forwardings=(Forwarding(here.name, TUNNEL, mac, _underlay(there)),),
            routes=tuple(
                Route(here.name, cidr, via=gateway, interface=TUNNEL, onlink=True)
                for cidr, gateway in gateways.items()
            ),
        )

    def pod_plan(self, pod_namespace: str, node: Node, addresses: Sequence[str]) -> Plan:
        mtu = TUNNEL_MTU[ip_address(_underlay(node)).version]
        return unnumbered_pod(pod_namespace, node, addresses, mtu)


class BridgeNetwork(RoutesNetwork):
    """A bridge `cni0` on each node, which is the Pods' gateway (first address of the Pod CIDR).

    As the `bridge` plugin under kubenet and flannel. Answers between two Pods of one node would
    pass the bridge without meeting the node's NAT rules, hence bridge-nf-call-iptables (module
    br_netfilter), which Kubernetes asks of such nodes.
    """

    name = "bridge"

    def new_node(self, node: Node) -> Plan:
        addresses = tuple(f"{gateway}/{length}" for gateway, length in _gateways(node).values())
        return Plan(
            bridges=(Bridge(node.name, POD_BRIDGE, addresses=addresses),),
            sysctls=tuple(
                Sysctl(node.name, f"net.bridge.bridge-nf-call-{tables}", "1", optional=True)
                for tables in ("iptables", "ip6tables")
            ),
        )

    def pod_plan(self, pod_namespace: str, node: Node, addresses: Sequence[str]) -> Plan:
        gateways = _gateways(node)
        sized = tuple(f"{a}/{gateways[ip_address(a).version][1]}" for a in addresses)
        pod = End(pod_namespace, "eth0", mac=pod_mac(addresses), addresses=sized)
        port = End(node.name, node_end(pod_namespace), bridge=POD_BRIDGE, hairpin=True)
        return Plan(
            namespaces=(NamespaceSpec(pod_namespace),),
            veths=(Veth(pod, port),),
            routes=tuple(
                Route(pod_namespace, DEFAULT_ROUTES[family], via=gateways[family][0])
                for family in _by_family(addresses)
            ),
        )


DRIVERS: dict[str, type[PodNetwork]] = {
    driver.name: driver for driver in (RoutesNetwork, BridgeNetwork, VxlanNetwork)
}


def pod_network(name: str, networks: ClusterNetworks | None = None) -> PodNetwork:
    """The driver called `name`; UsageError with the known names otherwise."""
    if name not in DRIVERS:
        raise UsageError(f"Pod network {name!r} is unknown; there are: {', '.join(DRIVERS)}")
    return DRIVERS[name](networks)


def unnumbered_pod(pod_namespace: str, node: Node, addresses: Sequence[str], mtu: int = 0) -> Plan:
    """A Pod with host addresses, a default route through its link, and a host route on the node."""
    mac, far = pod_mac(addresses), node_end(pod_namespace)
    families = _by_family(addresses)
    sources = _by_family(internal_addresses(node))
    pod = End(
        pod_namespace,
        "eth0",
        mac=mac,
        addresses=tuple(f"{a}/{128 if ':' in a else 32}" for a in addresses),
        mtu=mtu,
    )
    return Plan(
        namespaces=(NamespaceSpec(pod_namespace),),
        veths=(Veth(pod, End(node.name, far, mac=NODE_END_MAC, mtu=mtu)),),
        neighbours=(
            *(Neighbour(pod_namespace, "eth0", GATEWAYS[f], NODE_END_MAC) for f in families),
            *(Neighbour(node.name, far, address, mac) for address in addresses),
        ),
        routes=(
            *(
                Route(pod_namespace, DEFAULT_ROUTES[f], GATEWAYS[f], "eth0", onlink=True)
                for f in families
            ),
            *(
                Route(node.name, address, interface=far, source=sources.get(f, ""))
                for f, address in families.items()
            ),
        ),
    )


def egress(node: str, networks: ClusterNetworks) -> Ruleset:
    """Masquerade what Pods send out of the cluster, in a table of our own.

    Its chain comes after kube-proxy's (priority srcnat), so a connection that kube-proxy
    masquerades is decided already. Traffic to Pods, Services and nodes keeps its source.
    """
    lines = [
        f"    {_ip(cidr)} daddr {address} {_ip(cidr)} saddr {cidr} masquerade"
        for address in networks.strangers
        for cidr in networks.pods
        if _ip(cidr) == _ip(address)
    ]
    lines += [
        f"    {_ip(cidr)} daddr {cidr} return"
        for cidr in (*networks.pods, *networks.services, *networks.nodes)
    ]
    lines += [f"    {_ip(cidr)} saddr {cidr} masquerade" for cidr in networks.pods]
    text = "\n".join(
        (
            f"table inet {EGRESS_TABLE} {{",
            "  chain masquerade-pods {",
            "    type nat hook postrouting priority srcnat + 1; policy accept;",
            *lines,
            "  }",
            "}",
            "",
        )
    )
    return Ruleset(node, f"inet {EGRESS_TABLE}", text)


def node_end(pod_namespace: str) -> str:
    """The interface name of a Pod's link on its node."""
    return f"veth{hashlib.sha1(pod_namespace.encode()).hexdigest()[:8]}"


def pod_mac(addresses: Sequence[str]) -> str:
    """A Pod's MAC address, made of the last four bytes of its first address."""
    return _mac(ip_address(addresses[0]).packed[-4:])


def tunnel_mac(node: Node) -> str:
    return _mac(hashlib.sha1(f"{TUNNEL} {node.name}".encode()).digest()[:4])


def _mac(four: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in b"\x0a\x58" + four)


def internal_addresses(node: Node) -> list[str]:
    """The node's InternalIP addresses."""
    return [address for kind, address in node.addresses if kind == "InternalIP"]


def _underlay(node: Node) -> str:
    addresses = internal_addresses(node)
    if not addresses:
        raise UsageError(f"node {node.name} has no InternalIP address to tunnel from")
    return addresses[0]


def _by_family(addresses: Iterable[str]) -> dict[int, str]:
    """4 and 6 → the first address of that family."""
    found: dict[int, str] = {}
    for address in addresses:
        found.setdefault(6 if ":" in address else 4, address)
    return found


def _gateways(node: Node) -> dict[int, tuple[str, int]]:
    """4 and 6 → (first address, prefix length) of the node's Pod CIDR."""
    found: dict[int, tuple[str, int]] = {}
    for family, cidr in _by_family(node.pod_cidrs).items():
        network = ip_network(cidr)
        found[family] = (str(network[1]), network.prefixlen)
    return found


def _ip(cidr: str) -> str:
    return "ip6" if ":" in cidr else "ip"
