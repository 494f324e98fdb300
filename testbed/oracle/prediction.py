"""FROM and TO put to the oracle: every flow they mean, with what must happen to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from testbed.api.objects import Service, ServicePort
from testbed.errors import UsageError
from testbed.flow.tuples import Flow
from testbed.oracle.balancer import BalancerKind, balancer_nodes, expect_balanced
from testbed.oracle.expect import expect
from testbed.oracle.expectation import (
    Expectation,
    FrontEndKind,
    Origin,
    Place,
    Verdict,
)
from testbed.oracle.service_targets import Target
from testbed.oracle.targets import Start, flow_to
from testbed.oracle.world import World


@dataclass(frozen=True, slots=True)
class Prediction:
    """One flow and its expectation.

    `entry` is the node a packet from outside enters; `via` the load balancer's kind where one
    stands in between; `in_rotation` is False where its health check keeps that node out.
    """

    target: Target
    flow: Flow
    expectation: Expectation
    entry: str = ""
    via: BalancerKind | None = None
    in_rotation: bool = True

    def as_json(self) -> dict[str, Any]:
        return {
            "to": str(self.target),
            "what": self.target.what,
            "protocol": self.flow.protocol,
            "source": self.flow.source,
            "entry": self.entry or None,
            "via": str(self.via) if self.via else None,
            "inRotation": self.in_rotation,
            "expectation": self.expectation.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Cloud:
    """What is assumed of the cloud's load balancer.

    `kind` None: by the address's ipMode, VIP is DSR and Proxy is PROXY. `address` is the balancer's
    own towards the nodes ("" : the VIP).
    """

    kind: BalancerKind | None = None
    address: str = ""
    keep_source: bool = False


@dataclass(frozen=True, slots=True)
class _Vip:
    service: Service
    port: ServicePort
    kind: BalancerKind | None
    is_balancer: bool


def predict(
    world: World, start: Start, targets: list[Target], cloud: Cloud | None = None
) -> list[Prediction]:
    """What happens from `start` to each of `targets`, in their order.

    From outside without an entry node, an address that the network may bring to any node is
    answered once for each node that may get it. So is, after the node's own answer, a load
    balancer's address that a node inside lets pass.
    """
    cloud = cloud or Cloud()
    found: list[Prediction] = []
    for target in targets:
        flow = flow_to(world, start, target)
        if start.origin.place is Place.OUTSIDE:
            found += _from_outside(world, start, target, flow, cloud)
        else:
            found += _from_inside(world, start, target, flow, cloud)
    return found


def _from_inside(
    world: World, start: Start, target: Target, flow: Flow, cloud: Cloud
) -> list[Prediction]:
    """What the node does; where it lets a load balancer's address pass, also what comes back."""
    expectation = expect(world, start.origin, flow)
    first = Prediction(target, flow, expectation)
    if expectation.verdict is Verdict.ROUTED and (vip := _vip(world, target, flow, cloud)):
        return [first, *_through_cloud(world, target, flow, vip, cloud, "")]
    return [first]


def _from_outside(
    world: World, start: Start, target: Target, flow: Flow, cloud: Cloud
) -> list[Prediction]:
    entry = start.origin.node
    if vip := _vip(world, target, flow, cloud):
        return _through_cloud(world, target, flow, vip, cloud, entry)
    if not entry and flow.destination in (*world.cluster_ips, *world.foreign_ips):
        return [Prediction(target, flow, _unrouted(world, flow))]
    expectation = expect(world, start.origin, flow)
    return [Prediction(target, flow, expectation, expectation.entered[0])]


def _unrouted(world: World, flow: Flow) -> Expectation:
    service = world.cluster_ips.get(flow.destination) or world.foreign_ips[flow.destination]
    return Expectation(
        Verdict.ROUTED,
        "a ClusterIP isn't routed outside the cluster; if a route to a node exists, name that node",
        front_end=FrontEndKind.CLUSTER_IP,
        service=service.key,
    )


def _vip(world: World, target: Target, flow: Flow, cloud: Cloud) -> _Vip | None:
    """The Service address that the network, not a node's address, brings to the nodes."""
    if flow.destination in world.node_at or flow.destination in world.cluster_ips:
        return None
    front_end = world.front_ends.get((flow.destination, flow.protocol, flow.destination_port))
    if front_end:
        served, kind = front_end.served, front_end.kind
        balancer = kind is FrontEndKind.LOAD_BALANCER
        by_mode = (cloud.kind or BalancerKind.DSR) if balancer else None
        return _Vip(served.service, served.port, by_mode, balancer)
    service = world.proxy_ips.get(flow.destination)
    port = (
        target.service_port
        or next(
            (
                p
                for p in service.ports
                if (p.port, p.protocol.lower()) == (flow.destination_port, flow.protocol)
            ),
            None,
        )
        if service
        else None
    )
    if service and port:
        return _Vip(service, port, cloud.kind or BalancerKind.PROXY, True)
    return None


def _through_cloud(
    world: World, target: Target, flow: Flow, vip: _Vip, cloud: Cloud, entry: str
) -> list[Prediction]:
    rotation = dict.fromkeys(world.nodes, True)
    if vip.is_balancer:
        rotation = {n.name: n.healthy for n in balancer_nodes(world, vip.service)}
    if entry:
        rotation = {entry: rotation.get(entry, False)}
    if not rotation:
        raise UsageError(f"no node takes traffic for {target}: the load balancer's list is empty")
    return [
        Prediction(target, flow, _at(world, flow, node, vip, cloud), node, vip.kind, in_rotation)
        for node, in_rotation in rotation.items()
    ]


def _at(world: World, flow: Flow, node: str, vip: _Vip, cloud: Cloud) -> Expectation:
    if vip.kind is None:
        return expect(world, Origin(Place.OUTSIDE, node), flow)
    return expect_balanced(
        world,
        vip.kind,
        flow,
        node,
        vip.port,
        address=cloud.address,
        keep_source=cloud.keep_source,
    )
