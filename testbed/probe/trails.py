"""Which sightings and trace events belong to one packet, and how it went from place to place. Pure.

A packet's identity (testbed.flow.headers) survives NAT and routing. The same packet is seen at one
place once; seen there again it was sent again. A flooded frame leaves copies that lead nowhere.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from testbed.flow.fingerprint import Fingerprint
from testbed.flow.headers import Headers, Identity
from testbed.flow.sightings import Sighting
from testbed.flow.tuples import Flow
from testbed.probe.trace_events import RULE, TraceEvent
from testbed.probe.trace_rule import TABLE

FORWARD, REPLY = "forward", "reply"


@dataclass
class Traversal:
    """A packet's way through the rules of a namespace: from our own trace rule to the last verdict.

    `headers` are the packet's at the start, `last` at the start of the last base chain it met.
    """

    namespace: str
    hook: str
    headers: Headers
    last: Headers
    events: list[TraceEvent] = field(default_factory=list)
    #: Index of the interface that the packet came in by, 0 where it was made here.
    interface_in: int = 0


@dataclass
class Visit:
    """A packet's stay in a namespace: its sightings there, its way through the rules."""

    namespace: str
    sightings: list[Sighting]
    traversal: Traversal | None = None


@dataclass
class Trail:
    """One packet (one transmission of it) in one direction."""

    direction: str
    identity: Identity
    headers: Headers
    visits: list[Visit]
    copies: tuple[Sighting, ...] = ()
    #: Nanoseconds since 1970 of the first sighting, 0 where only the rules saw it.
    start: int = 0


def traversals(events: Sequence[TraceEvent]) -> list[Traversal]:
    """Cut the events of each packet where it enters a namespace's rules."""
    found: list[Traversal] = []
    current: dict[tuple[str, int], Traversal] = {}
    for event in events:
        key = (event.namespace, event.packet)
        ours = event.table.startswith(TABLE)
        if ours and event.kind == RULE and event.handle and event.headers is not None:
            current[key] = Traversal(
                event.namespace,
                event.chain,
                event.headers,
                event.headers,
                interface_in=event.interface_in,
            )
            found.append(current[key])
        elif key in current:
            if event.headers is not None:
                current[key].last = event.headers
            if not ours:
                current[key].events.append(event)
    return found


class Classifier:
    """Tells forward packets, replies and other traffic apart; learns tuples as they are changed."""

    def __init__(self, flow: Flow, fingerprint: Fingerprint | None) -> None:
        self._fingerprint = fingerprint
        self._forward: set[Flow] = {flow}
        self._directions: dict[Identity, str] = {}

    def direction(self, headers: Headers) -> str | None:
        """`forward`, `reply`, or None for a packet that isn't the probe's."""
        direction = self._judge(headers)
        if direction is not None:
            self._directions[headers.identity] = direction
            if direction == FORWARD and not headers.is_icmp_error:
                self._forward.add(headers.flow)
        return direction

    def _judge(self, headers: Headers) -> str | None:
        known = self._directions.get(headers.identity)
        if known is not None:
            return known
        flow = headers.flow
        if headers.is_icmp_error:
            return REPLY if headers.inner in self._forward else self._by_content(headers)
        if flow in self._forward:
            return FORWARD
        if flow.reversed() in self._forward:
            return REPLY
        return self._by_content(headers)

    def _by_content(self, headers: Headers) -> str | None:
        return self._fingerprint.direction_of(headers) if self._fingerprint else None


def trails(
    flow: Flow,
    sightings: Sequence[Sighting],
    walked: Sequence[Traversal],
    fingerprint: Fingerprint | None = None,
) -> list[Trail]:
    """Every packet of `flow` and of its answers, in the order in which they were sent.

    `sightings` may hold any other traffic and must be in the order of their times.
    """
    classifier = Classifier(flow, fingerprint)
    for _ in range(2):  # a tuple learned late also names packets that were seen early
        for traversal in walked:
            classifier.direction(traversal.headers)
        judged = [(classifier.direction(each.headers), each) for each in sightings]
    ours = [(direction, each) for direction, each in judged if direction is not None]
    made = _group(ours)
    waiting: dict[tuple[str, Identity], deque[Traversal]] = defaultdict(deque)
    for traversal in walked:
        waiting[traversal.namespace, traversal.headers.identity].append(traversal)
    for trail in made:
        for visit in trail.visits:
            queue = waiting.get((visit.namespace, trail.identity))
            if queue and _fits(visit, queue[0]):
                visit.traversal = queue.popleft()
    return made + _without_sightings(classifier, waiting)


def _fits(visit: Visit, traversal: Traversal) -> bool:
    return (visit.sightings[0].direction == "in") == (traversal.hook == "prerouting")


def _group(ours: list[tuple[str, Sighting]]) -> list[Trail]:
    groups: dict[tuple[str, Identity], list[list[Sighting]]] = {}
    for direction, sighting in ours:
        transmissions = groups.setdefault((direction, sighting.headers.identity), [[]])
        if any(sighting.place == seen.place for seen in transmissions[-1]):
            transmissions.append([])
        transmissions[-1].append(sighting)
    made = []
    for (direction, identity), transmissions in groups.items():
        for seen in transmissions:
            kept, copies = _without_copies(seen)
            made.append(
                Trail(
                    direction, identity, kept[0].headers, _visits(kept), copies, start=kept[0].time
                )
            )
    made.sort(key=lambda trail: trail.start)
    return made


def _without_copies(seen: list[Sighting]) -> tuple[list[Sighting], tuple[Sighting, ...]]:
    """Take out frames for other hosts that led nowhere while the packet went on elsewhere."""
    kept, copies = [], []
    for place, sighting in enumerate(seen):
        later = seen[place + 1 :]
        leads_on = any(other.namespace == sighting.namespace for other in later)
        if not sighting.frame.to_us and later and not leads_on:
            copies.append(sighting)
        else:
            kept.append(sighting)
    kept, stray = _without_stray_ends(kept)
    if _is_a_copy_among_copies(kept, copies):
        stray.append(kept.pop())
    return kept, (*copies, *stray)


def _is_a_copy_among_copies(kept: list[Sighting], copies: list[Sighting]) -> bool:
    """Whether the last that is seen is a flooded copy like others: nobody took the packet in."""
    if len(kept) < 2:
        return False
    sender, last = kept[-2:]
    came = next(each.time for each in kept if each.namespace == sender.namespace)
    return (
        (sender.direction, last.direction) == ("out", "in")
        and not last.frame.to_us
        and any(
            copy.namespace != last.namespace
            and copy.direction == "in"
            and copy.time > came
            and copy.headers.ttl == last.headers.ttl
            for copy in copies
        )
    )


def _without_stray_ends(kept: list[Sighting]) -> tuple[list[Sighting], list[Sighting]]:
    """A copy may also be the last that is seen: then another namespace took the packet in."""
    stray: list[Sighting] = []
    while (
        len(kept) > 1
        and not kept[-1].frame.to_us
        and kept[-1].direction == "in"
        and any(
            each.frame.to_us
            and each.direction == "in"
            and each.namespace != kept[-1].namespace
            and not any(
                later.namespace == each.namespace and later.direction == "out"
                for later in kept[place + 1 :]
            )
            for place, each in enumerate(kept[:-1])
        )
    ):
        stray.append(kept.pop())
    return kept, stray


def _visits(kept: list[Sighting]) -> list[Visit]:
    visits: list[Visit] = []
    for sighting in kept:
        last = visits[-1] if visits else None
        comes_back = (
            last is not None
            and sighting.direction == "in"
            and last.sightings[-1].direction == "out"
        )
        if last is None or last.namespace != sighting.namespace or comes_back:
            visits.append(Visit(sighting.namespace, [sighting]))
        else:
            last.sightings.append(sighting)
    return visits


def _without_sightings(
    classifier: Classifier, waiting: dict[tuple[str, Identity], deque[Traversal]]
) -> list[Trail]:
    """Packets that met rules and never an interface: dropped on their way out."""
    made = []
    for (namespace, identity), queue in waiting.items():
        for traversal in queue:
            direction = classifier.direction(traversal.headers)
            if direction is not None:
                visit = Visit(namespace, [], traversal)
                made.append(Trail(direction, identity, traversal.headers, [visit]))
    return made
