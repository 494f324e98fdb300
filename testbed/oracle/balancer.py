"""The step before the nodes: what a cloud's load balancer makes of a client's packet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from testbed.api.objects import LABEL_EXCLUDE_BALANCER, Service, ServicePort, family_of
from testbed.errors import UsageError
from testbed.flow.tuples import Flow
from testbed.oracle.expect import expect
from testbed.oracle.expectation import Expectation, Origin, Place
from testbed.oracle.world import World

_TAINT_GOING = "ToBeDeletedByClusterAutoscaler"
#: What Go's strconv.ParseBool takes for false.
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}


class BalancerKind(StrEnum):
    """DSR hands the VIP to a node as it is, NAT rewrites to a NodePort, PROXY connects anew."""

    NAT = "nat"
    DSR = "dsr"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class BalancerNode:
    """A node in a load balancer's list, and whether its health check passes."""

    name: str
    healthy: bool


def balancer_nodes(world: World, service: Service) -> list[BalancerNode]:
    """The nodes a cloud's balancer for `service` sends to, by name.

    A node's readiness doesn't count; an exclude label, a taint of the autoscaler or a deletion
    takes it out. With externalTrafficPolicy Local only nodes with a ready endpoint are healthy.
    Source: cloud-provider's service controller (node predicates), KEP-3458.
    """
    local = service.external_traffic_policy == "Local"
    return [
        BalancerNode(name, world.ready_on(service, name) > 0 if local else True)
        for name, node in sorted(world.nodes.items())
        if not node.deleting
        and _TAINT_GOING not in node.taints
        and node.labels.get(LABEL_EXCLUDE_BALANCER, "false") in _FALSE
    ]


def after_balancer(
    world: World,
    kind: BalancerKind,
    flow: Flow,
    node: str,
    port: ServicePort,
    *,
    address: str = "",
    keep_source: bool = False,
) -> Flow:
    """`flow` (client to the VIP) as it arrives at `node`.

    `address` is the balancer's own, from which NAT (unless `keep_source`) and PROXY send; "" means
    the VIP. Raises UsageError if NAT or PROXY has no NodePort or no node address to send to.
    """
    if kind is BalancerKind.DSR:
        return flow
    target = world.primary(node, family_of(flow.destination))
    if not port.node_port:
        raise UsageError(f"no NodePort (allocateLoadBalancerNodePorts: false): {kind} can't send")
    if not target:
        raise UsageError(f"{node} has no {family_of(flow.destination)} address to balance to")
    source = (
        flow.source if keep_source and kind is BalancerKind.NAT else address or flow.destination
    )
    return replace(flow, source=source, destination=target, destination_port=port.node_port)


def expect_balanced(
    world: World,
    kind: BalancerKind,
    flow: Flow,
    node: str,
    port: ServicePort,
    *,
    address: str = "",
    keep_source: bool = False,
    stuck_to: str = "",
) -> Expectation:
    """What must happen to a client's packet that the balancer hands to `node`."""
    arriving = after_balancer(
        world, kind, flow, node, port, address=address, keep_source=keep_source
    )
    return expect(world, Origin(Place.OUTSIDE, node), arriving, stuck_to=stuck_to)
