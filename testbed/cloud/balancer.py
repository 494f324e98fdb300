"""A load balancer as the cloud sees it: addresses, listeners, target nodes. Pure values.

Which nodes are targets follows cloud-provider's service controller (catalogue L-03); what a target
is probed for follows L-04.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from testbed.api.objects import LABEL_EXCLUDE_BALANCER, NamespacedName, Node, Service, family_of
from testbed.cloud.interface import CloudError

#: Where kube-proxy answers whether its node takes traffic (L-04).
PROXY_HEALTH_PORT = 10256
TAINT_SCALE_DOWN = "ToBeDeletedByClusterAutoscaler"
#: The source ranges' older form; spec.loadBalancerSourceRanges wins.
ANNOTATION_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
#: Chooses a data plane for one Service: nat, nat-masquerade, dsr or proxy.
ANNOTATION_DATA_PLANE = "cloud.testbed/data-plane"
#: "none" keeps the proxy data plane from sending the PROXY protocol's header.
ANNOTATION_PROXY_PROTOCOL = "cloud.testbed/proxy-protocol"

_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class DataPlane(Enum):
    """How a packet gets from the VIP to a node."""

    NAT = "nat"
    """Destination rewritten to node:nodePort; the client's address stays."""
    MASQUERADE = "nat-masquerade"
    """As NAT, and the source becomes the load balancer's own address."""
    DSR = "dsr"
    """The packet reaches a node unchanged; the reply goes straight to the client."""
    PROXY = "proxy"
    """Two TCP connections; the second tells the client's address by PROXY protocol v2."""

    @property
    def ip_mode(self) -> str:
        """`status.loadBalancer.ingress[].ipMode` (F-28): Proxy keeps kube-proxy from the VIP."""
        return "Proxy" if self is DataPlane.PROXY else "VIP"


@dataclass(frozen=True, slots=True)
class Listener:
    """A port of the VIP; `node_port` is 0 where the Service has none (L-11)."""

    protocol: str
    port: int
    node_port: int


@dataclass(frozen=True, slots=True)
class Target:
    """A node that traffic may go to, with its internal addresses (at most one per family)."""

    name: str
    addresses: tuple[str, ...]

    def address(self, family: str) -> str | None:
        return next((a for a in self.addresses if family_of(a) == family), None)


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """The desired state of one Service's load balancer. `addresses`: one VIP per family."""

    key: NamespacedName
    addresses: tuple[str, ...]
    listeners: tuple[Listener, ...]
    targets: tuple[Target, ...]
    source_ranges: tuple[str, ...]
    affinity: bool
    health_port: int
    data_plane: DataPlane
    proxy_protocol: bool = True

    def ranges(self, family: str) -> tuple[str, ...]:
        """The allowed sources of a family, merged; empty means no filter (F-15).

        As kube-proxy has it: a family without a range of its own isn't filtered, and neither is one
        with a range of length zero.
        """
        networks = [
            ipaddress.ip_network(r.strip(), strict=False)
            for r in self.source_ranges
            if family_of(r) == family
        ]
        if any(n.prefixlen == 0 for n in networks):
            return ()
        if family == "IPv4":
            merged = ipaddress.collapse_addresses(
                n for n in networks if isinstance(n, ipaddress.IPv4Network)
            )
            return tuple(str(n) for n in merged)
        merged6 = ipaddress.collapse_addresses(
            n for n in networks if isinstance(n, ipaddress.IPv6Network)
        )
        return tuple(str(n) for n in merged6)


def load_balancer(
    service: Service, nodes: Iterable[Node], addresses: Sequence[str], default: DataPlane
) -> LoadBalancer:
    """The load balancer that `service` asks for. Raises CloudError for a bad annotation."""
    local = service.external_traffic_policy == "Local"
    return LoadBalancer(
        key=service.key,
        addresses=tuple(addresses),
        listeners=tuple(Listener(p.protocol, p.port, p.node_port) for p in service.ports),
        targets=targets(nodes),
        source_ranges=_source_ranges(service),
        affinity=service.session_affinity == "ClientIP",
        health_port=service.health_check_node_port if local else PROXY_HEALTH_PORT,
        data_plane=data_plane_of(service, default),
        proxy_protocol=service.annotations.get(ANNOTATION_PROXY_PROTOCOL) != "none",
    )


def targets(nodes: Iterable[Node]) -> tuple[Target, ...]:
    """The nodes that load balancers may use, by name."""
    eligible = sorted((n for n in nodes if is_target(n)), key=lambda n: n.name)
    return tuple(Target(n.name, _internal_addresses(n)) for n in eligible)


def is_target(node: Node) -> bool:
    """Whether load balancers may use `node`; readiness doesn't matter (L-03)."""
    if node.deleting or TAINT_SCALE_DOWN in node.taints:
        return False
    return node.labels.get(LABEL_EXCLUDE_BALANCER, "false") in _FALSE


def data_plane_of(service: Service, default: DataPlane) -> DataPlane:
    """The data plane that an annotation asks for, or `default`.

    Only dsr serves a port without a node port (L-11): unless it is told otherwise, such a Service
    gets dsr. Raises CloudError for what can't be served.
    """
    asked = service.annotations.get(ANNOTATION_DATA_PLANE)
    try:
        chosen = default if asked is None else DataPlane(asked)
    except ValueError:
        known = ", ".join(kind.value for kind in DataPlane)
        raise CloudError(f"{ANNOTATION_DATA_PLANE} {asked!r}: one of {known}") from None
    if chosen is DataPlane.DSR:
        return chosen
    bare = next((p for p in service.ports if not p.node_port), None)
    if bare is not None:
        if asked is None:
            return DataPlane.DSR
        raise CloudError(f"port {bare.port} has no node port, which {chosen.value} sends to")
    other = next((p for p in service.ports if p.protocol != "TCP"), None)
    if other is not None and chosen is DataPlane.PROXY:
        raise CloudError(f"port {other.port} is {other.protocol}: proxy serves TCP only")
    return chosen


def _source_ranges(service: Service) -> tuple[str, ...]:
    """Source: cloud-provider service/helpers GetLoadBalancerSourceRanges."""
    if service.source_ranges:
        return service.source_ranges
    listed = service.annotations.get(ANNOTATION_SOURCE_RANGES, "")
    ranges = tuple(r.strip() for r in listed.split(",") if r.strip())
    for text in ranges:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise CloudError(f"{ANNOTATION_SOURCE_RANGES}: {text!r} isn't a CIDR") from None
    return ranges


def _internal_addresses(node: Node) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for kind, address in node.addresses:
        if kind == "InternalIP":
            found.setdefault(family_of(address), address)
    return tuple(found.values())
