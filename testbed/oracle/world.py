"""The objects an expectation rests on, indexed once by the addresses that packets carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from testbed.api.objects import (
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    EndpointSlice,
    NamespacedName,
    Node,
    Pod,
    Service,
    ServicePort,
    family_of,
)
from testbed.oracle.addresses import Ranges, canonical
from testbed.oracle.choice import Choice, Usable, choose
from testbed.oracle.expectation import FrontEndKind


class Mode(StrEnum):
    """What serves Services on a node; NONE is a node without a proxy."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"
    NONE = "none"


class DetectLocal(StrEnum):
    """How a node tells its Pods' packets from others: kube-proxy's --detect-local-mode."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    #: BridgeInterface and InterfaceNamePrefix: by the interface it comes in from.
    INTERFACE = "Interface"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the objects don't say: how the proxies and the Pod network are set up.

    `modes` lists nodes whose proxy differs from `mode`. `nodeport_addresses` are CIDRs (each for
    its own family; a family without any is open) or ("primary",); empty is the mode's default
    (iptables: every local address, nftables: the primary one). `extra_addresses` are local
    addresses of a node that its Node object doesn't list. `pods_masqueraded`: the Pod network gives
    a Pod's packets the node's address when they leave for an address outside the cluster CIDRs and
    outside of `spared` (CIDRs such as the node network; ip-masq-agent's nonMasqueradeCIDRs).
    """

    mode: Mode = Mode.IPTABLES
    modes: Mapping[str, Mode] = field(default_factory=dict)
    cluster_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    detect_local: DetectLocal = DetectLocal.CLUSTER_CIDR
    masquerade_all: bool = False
    nodeport_addresses: tuple[str, ...] = ()
    localhost_nodeports: bool = True
    extra_addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pods_masqueraded: bool = False
    spared: tuple[str, ...] = ()

    def mode_of(self, node: str) -> Mode:
        return self.modes.get(node, self.mode)


@dataclass(frozen=True, slots=True, eq=False)
class ServedPort:
    """One port of a Service in one family, with its endpoints."""

    service: Service
    port: ServicePort
    family: str
    endpoints: tuple[Usable, ...]
    vips: tuple[str, ...]
    #: Sources that may use the load balancer IPs; None where anybody may.
    allowed: Ranges | None

    def __str__(self) -> str:
        name = f":{self.port.name}" if self.port.name else ""
        return f"{self.service.key}{name}"


@dataclass(frozen=True, slots=True)
class FrontEnd:
    kind: FrontEndKind
    served: ServedPort


class World:
    """Services, slices, nodes and Pods under `settings`, ready to be asked about flows.

    A World never changes; make a new one when an object does.
    """

    def __init__(
        self,
        services: Iterable[Service],
        slices: Iterable[EndpointSlice],
        nodes: Iterable[Node],
        pods: Iterable[Pod] = (),
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.services = {service.key: service for service in services}
        self.slices = tuple(sorted(slices, key=lambda s: s.key))
        self.nodes = {node.name: node for node in nodes}
        self.pods = {pod.key: pod for pod in pods}
        self.cluster_ranges = Ranges(self.settings.cluster_cidrs)
        self.service_ranges = Ranges(self.settings.service_cidrs)
        self.spared_ranges = Ranges(self.settings.spared)
        self.nodeport_ranges = Ranges(self.settings.nodeport_addresses)
        self.node_ranges = {n.name: Ranges(n.pod_cidrs) for n in self.nodes.values()}
        #: (address, protocol in lower case, port) → what answers there, on every node.
        self.front_ends: dict[tuple[str, str, int], FrontEnd] = {}
        #: (family, protocol in lower case, port) → what answers there, on a node's own addresses.
        self.node_ports: dict[tuple[str, str, int], FrontEnd] = {}
        #: ClusterIPs of the Services that the proxies serve, and of those they leave to others.
        self.cluster_ips: dict[str, Service] = {}
        self.foreign_ips: dict[str, Service] = {}
        #: Load balancer addresses that stay the load balancer's own (ipMode Proxy).
        self.proxy_ips: dict[str, Service] = {}
        self.health_ports: dict[int, Service] = {}
        self.served: dict[NamespacedName, list[ServedPort]] = {}
        self._choices: dict[tuple[int, str], Choice] = {}
        self._index_nodes()
        self._index_services()

    # -- nodes and Pods

    def _index_nodes(self) -> None:
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.node_at: dict[str, str] = {}
        for node in self.nodes.values():
            internal = [canonical(a) for kind, a in node.addresses if kind == "InternalIP"]
            extra = [canonical(a) for a in self.settings.extra_addresses.get(node.name, ())]
            self.addresses[node.name] = tuple(dict.fromkeys(a for a in internal + extra if a))
            for address in self.addresses[node.name]:
                self.node_at[address] = node.name
        #: A node's ExternalIP that isn't on the node: the cloud translates it one to one.
        self.cloud_addresses = {
            canonical(address): node.name
            for node in self.nodes.values()
            for kind, address in node.addresses
            if kind == "ExternalIP" and canonical(address) not in self.node_at
        }
        self.pod_at = {
            canonical(ip): pod
            for pod in self.pods.values()
            if not pod.host_network and pod.phase not in ("Succeeded", "Failed")
            for ip in pod.ips
        }

    def primary(self, node: str, family: str) -> str:
        """The address of `node` that stands first in `family`; "" if it has none."""
        return next((a for a in self.addresses.get(node, ()) if family_of(a) == family), "")

    # -- Services

    def _index_services(self) -> None:
        slices: dict[NamespacedName, list[EndpointSlice]] = {}
        for piece in self.slices:
            if piece.service and LABEL_HEADLESS not in piece.labels:
                slices.setdefault(piece.service, []).append(piece)
        for key in sorted(self.services):
            service = self.services[key]
            ips = [ip for ip in map(canonical, service.cluster_ips) if ip]
            if service.type == "ExternalName" or not ips:
                continue
            if LABEL_PROXY_NAME in service.labels:
                self.foreign_ips.update(dict.fromkeys(ips, service))
                continue
            self.cluster_ips.update(dict.fromkeys(ips, service))
            if service.health_check_node_port and _wants_health_check(service):
                self.health_ports[service.health_check_node_port] = service
            for ingress in service.ingress:
                if ingress.ip and ingress.ip_mode == "Proxy":
                    self.proxy_ips[canonical(ingress.ip)] = service
            for family in dict.fromkeys(map(family_of, ips)):
                for port in service.ports:
                    self._serve(service, port, family, slices.get(key, []))

    def _serve(
        self, service: Service, port: ServicePort, family: str, slices: list[EndpointSlice]
    ) -> None:
        vips = [canonical(i.ip) for i in service.ingress if i.ip and i.ip_mode != "Proxy"]
        served = ServedPort(
            service=service,
            port=port,
            family=family,
            endpoints=endpoints_of(slices, port, family),
            vips=tuple(v for v in vips if v and family_of(v) == family),
            allowed=_allowed(service, family),
        )
        self.served.setdefault(service.key, []).append(served)
        for kind, addresses in (
            (FrontEndKind.CLUSTER_IP, map(canonical, service.cluster_ips)),
            (FrontEndKind.EXTERNAL_IP, map(canonical, service.external_ips)),
            (FrontEndKind.LOAD_BALANCER, iter(served.vips)),
        ):
            for address in addresses:
                if address and family_of(address) == family:
                    place = (address, port.protocol.lower(), port.port)
                    self.front_ends.setdefault(place, FrontEnd(kind, served))
        if port.node_port:
            node_place = (family, port.protocol.lower(), port.node_port)
            self.node_ports.setdefault(node_place, FrontEnd(FrontEndKind.NODE_PORT, served))

    def choice(self, served: ServedPort, node: str) -> Choice:
        """The endpoints of `served` that clients on, or by way of, `node` may get."""
        key = (id(served), node)
        found = self._choices.get(key)
        if found is None:
            zone = self.nodes[node].zone if node in self.nodes else ""
            found = self._choices[key] = choose(served.endpoints, node, zone)
        return found

    def ready_on(self, service: Service, node: str) -> int:
        """How many ready endpoint addresses of `service` are on `node`."""
        return len(
            {
                endpoint.ip
                for served in self.served.get(service.key, ())
                for endpoint in served.endpoints
                if endpoint.ready and endpoint.node == node
            }
        )


def _wants_health_check(service: Service) -> bool:
    return service.type == "LoadBalancer" and service.external_traffic_policy == "Local"


def _allowed(service: Service, family: str) -> Ranges | None:
    if service.type != "LoadBalancer":
        return None
    ranges = Ranges(service.source_ranges)
    return ranges if ranges.has(family) and family not in ranges.everything else None


def endpoints_of(slices: list[EndpointSlice], port: ServicePort, family: str) -> tuple[Usable, ...]:
    """The endpoints behind a Service port: matched by port name and protocol, one per ip:port.

    An endpoint that two slices list counts once; the entry that isn't terminating is taken.
    """
    found: dict[tuple[str, int], Usable] = {}
    for piece in slices:
        if piece.address_type != family:
            continue
        numbers = [
            p.port for p in piece.ports if p.name == port.name and p.protocol == port.protocol
        ]
        for number in filter(None, numbers):
            for endpoint in piece.endpoints:
                ip = canonical(endpoint.addresses[0]) if endpoint.addresses else ""
                if not ip or family_of(ip) != family:
                    continue
                if (ip, number) not in found or not endpoint.terminating:
                    found[ip, number] = Usable.of(endpoint, ip, number)
    return tuple(found[key] for key in sorted(found))
