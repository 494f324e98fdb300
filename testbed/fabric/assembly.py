"""From a plan to netlink requests, in the order the kernel needs them. Nothing is sent here.

Four phases, each one batch per namespace:

1. what stands alone: loopback, bridges;
2. veth pairs, from the left end's namespace;
3. right ends: into their bridge, up, addresses;
4. left ends likewise (both ends are there now), VXLAN interfaces, then neighbours and routes.

Tunnels come after the links they run over: the kernel's choice of a source address goes by age.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from testbed.fabric import rtnetlink as rt
from testbed.fabric.specs import (
    Address,
    Bridge,
    End,
    Forwarding,
    NamespaceSpec,
    Neighbour,
    Plan,
    Route,
    Veth,
    Vxlan,
)

Spec: TypeAlias = (
    NamespaceSpec | Bridge | Vxlan | Veth | End | Address | Neighbour | Forwarding | Route
)
#: Namespace → requests in order, each with the spec that it serves.
Batches: TypeAlias = dict[str, list[tuple[rt.Request, Spec]]]


class Place(Protocol):
    """What the requests need to know of a namespace."""

    fd: int

    def index(self, interface: str) -> int: ...

    def reserve_index(self, interface: str) -> int: ...


#: A namespace by its name.
Places: TypeAlias = Callable[[str], Place]


def phases(plan: Plan, place: Places) -> Iterator[Batches]:
    """The four batches of `plan`; take one only after the one before was sent."""
    yield _standing_alone(plan, place)
    yield _cables(plan, place)
    right: Batches = defaultdict(list)
    for veth in plan.veths:
        _end(veth.right, place, right)
    yield right
    yield _all_the_rest(plan, place)


def _standing_alone(plan: Plan, place: Places) -> Batches:
    batches: Batches = defaultdict(list)
    for spec in plan.namespaces:
        batches[spec.name].append((rt.set_up(1), spec))
    for bridge in plan.bridges:
        index = place(bridge.namespace).reserve_index(bridge.interface)
        request = rt.new_bridge(index, bridge.interface, bridge.mac, bridge.mtu)
        batches[bridge.namespace].append((request, bridge))
        _up(bridge, index, batches)
    return batches


def _up(spec: Bridge | Vxlan | End, index: int, batches: Batches) -> None:
    """Bring an interface up and give it its addresses."""
    batch = batches[spec.namespace]
    batch.append((rt.set_up(index), spec))
    for address in spec.addresses:
        owner = Address(spec.namespace, spec.interface, address)
        batch.append((rt.new_address(index, address), owner))


def _cables(plan: Plan, place: Places) -> Batches:
    batches: Batches = defaultdict(list)
    for veth in plan.veths:
        left, right = veth.left, veth.right
        far = place(right.namespace)
        request = rt.new_veth(
            place(left.namespace).reserve_index(left.interface),
            left.interface,
            far.reserve_index(right.interface),
            right.interface,
            far.fd,
            mac=left.mac,
            mtu=left.mtu,
            peer_mac=right.mac,
            peer_mtu=right.mtu,
        )
        batches[left.namespace].append((request, veth))
    return batches


def _end(end: End, place: Places, batches: Batches) -> None:
    here = place(end.namespace)
    index = here.index(end.interface)
    if end.bridge:
        batches[end.namespace].append((rt.set_master(index, here.index(end.bridge)), end))
        if end.hairpin:
            batches[end.namespace].append((rt.set_hairpin(index), end))
    _up(end, index, batches)


def _all_the_rest(plan: Plan, place: Places) -> Batches:
    batches: Batches = defaultdict(list)
    for veth in plan.veths:
        _end(veth.left, place, batches)
    for vxlan in plan.vxlans:
        index = place(vxlan.namespace).reserve_index(vxlan.interface)
        request = rt.new_vxlan(
            index, vxlan.interface, vxlan.vni, vxlan.local, vxlan.port, vxlan.mac, vxlan.mtu
        )
        batches[vxlan.namespace].append((request, vxlan))
        _up(vxlan, index, batches)
    extras: list[Address | Neighbour | Forwarding | Route] = [
        *plan.addresses,
        *plan.neighbours,
        *plan.forwardings,
        *plan.routes,
    ]
    for spec in extras:
        batches[spec.namespace].append((_request(spec, place(spec.namespace)), spec))
    return batches


def _request(spec: Address | Neighbour | Forwarding | Route, here: Place) -> rt.Request:
    index = here.index(spec.interface) if spec.interface else 0
    match spec:
        case Address():
            return rt.new_address(index, spec.address)
        case Neighbour():
            return rt.new_neighbour(index, spec.address, spec.mac)
        case Forwarding():
            return rt.new_forwarding(index, spec.mac, spec.remote)
        case Route():
            return rt.new_route(
                spec.destination,
                via=spec.via,
                index=index,
                source=spec.source,
                onlink=spec.onlink,
                kind=spec.kind,
            )


def undoing(spec: Spec, here: Place) -> rt.Request | None:
    """The request that takes `spec` back; None where it goes with a link or a namespace."""
    match spec:
        case Address():
            return rt.delete_address(here.index(spec.interface), spec.address)
        case Neighbour():
            return rt.delete_neighbour(here.index(spec.interface), spec.address, spec.mac)
        case Forwarding():
            return rt.delete_forwarding(here.index(spec.interface), spec.mac, spec.remote)
        case Route():
            index = here.index(spec.interface) if spec.interface else 0
            return rt.delete_route(spec.destination, via=spec.via, index=index, kind=spec.kind)
    return None


def describe(spec: Spec) -> str:
    """`spec` in words for a message: what and where."""
    match spec:
        case NamespaceSpec():
            return f"namespace {spec.name}"
        case Bridge():
            return f"bridge {spec.interface} in {spec.namespace}"
        case Vxlan():
            return f"vxlan {spec.interface} (VNI {spec.vni}) in {spec.namespace}"
        case Veth():
            ends = (f"{end.interface} in {end.namespace}" for end in (spec.left, spec.right))
            return "link " + " – ".join(ends)
        case End():
            port = f", port of {spec.bridge}" if spec.bridge else ""
            return f"interface {spec.interface} in {spec.namespace}{port}"
        case Address():
            return f"address {spec.address} on {spec.interface} in {spec.namespace}"
        case Neighbour():
            return f"neighbour {spec.address} on {spec.interface} in {spec.namespace}"
        case Forwarding():
            return f"forwarding entry {spec.mac} on {spec.interface} in {spec.namespace}"
        case Route():
            way = f" via {spec.via}" if spec.via else ""
            way += f" dev {spec.interface}" if spec.interface else ""
            return f"route {spec.destination}{way} in {spec.namespace}"


def watched(plan: Plan) -> dict[str, set[str]]:
    """Namespace → interfaces whose state the kernel settles a moment after the batches.

    A right end came up before its peer and a port before its carrier, so the kernel finishes them
    (queue discipline, port state) in a work queue; so it does a bridge with its first port.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for veth in plan.veths:
        found[veth.right.namespace].add(veth.right.interface)
        for end in (veth.left, veth.right):
            if end.bridge:
                found[end.namespace] |= {end.interface, end.bridge}
    return found


def late_addresses(plan: Plan) -> list[tuple[str, str]]:
    """(namespace, address) of the IPv6 addresses: a work queue makes each known to the routing."""
    owners: list[End | Bridge | Vxlan] = [*plan.bridges, *plan.vxlans]
    owners += [end for veth in plan.veths for end in (veth.left, veth.right)]
    found = [(owner.namespace, address) for owner in owners for address in owner.addresses]
    found += [(extra.namespace, extra.address) for extra in plan.addresses]
    return [(name, address.split("/")[0]) for name, address in found if ":" in address]
