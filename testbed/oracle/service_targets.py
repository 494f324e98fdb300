"""The addresses under which a Service is reached, for clients inside and outside."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.api.objects import IPV4, IPV6, Service, ServicePort, family_of
from testbed.errors import UsageError
from testbed.flow.tuples import endpoint
from testbed.oracle.addresses import canonical
from testbed.oracle.expectation import FrontEndKind
from testbed.oracle.world import World, endpoints_of


@dataclass(frozen=True, slots=True)
class Target:
    """An address to send to. `what` says what it is; `node` is set for a NodePort's node."""

    what: str
    node: str
    address: str
    port: int
    protocol: str
    service: Service | None = None
    service_port: ServicePort | None = None

    @property
    def family(self) -> str:
        return family_of(self.address)

    def __str__(self) -> str:
        return endpoint(self.address, self.port)


def service_targets(
    world: World, service: Service, port: str, protocol: str, outside: bool
) -> list[Target]:
    """Every address of `service` for one of its ports; see resolve_targets.

    Raises UsageError where there is no address, no port or more than one that fits.
    """
    name = f"svc/{service.key.name}"
    if service.type == "ExternalName":
        raise UsageError(
            f"{name} is an ExternalName: only a DNS alias of {service.external_name}, no packets"
        )
    vips = [canonical(ip) for ip in service.cluster_ips if canonical(ip)]
    if not service.headless and not vips:
        raise UsageError(
            f"{name} has no ClusterIP: give the objects as the API server returns them"
        )
    if protocol == "ICMP":
        return [Target("ClusterIP", "", vip, 0, protocol, service) for vip in vips]
    chosen = pick_port(service, port, protocol)
    if service.headless:
        return _headless(world, service, chosen)
    if outside:
        found = _outside(world, service, chosen)
        if found:
            return found
    kind = str(FrontEndKind.CLUSTER_IP)
    return [_target(kind, "", ip, chosen.port, service, chosen) for ip in vips]


def _target(
    what: str, node: str, address: str, number: int, service: Service, port: ServicePort
) -> Target:
    return Target(what, node, address, number, port.protocol, service, port)


def pick_port(service: Service, port: str, protocol: str) -> ServicePort:
    """The Service port that `port` (name, port number, nodePort or "") and `protocol` mean."""
    name = f"svc/{service.key.name}"
    if not service.ports:
        raise UsageError(f"{name} has no ports")
    fitting = [p for p in service.ports if not protocol or p.protocol == protocol]
    if port:
        fitting = [p for p in fitting if port in (p.name, str(p.port))] or [
            p for p in fitting if p.node_port and port == str(p.node_port)
        ]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(_spelled(p) for p in service.ports)
    if fitting:
        say = "--protocol" if len({p.port for p in fitting}) == 1 and port else f"{name}:PORT"
        raise UsageError(f"{name} has several ports ({listed}): say which with {say}")
    asked = f"port {port}" if port else "port"
    raise UsageError(f"{name} has no {asked}{'/' + protocol if protocol else ''}; it has {listed}")


def _spelled(port: ServicePort) -> str:
    return f"{port.name + ' ' if port.name else ''}{port.port}/{port.protocol}"


def _outside(world: World, service: Service, port: ServicePort) -> list[Target]:
    families = {family_of(ip) for ip in service.cluster_ips}
    found: list[tuple[str, str, str, int]] = []
    for ingress in service.ingress:
        if ingress.ip:
            found.append((str(FrontEndKind.LOAD_BALANCER), "", canonical(ingress.ip), port.port))
    for address in service.external_ips:
        found.append((str(FrontEndKind.EXTERNAL_IP), "", canonical(address), port.port))
    if port.node_port:
        for node in sorted(world.nodes):
            for address in (*world.addresses[node], *_cloud(world, node)):
                found.append((str(FrontEndKind.NODE_PORT), node, address, port.node_port))
    return [
        _target(what, node, address, number, service, port)
        for what, node, address, number in found
        if address and family_of(address) in families
    ]


def _cloud(world: World, node: str) -> list[str]:
    return [address for address, owner in world.cloud_addresses.items() if owner == node]


def _headless(world: World, service: Service, port: ServicePort) -> list[Target]:
    """DNS answers with the ready endpoints' own addresses, or with all of them if it is told to."""
    slices = [s for s in world.slices if s.service == service.key]
    found = [
        _target("headless endpoint", "", e.ip, e.port, service, port)
        for family in (IPV4, IPV6)
        for e in endpoints_of(slices, port, family)
        if e.ready
    ]
    if not found:
        raise UsageError(
            f"svc/{service.key.name} is headless and has no ready endpoint: DNS has no answer"
        )
    return found
