"""The one call: send a request or a packet and say what happened to it, in every namespace."""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from testbed import netlink as nl
from testbed.flow import fingerprint as fingerprints
from testbed.flow.fingerprint import Fingerprint
from testbed.flow.paths import ConntrackEntry, Path, Route
from testbed.flow.sightings import Frame, Sighting, sighting_of
from testbed.flow.tuples import ICMPV6, Flow
from testbed.probe import bpf, conntrack, packets, routes, rules
from testbed.probe.capture import Capture
from testbed.probe.correlate import Evidence, Meaning, correlate, no_meaning
from testbed.probe.exchange import (
    NO_ROUTE,
    Outcome,
    Prepared,
    Request,
    perform,
    prepare,
    source_address,
)
from testbed.probe.namespaces import Namespace, close_on_threads
from testbed.probe.rules import ChainKey, ChainText, RuleBook
from testbed.probe.trace import Tracer
from testbed.probe.trace_events import TraceEvent
from testbed.probe.trails import Classifier
from testbed.probe.verdicts import Ending

#: Nothing new for this long after the end: the last packets have arrived, seconds.
QUIET = 0.002
#: The longest wait for that quiet, seconds.
SETTLE = 0.05


@dataclass(frozen=True)
class Observation:
    """A Path and what it was made from: frames of the flow, in order; trace events; the outcome."""

    path: Path
    frames: tuple[Frame, ...]
    events: tuple[TraceEvent, ...]
    outcome: Outcome | None = None


@dataclass
class Observer:
    """Follows requests through `namespaces`; keeps what it read of their rules between calls.

    `meaning(table, chain, text)` says what a rule is for. `trace=False` leaves the rule trace out.
    Calls from several threads take turns: two probes at once would read each other's trace.
    """

    namespaces: Sequence[Namespace]
    meaning: Meaning = no_meaning
    trace: bool = True
    _books: dict[str, RuleBook] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, origin: Namespace, request: Request) -> Observation:
        """Send `request` from `origin` and follow it. Blocks up to the request's timeout."""
        try:
            prepared = prepare(origin, request)
        except OSError as error:
            return _unsent(origin, request, error)
        watch = _Watch(self, origin, prepared.flow, prepared.fingerprint, prepared.token)
        with self._turn:
            return watch.run(lambda collect: _converse(prepared), str(request))

    def follow_packets(
        self, origin: Namespace, sent: packets.Packet | Sequence[packets.Packet], wait: float = 0.3
    ) -> Observation:
        """Send scapy packets (one, or fragments) from `origin` and follow the first one.

        Waits up to `wait` seconds for an answer; a source address that isn't set becomes the one
        that `origin` would use.
        """
        listed = list(sent) if isinstance(sent, list | tuple) else [sent]
        raw = [bytes(each) for each in _sourced(origin, listed)]
        headers = packets.headers_of(raw)
        watch = _Watch(self, origin, headers.flow, fingerprints.of_packet(headers))

        def shoot(collect: _Collector) -> Ending:
            try:
                packets.send(origin, raw)
            except OSError as error:
                return Ending("failed", error.strerror or str(error))
            home = collect.until(lambda: watch.answer_seen(), wait)
            return Ending("answered" if home else "timeout")

        with self._turn:
            return watch.run(shoot, f"packet {headers.summary}")

    async def follow_async(self, origin: Namespace, request: Request) -> Observation:
        """`follow` on a thread, for callers on an event loop."""
        return await asyncio.to_thread(self.follow, origin, request)

    def book(self, namespace: Namespace) -> RuleBook:
        return self._books.setdefault(namespace.name, RuleBook(namespace))


def follow(
    origin: Namespace,
    request: Request,
    namespaces: Sequence[Namespace],
    meaning: Meaning = no_meaning,
) -> Observation:
    """Follow one request; an Observer is quicker for several."""
    return Observer(namespaces, meaning).follow(origin, request)


def _sourced(origin: Namespace, listed: list[packets.Packet]) -> Iterable[packets.Packet]:
    for packet in listed:
        destination = packets.destination_of(packet)
        if "src" in packet.fields:
            yield packet
        else:
            yield packets.with_source(packet, source_address(origin, destination))


def _converse(prepared: Prepared) -> tuple[Ending, Outcome]:
    outcome = perform(prepared)
    return Ending(outcome.kind, outcome.error, outcome.response), outcome


def _unsent(origin: Namespace, request: Request, error: OSError) -> Observation:
    flow = Flow(request.protocol, request.source, 0, request.destination, request.port)
    words = error.strerror or str(error)
    evidence = Evidence(origin.name, flow, (), ending=Ending(NO_ROUTE, words), request=str(request))
    path = correlate(evidence, _Facts({}, {}, {}))
    return Observation(path, (), (), Outcome(NO_ROUTE, flow, error=words))


class _Collector:
    """Gathers frames and trace events until they stop coming."""

    def __init__(self, capture: Capture, tracer: Tracer | None) -> None:
        self._capture = capture
        self._tracer = tracer
        self.frames: list[Frame] = []
        self.events: list[TraceEvent] = []

    def take(self, wait: float = 0.0) -> bool:
        """Read what waits (up to `wait` seconds for something); True if there was anything."""
        waiting: list[Capture | Tracer] = [self._capture]
        if self._tracer:
            waiting.append(self._tracer)
        ready, _, _ = select.select(waiting, [], [], wait)
        if not ready:
            return False
        self.frames += self._capture.drain()
        if self._tracer:
            self.events += self._tracer.drain()
        return True

    def until(self, done: Callable[[], bool], limit: float) -> bool:
        """Read until `done` or for `limit` seconds."""
        deadline = time.monotonic() + limit
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.take(left)
        return True

    def settle(self) -> None:
        deadline = time.monotonic() + SETTLE
        while self.take(QUIET) and time.monotonic() < deadline:
            pass


class _Watch:
    """One request under observation."""

    def __init__(
        self,
        observer: Observer,
        origin: Namespace,
        flow: Flow,
        fingerprint: Fingerprint,
        token: bytes = b"",
    ) -> None:
        self._token = token
        self._observer = observer
        self._origin = origin
        self._flow = flow
        self._fingerprint = fingerprint
        self._collector: _Collector | None = None
        self._namespaces = {each.name: each for each in (*observer.namespaces, origin)}

    def answer_seen(self) -> bool:
        """True once an answer to the flow has come into the origin."""
        collector = self._collector
        answer = self._flow.reversed()
        return collector is not None and any(
            sighting.headers.flow == answer or sighting.headers.inner == self._flow
            for frame in collector.frames
            if frame.namespace == self._origin.name and frame.direction == "in"
            if (sighting := sighting_of(frame)) is not None
        )

    def run(
        self, act: Callable[[_Collector], Ending | tuple[Ending, Outcome]], request: str
    ) -> Observation:
        """Watch while `act` sends; put together what was seen."""
        links: dict[str, nl.NetlinkSocket] = {}
        books = {name: self._observer.book(each) for name, each in self._namespaces.items()}
        facts = _Facts(self._namespaces, links, books)
        try:
            for name, each in self._namespaces.items():
                links[name] = each.netlink(nl.NETLINK_NETFILTER)
            result, unseen = self._collect(act, links)
            ending, outcome = result if isinstance(result, tuple) else (result, None)
            return self._put_together(facts, ending, outcome, unseen, request)
        finally:
            facts.close()
            close_on_threads([link.sock for link in links.values()])

    def _collect(
        self,
        act: Callable[[_Collector], Ending | tuple[Ending, Outcome]],
        links: dict[str, nl.NetlinkSocket],
    ) -> tuple[Ending | tuple[Ending, Outcome], list[str]]:
        watched = list(self._namespaces.values())
        numbers = {self._flow.protocol_number, ICMPV6 if self._flow.family == 6 else 1}
        program = bpf.protocols_filter(self._flow.family, sorted(numbers))
        with contextlib.ExitStack() as stack:
            capture = stack.enter_context(Capture(watched, program=program))
            tracer = None
            if self._observer.trace:
                self._refresh_rules(links)
                stack.callback(self._keep_rules, links)
                tracer = stack.enter_context(Tracer(watched, self._fingerprint))
            self._collector = _Collector(capture, tracer)
            result = act(self._collector)
            self._collector.settle()
            self._read_rules(links, self._collector.events)
            return result, _losses(capture, tracer)

    def _put_together(
        self,
        facts: _Facts,
        ending: Ending,
        outcome: Outcome | None,
        unseen: list[str],
        request: str,
    ) -> Observation:
        collector = self._collector
        assert collector is not None
        collector.frames.sort(key=lambda frame: frame.time)
        seen = [each for frame in collector.frames if (each := sighting_of(frame)) is not None]
        evidence = Evidence(
            origin=self._origin.name,
            flow=self._flow,
            sightings=seen,
            events=collector.events,
            fingerprint=self._fingerprint,
            ending=ending,
            unseen=tuple(unseen),
            request=request,
            token=self._token,
        )
        path = correlate(evidence, facts, self._observer.meaning)
        frames = frames_of(path, self._fingerprint, seen)
        return Observation(path, frames, tuple(collector.events), outcome)

    def _refresh_rules(self, links: dict[str, nl.NetlinkSocket]) -> None:
        for name, link in links.items():
            self._observer.book(self._namespaces[name]).refresh(rules.generation(link))

    def _keep_rules(self, links: dict[str, nl.NetlinkSocket]) -> None:
        """The trace table's own two commits changed nothing that a rule book holds."""
        for name, link in links.items():
            book = self._observer.book(self._namespaces[name])
            book.keep(rules.generation(link), commits=2)

    def _read_rules(self, links: dict[str, nl.NetlinkSocket], events: list[TraceEvent]) -> None:
        wanted: dict[str, list[ChainKey]] = {}
        for event in events:
            wanted.setdefault(event.namespace, []).append((event.family, event.table, event.chain))
        jobs = [(self._observer.book(self._namespaces[name]), name) for name in wanted]
        if len(jobs) == 1:
            jobs[0][0].chains(links[jobs[0][1]], wanted[jobs[0][1]])
        elif jobs:
            with ThreadPoolExecutor(len(jobs)) as pool:
                list(pool.map(lambda job: job[0].chains(links[job[1]], wanted[job[1]]), jobs))


def frames_of(path: Path, fingerprint: Fingerprint, seen: Sequence[Sighting]) -> tuple[Frame, ...]:
    """The frames of the flow and its answers, on every leg of the path, in order."""
    kept: set[int] = set()
    for number, leg in enumerate(path.legs):
        classifier = Classifier(leg.flow, None if number else fingerprint)
        for _ in range(2):  # a tuple learned late also names packets that were seen early
            directions = [classifier.direction(each.headers) for each in seen]
        kept |= {place for place, direction in enumerate(directions) if direction is not None}
    return tuple(seen[place].frame for place in sorted(kept))


def _losses(capture: Capture, tracer: Tracer | None) -> list[str]:
    found = [f"{count} packets in {name}: no room" for name, count in capture.stop().items()]
    if tracer is not None:
        found += [f"rules in {name}: {reason}" for name, reason in tracer.failed.items()]
        found += [f"some rules in {name}: trace events were lost" for name in tracer.lost]
    return found


class _Facts:
    """Answers to what correlate asks, from the rule books and from the kernel."""

    def __init__(
        self,
        namespaces: dict[str, Namespace],
        links: dict[str, nl.NetlinkSocket],
        books: dict[str, RuleBook],
    ) -> None:
        self._namespaces = namespaces
        self._links = links
        self._routing: dict[str, tuple[nl.NetlinkSocket, dict[int, str]]] = {}
        self._books = books

    def chain(self, namespace: str, key: ChainKey) -> ChainText:
        return self._books[namespace].chain(key)

    def conntrack(self, namespace: str, flow: Flow) -> ConntrackEntry | None:
        return conntrack.find(self._links[namespace], flow)

    def route(self, namespace: str, flow: Flow, interface_in: str, mark: int) -> Route | None:
        if namespace not in self._routing:
            link = self._namespaces[namespace].netlink(nl.NETLINK_ROUTE)
            self._routing[namespace] = (link, routes.interface_names(link))
        link, names = self._routing[namespace]
        index = next((number for number, name in names.items() if name == interface_in), 0)
        found = routes.decide(link, flow, interface_in=index, mark=mark)
        if found is None or not found.interface:
            return found
        name = names.get(int(found.interface), found.interface)
        return Route(found.kind, name, found.gateway, found.source, found.error)

    def close(self) -> None:
        for link, _ in self._routing.values():
            link.close()
