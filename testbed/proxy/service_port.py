"""Service ports as the proxy sees them: one family's part of a Service, port by port.

Source: pkg/proxy/types.go (ServicePortName), pkg/proxy/serviceport.go (BaseServicePortInfo),
pkg/proxy/servicechangetracker.go (serviceToServiceMap).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from testbed.api.objects import (
    IPV6,
    LABEL_PROXY_NAME,
    NamespacedName,
    Service,
)
from testbed.proxy.addresses import is_zero_cidr, parse_cidr, parse_ip

#: The protocols that Services have; rules for others can't be made.
PROTOCOLS = ("TCP", "UDP", "SCTP")


class ServicePortName(NamedTuple):
    """The key of everything the proxy does: one port of one Service, in one protocol.

    Printed `namespace/name:port`, or `namespace/name` where the port has no name. Sorts by its
    fields: the order in which a RuleSet lists Services.
    """

    namespace: str
    name: str
    port: str
    protocol: str

    @property
    def service(self) -> NamespacedName:
        return NamespacedName(self.namespace, self.name)

    def __str__(self) -> str:
        named = f"{self.namespace}/{self.name}"
        return f"{named}:{self.port}" if self.port else named


@dataclass(frozen=True, slots=True)
class ServicePortInfo:
    """What the rules of one service port depend on, in one family; addresses are canonical.

    `affinity_seconds` is 0 without session affinity. `source_ranges` are empty where everybody may
    come. `external_policy_local` is False for a Service that is not externally accessible.
    """

    name: ServicePortName
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_vips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    health_check_node_port: int = 0
    internal_policy_local: bool = False
    external_policy_local: bool = False
    affinity_seconds: int = 0

    @property
    def protocol(self) -> str:
        """In lower case, as rules spell it."""
        return self.name.protocol.lower()

    @property
    def externally_accessible(self) -> bool:
        return bool(self.node_port or self.load_balancer_vips or self.external_ips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        """Also true where only the short circuit of external traffic needs them."""
        return not self.internal_policy_local or self.externally_accessible

    @property
    def uses_local_endpoints(self) -> bool:
        return self.internal_policy_local or (
            self.external_policy_local and self.externally_accessible
        )


class ServicePorts(NamedTuple):
    """A Service's ports in one family, and what was wrong with the Service."""

    ports: dict[ServicePortName, ServicePortInfo]
    problems: tuple[str, ...]


NO_PORTS = ServicePorts({}, ())


def is_proxied(service: Service) -> bool:
    """Whether kube-proxy looks at this Service at all (catalogue K-01, K-02)."""
    return (
        LABEL_PROXY_NAME not in service.labels
        and service.type != "ExternalName"
        and not service.headless
    )


def service_ports(service: Service, family: str) -> ServicePorts:
    """The ports of `service` that the proxy of `family` programs, by name."""
    if not is_proxied(service):
        return NO_PORTS
    problems: list[str] = []
    if not service.cluster_ips:
        return ServicePorts({}, (f"Service {service.key}: no clusterIP",))
    cluster_ip = _cluster_ip(service, family, problems)
    if not cluster_ip:
        return ServicePorts({}, tuple(problems))
    pick = _Picker(service, family, problems)
    external_local = _accepts_external(service) and service.external_traffic_policy == "Local"
    vips = (i.ip for i in service.ingress if i.ip and i.ip_mode == "VIP")
    external_ips = pick.addresses("externalIPs", service.external_ips)
    load_balancer_vips = pick.addresses("status.loadBalancer.ingress", vips)
    source_ranges = pick.source_ranges()
    health_port = service.health_check_node_port if service.type == "LoadBalancer" else 0
    ports: dict[ServicePortName, ServicePortInfo] = {}
    for port in service.ports:
        if port.protocol not in PROTOCOLS or not (0 < port.port < 65536 > port.node_port >= 0):
            problems.append(f"Service {service.key}: port {port.port}/{port.protocol} can't be")
            continue
        name = ServicePortName(service.key.namespace, service.key.name, port.name, port.protocol)
        ports[name] = ServicePortInfo(
            name=name,
            cluster_ip=cluster_ip,
            port=port.port,
            node_port=port.node_port,
            external_ips=external_ips,
            load_balancer_vips=load_balancer_vips,
            source_ranges=source_ranges,
            health_check_node_port=health_port if external_local else 0,
            internal_policy_local=service.internal_traffic_policy == "Local",
            external_policy_local=external_local,
            affinity_seconds=(
                service.affinity_timeout if service.session_affinity == "ClientIP" else 0
            ),
        )
    return ServicePorts(ports, tuple(problems))


def _accepts_external(service: Service) -> bool:
    """Source: pkg/api/v1/service ExternallyAccessible."""
    return service.type in ("LoadBalancer", "NodePort") or bool(service.external_ips)


def _cluster_ip(service: Service, family: str, problems: list[str]) -> str:
    """The clusterIP of `family`, "" for none. Source: pkg/proxy/util GetClusterIPByFamily."""
    found = ""
    for index, address in enumerate(service.cluster_ips):
        parsed = parse_ip(address)
        promised = service.ip_families[index] if index < len(service.ip_families) else None
        if parsed is None:
            problems.append(f"Service {service.key}: clusterIP {address!r} is not an IP address")
        elif promised and parsed[0] != promised:
            problems.append(f"Service {service.key}: clusterIP {address} is not {promised}")
        elif parsed[0] == family and not found:
            found = parsed[1]
    return found


class _Picker:
    """Sorts a Service's addresses by family; names those that fit none of the Service's."""

    def __init__(self, service: Service, family: str, problems: list[str]) -> None:
        self._service = service
        self._family = family
        self._problems = problems
        self._families = {IPV6 if ":" in ip else "IPv4" for ip in service.cluster_ips}

    def addresses(self, field: str, given: Iterable[str]) -> tuple[str, ...]:
        return self._pick(field, given, parse_ip, "an IP address")

    def source_ranges(self) -> tuple[str, ...]:
        """The ranges of this family; none at all where one of them is everything (K-06)."""
        given = (text.strip() for text in self._service.source_ranges)
        ranges = self._pick("loadBalancerSourceRanges", given, parse_cidr, "a CIDR")
        return () if any(map(is_zero_cidr, ranges)) else ranges

    def _pick(
        self,
        field: str,
        given: Iterable[str],
        parse: Callable[[str], tuple[str, str] | None],
        wanted: str,
    ) -> tuple[str, ...]:
        kept = []
        for text in given:
            parsed = parse(text)
            if parsed is None:
                self._complain(f"{field} {text!r} is not {wanted}")
            elif parsed[0] == self._family:
                kept.append(parsed[1])
            elif parsed[0] not in self._families:
                self._complain(f"{field} {text} is {parsed[0]}, a family the Service does not have")
        return tuple(kept)

    def _complain(self, what: str) -> None:
        self._problems.append(f"Service {self._service.key}: {what}")
