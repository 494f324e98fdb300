"""A packet at a Service's address on a node: who gets it, under which source."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.api.objects import family_of
from testbed.flow.tuples import Flow
from testbed.flow.tuples import endpoint as address_of
from testbed.oracle.addresses import is_loopback
from testbed.oracle.choice import Usable
from testbed.oracle.expectation import (
    Backend,
    Expectation,
    FrontEndKind,
    Place,
    Source,
    SourceKind,
    Verdict,
)
from testbed.oracle.world import DetectLocal, FrontEnd, Mode, ServedPort, World


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet on a node: from one of its Pods, its own processes, or from outside."""

    node: str
    source: Source
    place: Place


@dataclass(frozen=True, slots=True)
class _Answer:
    """Endpoints and what the client's address becomes, with the words for both."""

    endpoints: tuple[Usable, ...]
    words: str
    masquerade: bool
    source_words: str


def at_service(
    world: World,
    arrival: Arrival,
    front_end: FrontEnd,
    flow: Flow,
    mode: Mode,
    stuck_to: str,
) -> Expectation | None:
    """What `arrival.node` does with a packet for `front_end`.

    None where the node lets it go by: in iptables mode, its own process's packet to an external
    address without endpoints.
    """
    served, node = front_end.served, arrival.node
    blocked = front_end.kind is FrontEndKind.LOAD_BALANCER and not _admitted(
        world, served, node, arrival.source.address
    )
    anywhere = world.choice(served, node).anywhere
    if blocked and (anywhere or mode is Mode.NFTABLES):
        reason = f"loadBalancerSourceRanges don't list {arrival.source.address}"
        return _end(Verdict.DROPPED, reason, front_end, node)
    if not anywhere:
        if _goes_by(world, arrival, front_end, flow, mode):
            return None
        reason = f"{served} has no usable endpoint in the whole cluster"
        return _end(Verdict.REFUSED, reason, front_end, node)
    if front_end.kind is FrontEndKind.CLUSTER_IP:
        answer = _internal(world, arrival, served)
    else:
        answer = _external(world, arrival, served)
    if not answer.endpoints:
        return _end(Verdict.DROPPED, answer.words, front_end, node)
    return _deliver(world, arrival, front_end, answer, mode, stuck_to)


def _end(verdict: Verdict, reason: str, front_end: FrontEnd, node: str) -> Expectation:
    return Expectation(
        verdict=verdict,
        reason=reason,
        node=node,
        front_end=front_end.kind,
        service=front_end.served.service.key,
        port=front_end.served.port.name,
    )


def _admitted(world: World, served: ServedPort, node: str, source: str) -> bool:
    """loadBalancerSourceRanges; a node that is listed may also come from the address itself."""
    if served.allowed is None or source in served.allowed:
        return True
    return source in served.vips and world.primary(node, served.family) in served.allowed


def _goes_by(world: World, arrival: Arrival, front_end: FrontEnd, flow: Flow, mode: Mode) -> bool:
    """iptables mode refuses on the way in and through, not on the way out of a node's process."""
    return (
        mode is Mode.IPTABLES
        and arrival.place is Place.NODE
        and front_end.kind in (FrontEndKind.EXTERNAL_IP, FrontEndKind.LOAD_BALANCER)
        and flow.destination not in world.addresses.get(arrival.node, ())
    )


# -- policies


def _from_local_pod(world: World, arrival: Arrival) -> bool | None:
    """Whether the node takes the packet for one of a Pod; None if it can't tell Pods apart."""
    source = arrival.source.address
    family = family_of(source)
    match world.settings.detect_local:
        case DetectLocal.CLUSTER_CIDR:
            return source in world.cluster_ranges if world.cluster_ranges.has(family) else None
        case DetectLocal.NODE_CIDR:
            ranges = world.node_ranges.get(arrival.node)
            return source in ranges if ranges and ranges.has(family) else None
        case DetectLocal.INTERFACE:
            return arrival.place is Place.POD
    return None


def _is_node_source(world: World, arrival: Arrival) -> bool:
    source = arrival.source.address
    return is_loopback(source) or source in world.addresses.get(arrival.node, ())


def _internal(world: World, arrival: Arrival, served: ServedPort) -> _Answer:
    choice = world.choice(served, arrival.node)
    if served.service.internal_traffic_policy == "Local":
        endpoints = choice.local
        words = f"internalTrafficPolicy: Local, {choice.local_words}"
        if not endpoints:
            words = f"internalTrafficPolicy: Local, no usable endpoint on {arrival.node}"
    else:
        endpoints, words = choice.cluster, choice.cluster_words
    if world.settings.masquerade_all:
        return _Answer(endpoints, words, True, "masqueraded, as --masquerade-all says")
    match _from_local_pod(world, arrival):
        case True:
            return _Answer(endpoints, words, False, "a Pod's address is kept towards a ClusterIP")
        case False:
            return _Answer(
                endpoints, words, True, "what isn't from a Pod is masqueraded towards a ClusterIP"
            )
    return _Answer(
        endpoints, words, False, "kept: without local detection ClusterIP traffic isn't masqueraded"
    )


def _external(world: World, arrival: Arrival, served: ServedPort) -> _Answer:
    choice = world.choice(served, arrival.node)
    if served.service.external_traffic_policy != "Local":
        return _Answer(
            choice.cluster,
            choice.cluster_words,
            True,
            "externalTrafficPolicy: Cluster masquerades whatever comes in by an external address",
        )
    policy = "externalTrafficPolicy: Local"
    if _from_local_pod(world, arrival):
        words = f"{policy} doesn't bind a Pod's own traffic: {choice.cluster_words}"
        return _Answer(choice.cluster, words, False, "a Pod's address is kept")
    if _is_node_source(world, arrival):
        words = f"{policy} doesn't bind the node's own traffic: {choice.cluster_words}"
        return _Answer(choice.cluster, words, True, "the node's own traffic is masqueraded")
    if not choice.local:
        return _Answer((), f"{policy}, no usable endpoint on {arrival.node}", False, "")
    return _Answer(
        choice.local,
        f"{policy}, {choice.local_words}",
        False,
        "the source is kept",
    )


# -- backends


def _deliver(
    world: World,
    arrival: Arrival,
    front_end: FrontEnd,
    answer: _Answer,
    mode: Mode,
    stuck_to: str,
) -> Expectation:
    served, node = front_end.served, arrival.node
    service = served.service
    sticky = service.session_affinity == "ClientIP"
    endpoints, reason = answer.endpoints, answer.words
    if sticky and stuck_to:
        earlier = tuple(e for e in endpoints if address_of(e.ip, e.port) == stuck_to)
        if earlier:
            endpoints, reason = earlier, f"sessionAffinity: this client stays with {stuck_to}"
    own = Source(SourceKind.NODE, world.primary(node, served.family), node)
    share = 1 / len(endpoints)
    backends = tuple(
        Backend(e.ip, e.port, e.node, e.pod, share, _seen(world, arrival, e, answer, own, mode))
        for e in endpoints
    )
    source_words = answer.source_words
    if not answer.masquerade and any(b.source is own for b in backends):
        source_words += "; masqueraded where it reaches itself (hairpin)"
    return Expectation(
        verdict=Verdict.DELIVERED,
        reason=reason,
        node=node,
        front_end=front_end.kind,
        service=service.key,
        port=served.port.name,
        backends=backends,
        source_reason=source_words,
        affinity=service.affinity_timeout if sticky else 0,
    )


def _seen(
    world: World, arrival: Arrival, endpoint: Usable, answer: _Answer, own: Source, mode: Mode
) -> Source:
    if answer.masquerade:
        # What ends on the node itself, in a Pod with hostNetwork, passes no postrouting hook.
        ends_here = endpoint.ip in world.addresses.get(arrival.node, ())
        return arrival.source if ends_here and arrival.place is not Place.NODE else own
    hairpin = endpoint.ip == arrival.source.address
    if hairpin and (mode is Mode.IPTABLES or endpoint.node == arrival.node):
        return own
    if endpoint.node != arrival.node:
        return leaving(world, arrival, endpoint.ip)
    return arrival.source


def leaving(world: World, arrival: Arrival, dst: str) -> Source:
    """The source after the Pod network's own masquerading, which spares the cluster CIDRs."""
    if (
        world.settings.pods_masqueraded
        and arrival.place is Place.POD
        and arrival.source.kind is SourceKind.UNCHANGED
        and dst not in world.cluster_ranges
        and dst not in world.spared_ranges
    ):
        address = world.primary(arrival.node, family_of(dst))
        return Source(SourceKind.NODE, address, arrival.node)
    return arrival.source
