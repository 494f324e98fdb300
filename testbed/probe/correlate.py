"""Captures, rule trace and conntrack put together as one Path. Pure: lookups are injected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from testbed.flow.fingerprint import Fingerprint
from testbed.flow.paths import BRIDGED, DELIVERED, ConntrackEntry, Hop, Nat, Path, Route, RuleHit
from testbed.flow.sightings import Sighting
from testbed.flow.tuples import Flow, endpoint
from testbed.probe.elements import matched_element
from testbed.probe.relays import find_relay
from testbed.probe.rules import ChainKey, ChainText
from testbed.probe.trace_events import POLICY, RULE, TraceEvent
from testbed.probe.trails import FORWARD, REPLY, Trail, Traversal, Visit, trails, traversals
from testbed.probe.verdicts import NOBODY_WAITED, Ending, judge

Meaning = Callable[[str, str, str], str]


class Facts(Protocol):
    """What a namespace knows about a packet; asked while hops are put together."""

    def chain(self, namespace: str, key: ChainKey) -> ChainText: ...

    def conntrack(self, namespace: str, flow: Flow) -> ConntrackEntry | None: ...

    def route(self, namespace: str, flow: Flow, interface_in: str, mark: int) -> Route | None: ...


@dataclass(frozen=True)
class Evidence:
    """All that was collected about one request.

    `sightings` in the order of their times, `events` of one namespace in the order of arrival; both
    may hold other traffic. `ending` is how the request ended for the client.
    `token` are bytes of a TCP request that no other request has: proxies are found by it.
    """

    origin: str
    flow: Flow
    sightings: Sequence[Sighting]
    events: Sequence[TraceEvent] = ()
    fingerprint: Fingerprint | None = None
    ending: Ending = NOBODY_WAITED
    unseen: tuple[str, ...] = ()
    request: str = ""
    token: bytes = b""


def no_meaning(table: str, chain: str, text: str) -> str:
    """The meaning of rules that nobody explains."""
    return ""


def correlate(
    evidence: Evidence, facts: Facts, meaning: Meaning = no_meaning, earlier: Sequence[Flow] = ()
) -> Path:
    """The Path of the request: the first packet's way there, the first answer's way back.

    A connection that a proxy made for the request becomes the path's next leg; `earlier` are the
    flows of the legs before, which a Pod that asks itself through a proxy also has made.
    """
    path = _one_leg(evidence, facts, meaning)
    if path.verdict.kind != DELIVERED or not evidence.token or not path.backend:
        return path
    known = [flow for hop in (*path.hops, *path.reply) for flow in (hop.before, hop.after)]
    known += earlier
    made = find_relay(evidence.sightings, path.backend, evidence.token, known)
    if made is None:
        return path
    following = replace(
        evidence,
        origin=path.backend,
        flow=made.flow,
        fingerprint=made,
        events=(),
        unseen=(f"rules that the connection made by {path.backend} met: only the first is traced",),
        request=f"handed on by {path.backend}",
    )
    return replace(path, relayed=correlate(following, facts, meaning, known))


def _one_leg(evidence: Evidence, facts: Facts, meaning: Meaning) -> Path:
    walked = traversals(evidence.events)
    found = trails(evidence.flow, evidence.sightings, walked, evidence.fingerprint)
    there = _first_packet([trail for trail in found if trail.direction == FORWARD])
    back = _first_answer([trail for trail in found if trail.direction == REPLY], evidence.origin)
    start = there.start if there and there.start else (back.start if back else 0)
    builder = _HopBuilder(facts, meaning, start)
    hops = builder.hops(there, evidence.flow) if there else ()
    reply = _undone(builder.hops(back, None), hops) if back else ()
    flooded = there is not None and bool(there.copies)
    verdict, backend = judge(evidence.origin, hops, reply, back, evidence.ending, flooded=flooded)
    arrived = hops[-1] if hops and hops[-1].namespace == backend else None
    times = [hop.end for hop in (*hops, *reply)]
    return Path(
        origin=evidence.origin,
        flow=evidence.flow,
        start=start,
        sent=there.headers.summary if there else "",
        verdict=verdict,
        hops=hops,
        reply=reply,
        answer=back.headers.summary if back else "",
        backend=backend,
        backend_flow=arrived.after if arrived else None,
        response=evidence.ending.response,
        duration=max(times, default=0),
        retransmissions=_retransmissions(found, there),
        copies=_copies(there, back),
        unseen=(*evidence.unseen, *_gaps(hops, reply)),
        request=evidence.request,
    )


def _first_packet(forward: list[Trail]) -> Trail | None:
    """The transmission of the flow's first packet that came furthest."""
    if not forward:
        return None
    ordered = sorted(forward, key=lambda trail: trail.start or float("inf"))
    # Where rules dropped every packet on its way out, they alone saw it.
    first = ordered[0]
    same = [trail for trail in ordered if _same_packet(trail, first)]
    return max(same, key=lambda trail: len(trail.visits))


def _same_packet(one: Trail, other: Trail) -> bool:
    if one.headers.flow.protocol == "tcp":
        return (one.headers.sequence, one.headers.tcp_flags) == (
            other.headers.sequence,
            other.headers.tcp_flags,
        )
    return one.headers.summary == other.headers.summary


def _retransmissions(found: list[Trail], there: Trail | None) -> int:
    if there is None or there.headers.flow.protocol != "tcp":
        return 0
    return sum(trail.direction == FORWARD and _same_packet(trail, there) for trail in found) - 1


def _first_answer(replies: list[Trail], origin: str) -> Trail | None:
    """The first answer that came home; else the one that came furthest."""
    home = [
        trail
        for trail in replies
        if trail.visits[-1].namespace == origin
        and (not trail.visits[-1].sightings or trail.visits[-1].sightings[-1].direction == "in")
    ]
    if home:
        # Trails that only rules saw have no time; a sighting tells more.
        return min(home, key=lambda trail: trail.start or float("inf"))
    return max(replies, key=lambda trail: len(trail.visits), default=None)


def _copies(*trails_: Trail | None) -> tuple[str, ...]:
    names = [
        f"{copy.namespace}/{copy.interface}"
        for trail in trails_
        if trail is not None
        for copy in trail.copies
    ]
    return tuple(dict.fromkeys(names))


def _gaps(hops: tuple[Hop, ...], reply: tuple[Hop, ...]) -> tuple[str, ...]:
    """What lies beyond the namespaces that were watched."""
    if not hops or not reply:
        return ()
    last, first = hops[-1], reply[0]
    if last.interface_out and first.interface_in:
        return (
            f"what is behind {last.namespace}/{last.interface_out}: "
            "the packet was answered from there",
        )
    return ()


class _HopBuilder:
    def __init__(self, facts: Facts, meaning: Meaning, start: int) -> None:
        self._facts = facts
        self._meaning = meaning
        self._start = start

    def hops(self, trail: Trail, sent: Flow | None) -> tuple[Hop, ...]:
        made = []
        for place, visit in enumerate(trail.visits):
            before = _flow_before(visit, sent if place == 0 else None)
            made.append(self._hop(visit, before))
        return tuple(made)

    def _hop(self, visit: Visit, before: Flow) -> Hop:
        seen = visit.sightings
        comes_in = seen[0].interface if seen and seen[0].direction == "in" else ""
        goes_out = seen[-1].interface if seen and seen[-1].direction == "out" else ""
        entry = self._facts.conntrack(visit.namespace, before)
        after = _flow_after(visit, before, entry)
        rules = self._rules(visit.traversal) if visit.traversal else ()
        mark = (
            max((event.mark for event in visit.traversal.events), default=0)
            if (visit.traversal)
            else 0
        )
        return Hop(
            namespace=visit.namespace,
            interface_in=comes_in,
            interface_out=goes_out,
            before=before,
            after=after,
            start=seen[0].time - self._start if seen else 0,
            end=seen[-1].time - self._start if seen else 0,
            through=tuple(dict.fromkeys(each.interface for each in seen)),
            nat=_translations(before, after, rules),
            rules=rules,
            route=_switched(visit)
            or self._facts.route(visit.namespace, _routed(before, after), comes_in, mark),
            conntrack=entry,
        )

    def _rules(self, traversal: Traversal) -> tuple[RuleHit, ...]:
        hits: list[RuleHit] = []
        hook, headers = "", traversal.headers
        for event in traversal.events:
            key = (event.family, event.table, event.chain)
            if event.headers is not None:
                headers = event.headers
                hook = self._facts.chain(event.namespace, key).hook
            hit = self._hit(event, hook, self._facts.chain(event.namespace, key))
            if hit is not None:
                element = matched_element(hit.text, hit.verdict, headers, traversal.last)
                hits.append(replace(hit, element=element))
        return tuple(hits)

    def _hit(self, event: TraceEvent, hook: str, chain: ChainText) -> RuleHit | None:
        if event.kind == POLICY and event.verdict != "accept":
            text = f"policy {event.verdict}"
        elif event.kind == RULE and event.handle:
            text = chain.text(event.handle) or ""
        else:
            return None
        return RuleHit(
            family=event.family,
            table=event.table,
            chain=event.chain,
            handle=event.handle,
            text=text,
            verdict=event.verdict,
            meaning=self._meaning(event.table, event.chain, text),
            hook=hook,
            policy=event.kind == POLICY,
            tried=chain.before(event.handle) if event.handle else (),
        )


def _flow_before(visit: Visit, sent: Flow | None) -> Flow:
    """The flow when the packet entered the namespace, or was made there."""
    if visit.sightings and visit.sightings[0].direction == "in":
        return visit.sightings[0].flow
    if visit.traversal is not None:
        return visit.traversal.headers.flow
    return sent if sent is not None else visit.sightings[0].flow


def _flow_after(visit: Visit, before: Flow, entry: ConntrackEntry | None) -> Flow:
    """The flow when the packet left, or where it ended: seen, traced, or from conntrack."""
    seen = visit.sightings
    if seen and seen[-1].direction == "out":
        return seen[-1].flow
    if visit.traversal is not None and visit.traversal.last.flow != before:
        return visit.traversal.last.flow
    if entry is not None and entry.original == before and entry.reply != before:
        return entry.reply.reversed()
    if entry is not None and entry.reply == before and entry.original != before:
        return entry.original.reversed()
    return before


def _switched(visit: Visit) -> Route | None:
    """The way of a packet that a bridge passed on: between ports, with the TTL it had."""
    seen = visit.sightings
    if not seen or seen[0].direction != "in":
        return None
    last = seen[-1]
    if last.direction == "out":
        same_ttl = last.headers.ttl == seen[0].headers.ttl
        return Route(BRIDGED, last.interface) if same_ttl else None
    # Rules may have taken it in all the same: a bridge hands its frames to them.
    if last.frame.to_us or visit.traversal is not None:
        return None
    return Route(BRIDGED, error="the frame was for another host, and no bridge passed it on")


def _routed(before: Flow, after: Flow) -> Flow:
    """The flow as routing saw it: destination translated, source not yet."""
    return replace(before, destination=after.destination, destination_port=after.destination_port)


def _translations(before: Flow, after: Flow, rules: tuple[RuleHit, ...]) -> tuple[Nat, ...]:
    made = []
    old, new = _destination(before), _destination(after)
    if old != new:
        made.append(Nat("DNAT", old, new))
    old, new = _source(before), _source(after)
    if old != new:
        words = " ".join(hit.text for hit in rules).lower().split()
        made.append(Nat("masquerade" if "masquerade" in words else "SNAT", old, new))
    return tuple(made)


def _source(flow: Flow) -> str:
    return endpoint(flow.source, flow.source_port)


def _destination(flow: Flow) -> str:
    return endpoint(flow.destination, flow.destination_port)


def _undone(reply: tuple[Hop, ...], there: tuple[Hop, ...]) -> tuple[Hop, ...]:
    """On the way back a changed source is the DNAT taken back, a changed destination the SNAT."""
    kinds = {hop.namespace: nat.kind for hop in there for nat in hop.nat if nat.kind != "DNAT"}
    made = []
    for hop in reply:
        nats = []
        old, new = _source(hop.before), _source(hop.after)
        if old != new:
            nats.append(Nat("DNAT", old, new, undone=True))
        old, new = _destination(hop.before), _destination(hop.after)
        if old != new:
            nats.append(Nat(kinds.get(hop.namespace, "SNAT"), old, new, undone=True))
        made.append(replace(hop, nat=tuple(nats)))
    return tuple(made)
