"""What Service semantics promise for one flow: from its origin to a backend, or to its end.

Written from the API's semantics and kube-proxy's documented behaviour per mode, never from rules.
"""

from __future__ import annotations

from dataclasses import replace

from testbed.api.objects import IPV4, Service, family_of
from testbed.errors import UsageError
from testbed.flow.tuples import Flow, endpoint
from testbed.oracle.addresses import canonical, is_loopback
from testbed.oracle.expectation import (
    Backend,
    Expectation,
    FrontEndKind,
    Origin,
    Place,
    Source,
    SourceKind,
    Verdict,
)
from testbed.oracle.service import Arrival, at_service, leaving
from testbed.oracle.world import FrontEnd, Mode, World


def expect(world: World, origin: Origin, flow: Flow, *, stuck_to: str = "") -> Expectation:
    """What must happen to the first packet of `flow`, which starts at `origin`.

    `stuck_to` is the `ip:port` of the backend that session affinity chose for this client on the
    deciding node before; it is ignored without affinity or if the backend is gone.
    Raises UsageError if a packet from outside is for an address that no node owns and
    `origin.node` doesn't say where it enters.
    """
    flow = _spelled(flow)
    if origin.place is Place.OUTSIDE and (node := world.cloud_addresses.get(flow.destination)):
        flow = replace(
            flow, destination=world.primary(node, family_of(flow.destination)) or flow.destination
        )
    arrival = _first(world, origin, flow)
    entered: tuple[str, ...] = (arrival.node,)
    expectation = _at_node(world, arrival, flow, stuck_to)
    while expectation is None:
        after = _next(world, arrival, flow)
        if after is None or after.node in entered:
            return replace(_routed_on(world, arrival, flow), entered=entered)
        arrival, entered = after, (*entered, after.node)
        expectation = _at_node(world, arrival, flow, stuck_to)
    return replace(expectation, entered=entered)


def _spelled(flow: Flow) -> Flow:
    src, dst = canonical(flow.source), canonical(flow.destination)
    for given, found in ((flow.source, src), (flow.destination, dst)):
        if not found:
            raise UsageError(f"{given!r} isn't an IP address")
    if family_of(src) != family_of(dst):
        raise UsageError(f"{flow.source} and {flow.destination} aren't of one IP family")
    return replace(flow, source=src, destination=dst, protocol=flow.protocol.lower())


def _first(world: World, origin: Origin, flow: Flow) -> Arrival:
    node = origin.node or world.node_at.get(flow.destination, "")
    if not node and (pod := world.pod_at.get(flow.destination)):
        node = pod.node_name
    if not node:
        raise UsageError(
            f"{flow.destination} isn't a node's address: say which node the packet enters first"
        )
    return Arrival(node, Source(SourceKind.UNCHANGED, flow.source), origin.place)


def _at_node(world: World, arrival: Arrival, flow: Flow, stuck_to: str) -> Expectation | None:
    """What the node does with the packet; None if it is none of its business."""
    mode = world.settings.mode_of(arrival.node)
    if mode is Mode.NONE:
        return None
    if arrival.place is Place.POD and is_loopback(flow.destination):
        return None
    if front_end := _front_end(world, arrival.node, mode, flow):
        return at_service(world, arrival, front_end, flow, mode, stuck_to)
    if expectation := _uncovered_node_port(world, arrival, mode, flow):
        return expectation
    if expectation := _health_check(world, arrival.node, mode, flow):
        return expectation
    return _no_such_port(world, arrival.node, mode, flow)


# -- which Service is meant


def _front_end(world: World, node: str, mode: Mode, flow: Flow) -> FrontEnd | None:
    found = world.front_ends.get((flow.destination, flow.protocol, flow.destination_port))
    if found:
        return found
    found = world.node_ports.get(
        (family_of(flow.destination), flow.protocol, flow.destination_port)
    )
    return found if found and takes_node_ports(world, node, mode, flow.destination) else None


def _is_local(world: World, node: str, address: str) -> bool:
    return is_loopback(address) or address in world.addresses.get(node, ())


def takes_node_ports(world: World, node: str, mode: Mode, address: str) -> bool:
    """Whether `address` is one on which `node` answers for NodePorts."""
    settings = world.settings
    if not _is_local(world, node, address):
        return False
    given = settings.nodeport_addresses
    family = family_of(address)
    if "primary" in given or (not given and mode is Mode.NFTABLES):
        return address == world.primary(node, family)
    # CIDRs count for their own family; a family without any takes every address
    ranges = world.nodeport_ranges
    anywhere = not ranges.has(family) or family in ranges.everything
    if is_loopback(address):
        if mode is Mode.NFTABLES or family != IPV4 or not settings.localhost_nodeports:
            return False
        return anywhere or (address == "127.0.0.1" and address in ranges)
    return anywhere or address in ranges


def _uncovered_node_port(
    world: World, arrival: Arrival, mode: Mode, flow: Flow
) -> Expectation | None:
    """A NodePort on an address that isn't covered by --nodeport-addresses.

    It isn't translated. In iptables mode a Service that can't be served is refused or dropped on
    every local address all the same.
    """
    found = world.node_ports.get(
        (family_of(flow.destination), flow.protocol, flow.destination_port)
    )
    if (
        not found
        or mode is not Mode.IPTABLES
        or not _is_local(world, arrival.node, flow.destination)
    ):
        return None
    choice = world.choice(found.served, arrival.node)
    local_only = found.served.service.external_traffic_policy == "Local"
    if choice.anywhere and (choice.local or not local_only):
        return None
    where = f" on {arrival.node}" if choice.anywhere else ""
    return Expectation(
        verdict=Verdict.DROPPED if choice.anywhere else Verdict.REFUSED,
        reason=f"{found.served} has no usable endpoint{where}, and iptables mode says so on every "
        f"address of {arrival.node}",
        node=arrival.node,
        front_end=found.kind,
        service=found.served.service.key,
        port=found.served.port.name,
    )


def _health_check(world: World, node: str, mode: Mode, flow: Flow) -> Expectation | None:
    service = world.health_ports.get(flow.destination_port)
    if not service or flow.protocol != "tcp" or not _is_local(world, node, flow.destination):
        return None
    everywhere = mode is Mode.IPTABLES and not world.settings.nodeport_addresses
    if not everywhere and not takes_node_ports(world, node, mode, flow.destination):
        return None
    ready = world.ready_on(service, node)
    return Expectation(
        verdict=Verdict.NODE,
        reason=f"health check of {service.key}: {node} answers "
        f"{'200' if ready else '503'}, {ready} ready endpoint{'' if ready == 1 else 's'} on it",
        node=node,
        front_end=FrontEndKind.HEALTH_CHECK,
        service=service.key,
    )


def _no_such_port(world: World, node: str, mode: Mode, flow: Flow) -> Expectation | None:
    """An address of the Services under a port or protocol that none of them has."""
    if mode is not Mode.NFTABLES or _is_local(world, node, flow.destination):
        return None
    if service := world.cluster_ips.get(flow.destination):
        return Expectation(
            verdict=Verdict.REFUSED,
            reason=f"{_no_port(service, flow)}: nftables mode refuses whatever else is for its "
            "ClusterIP",
            node=node,
            front_end=FrontEndKind.CLUSTER_IP,
            service=service.key,
        )
    if flow.destination in world.service_ranges:
        return Expectation(
            verdict=Verdict.DROPPED,
            reason=f"{flow.destination} is in the Service range but no Service served here has it: "
            "nftables mode drops it",
            node=node,
        )
    return None


def _no_port(service: Service, flow: Flow) -> str:
    if flow.protocol == "icmp":
        return f"{service.key} answers no ICMP"
    return f"{service.key} has no port {flow.destination_port}/{flow.protocol.upper()}"


# -- on to another node, or out of the nodes' hands


def _next(world: World, arrival: Arrival, flow: Flow) -> Arrival | None:
    """Where the packet meets Service rules next: on the node that owns its destination."""
    if is_loopback(flow.destination) or (owner := world.node_at.get(flow.destination)) is None:
        return None
    if owner == arrival.node:
        return None
    return Arrival(owner, leaving(world, arrival, flow.destination), Place.OUTSIDE)


def _routed_on(world: World, arrival: Arrival, flow: Flow) -> Expectation:
    node, dst = arrival.node, flow.destination
    if arrival.place is Place.POD and is_loopback(dst):
        return Expectation(Verdict.ROUTED, "loopback: the packet never leaves its Pod", node)
    if _is_local(world, node, dst):
        what = f"{endpoint(dst, flow.destination_port)}/{flow.protocol.upper()}"
        reason = f"no Service answers at {what}; a process of {node} gets it, if any"
        if (family_of(dst), flow.protocol, flow.destination_port) in world.node_ports:
            reason = f"{node} takes no NodePorts on {dst}; a process of {node} gets it, if any"
        return Expectation(Verdict.NODE, reason, node)
    if pod := world.pod_at.get(dst):
        source = arrival.source
        backend = Backend(dst, flow.destination_port, pod.node_name, pod.key, 1.0, source)
        return Expectation(
            Verdict.ROUTED,
            f"{dst} is Pod {pod.key}: no Service is meant",
            node,
            backends=(backend,),
        )
    return Expectation(Verdict.ROUTED, _why_routed(world, node, flow), node)


def _why_routed(world: World, node: str, flow: Flow) -> str:
    dst = flow.destination
    leaves = f"it goes on from {node} as it is"
    if world.settings.mode_of(node) is Mode.NONE:
        return f"{node} has no proxy: {leaves}"
    if found := world.front_ends.get((dst, flow.protocol, flow.destination_port)):
        return (
            f"{found.served} has no usable endpoint, which iptables mode doesn't tell a process of "
            f"the node itself: {leaves}"
        )
    if service := world.cluster_ips.get(dst):
        return f"{_no_port(service, flow)} and its ClusterIP is on no interface: {leaves}"
    if service := world.foreign_ips.get(dst):
        return f"{service.key} is left to another proxy by its label: {leaves}"
    if service := world.proxy_ips.get(dst):
        return f"{dst} is {service.key}'s load balancer, ipMode Proxy: {leaves}, to the balancer"
    return f"{dst} isn't an address that a Service, a node or a Pod has: {leaves}"
