"""Many flows at once, each one crafted packet: quick enough to ask every address of every Service.

What became of a packet is read off the conntrack entry on the node that decides (its translations)
and off captures (whether the Pod, or the sender, got something). No rule is traced.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from testbed.api.objects import family_of
from testbed.fabric.namespace import Namespace
from testbed.flow.headers import Headers
from testbed.flow.paths import ConntrackEntry
from testbed.flow.sightings import Sighting, sighting_of
from testbed.flow.tuples import Flow, endpoint
from testbed.oracle.balancer import BalancerKind
from testbed.oracle.expectation import Backend, Expectation, Origin, Place, SourceKind, Verdict
from testbed.oracle.prediction import Cloud, predict
from testbed.oracle.service_targets import Target
from testbed.oracle.targets import Start, flow_to
from testbed.oracle.world import World
from testbed.probe import evidence, packets
from testbed.probe.capture import Capture
from testbed.runtime.sandbox import namespace_name

if TYPE_CHECKING:
    from testbed.cluster import Cluster

#: A packet's way through a lab takes less than this, seconds.
QUIET = 0.05
#: Longest wait for quiet.
LIMIT = 2.0


@dataclass(frozen=True)
class Shot:
    """One packet to send: from which namespace, which flow, and what must happen to it."""

    origin: str
    flow: Flow
    expectation: Expectation
    target: Target

    def __str__(self) -> str:
        return f"{self.origin}: {self.flow.protocol} {self.flow}"


@dataclass
class Seen:
    """What became of a shot: where its packet was seen, what came back, the translation."""

    there: list[Sighting] = field(default_factory=list)
    answers: list[Sighting] = field(default_factory=list)
    entry: ConntrackEntry | None = None
    error: str = ""

    @property
    def backend(self) -> str:
        """`ip:port` that the deciding node chose; "" where it translated no destination."""
        if self.entry is None:
            return ""
        original, reply = self.entry.original, self.entry.reply
        to = (reply.source, reply.source_port)
        same = to == (original.destination, original.destination_port)
        return "" if same else endpoint(*to)

    @property
    def refused(self) -> bool:
        """The sender got an ICMP error."""
        return any(each.headers.is_icmp_error for each in self.answers)


def every_target(world: World) -> list[Target]:
    """Every address and port of every Service, NodePorts on every node, and one unknown port."""
    found: dict[tuple[str, str, int], Target] = {}

    def add(what: str, address: str, protocol: str, port: int) -> None:
        key = address, protocol.lower(), port
        found.setdefault(key, Target(what, "", address, port, protocol.upper()))

    for (address, protocol, port), front_end in world.front_ends.items():
        add(str(front_end.kind), address, protocol, port)
    for address in (*world.cluster_ips, *world.foreign_ips):
        add("unknown port", address, "TCP", 9)
    for addresses in world.addresses.values():
        for address in addresses:
            for family, protocol, port in world.node_ports:
                if family == family_of(address):
                    add("NodePort", address, protocol, port)
            for port in world.health_ports:
                add("healthCheckNodePort", address, "TCP", port)
    return list(found.values())


def inside(world: World) -> Iterator[tuple[str, Start]]:
    """(namespace, Start) of every node, and of one Pod on each node that has any."""
    for node in world.nodes:
        yield node, Start(f"node/{node}", Origin(Place.NODE, node), world.addresses[node])
    for node in world.nodes:
        pods = [p for p in world.pods.values() if p.node_name == node and p.ips]
        for pod in [p for p in pods if not p.host_network][:1]:
            name = namespace_name((pod.key.namespace, pod.key.name))
            yield name, Start(f"pod/{pod.key}", Origin(Place.POD, node), pod.ips)


def aim(world: World, starts: Iterable[tuple[str, Start]], targets: Sequence[Target]) -> list[Shot]:
    """The shots from every start to every target of a family that it has."""
    shots = []
    numbers = _ports()
    for origin, start in starts:
        for target in targets:
            if not start.address(target.family):
                continue
            flow = replace(flow_to(world, start, target), source_port=next(numbers))
            found = predict(world, start, [target], Cloud(BalancerKind.DSR))
            shots.append(Shot(origin, flow, found[0].expectation, target))
    return shots


def _ports() -> Iterator[int]:
    """Source ports, none twice before 28,000 were used."""
    first = secrets.randbelow(28000)
    while True:
        for number in range(28000):
            yield 32768 + (first + number) % 28000


def fire(lab: Cluster, shots: Sequence[Shot]) -> list[Seen]:
    """Send every shot's packet and watch; the results are in the order of the shots."""
    namespaces = lab.fabric.namespaces()
    results = [Seen() for _ in shots]
    raw = [bytes(packets.build(shot.flow)) for shot in shots]
    tokens = {_token(packets.headers_of([data])): n for n, data in enumerate(raw)}
    answers = {(shot.origin, shot.flow.reversed()): n for n, shot in enumerate(shots)}
    with Capture(namespaces) as capture:
        for shot, data, seen in zip(shots, raw, results, strict=True):
            try:
                packets.send(lab.fabric.namespace(shot.origin), [data])
            except OSError as error:
                seen.error = error.strerror or str(error)
        frames = capture.drain(QUIET)
        for _ in range(int(LIMIT / QUIET)):
            more = capture.drain(QUIET)
            if not more:
                break
            frames += more
    for frame in frames:
        each = sighting_of(frame)
        if each is None:
            continue
        number = tokens.get(_token(each.headers))
        if number is not None and each.headers.inner is None:
            results[number].there.append(each)
            continue
        asked = each.headers.inner.reversed() if each.headers.inner else each.flow
        number = answers.get((each.namespace, asked))
        if number is not None:
            results[number].answers.append(each)
    _read_entries(lab, shots, results)
    return results


def _token(headers: Headers) -> tuple[object, ...]:
    """What a packet is known by, wherever NAT sends it."""
    protocol = headers.flow.protocol
    if protocol == "tcp":
        return protocol, headers.sequence, headers.tcp_flags
    if protocol == "sctp":
        return protocol, headers.transport[16:20]
    return protocol, headers.payload[:8]


def _read_entries(lab: Cluster, shots: Sequence[Shot], results: list[Seen]) -> None:
    nodes = [lab.fabric.namespace(name) for name in lab.node_names()]

    def read(node: Namespace) -> dict[tuple[str, str, int, int], ConntrackEntry]:
        return {_tuple(e.original): e for e in evidence.entries(node)}

    with ThreadPoolExecutor(4) as pool:
        tables = dict(zip([n.name for n in nodes], pool.map(read, nodes), strict=True))
    for shot, seen in zip(shots, results, strict=True):
        seen.entry = tables.get(shot.expectation.node, {}).get(_tuple(shot.flow))


def _tuple(flow: Flow) -> tuple[str, str, int, int]:
    """An entry is known by destination and source port: the source may be translated before."""
    return flow.protocol, flow.destination, flow.destination_port, flow.source_port


def disagreement(shot: Shot, seen: Seen, world: World) -> str:
    """Why what was seen isn't what was expected; "" where it is."""
    said = shot.expectation
    match said.verdict:
        case Verdict.DELIVERED:
            return _delivered(shot, seen, world)
        case Verdict.REFUSED:
            if seen.backend:
                return f"should be refused, but went to {seen.backend}"
            return "" if seen.refused or seen.error else "should be refused, but nothing came back"
        case Verdict.DROPPED:
            if seen.backend:
                return f"should be dropped, but went to {seen.backend}"
            return "should be dropped, but was refused" if seen.refused else ""
        case Verdict.NODE | Verdict.ROUTED:
            if seen.backend:
                return f"no Service is meant, but it went to {seen.backend}"
            left = any(s.namespace == said.node and s.direction == "out" for s in seen.there)
            if said.verdict is Verdict.NODE and left and shot.origin != said.node:
                return f"is for {said.node} itself, but left it"
    return ""


def _delivered(shot: Shot, seen: Seen, world: World) -> str:
    said = shot.expectation
    backend = next((b for b in said.backends if b.address == seen.backend), None)
    if backend is None and not seen.backend:
        # an endpoint that is the address asked for needs no translation
        backend = next((b for b in said.backends if b.ip == shot.flow.destination), None)
    if backend is None or seen.entry is None:
        if not seen.backend and (seen.refused or seen.error):
            return f"should be delivered, but was refused ({seen.error or 'ICMP'})"
        return f"should go to {[b.address for b in said.backends]}, went to {seen.backend or '?'}"
    if found := _source(backend, seen, world):
        return found
    if backend.pod is not None and not world.pods[backend.pod].host_network:
        name = namespace_name((backend.pod.namespace, backend.pod.name))
        if not any(s.namespace == name and s.direction == "in" for s in seen.there):
            return f"never arrived in {name}"
    return ""


def _source(backend: Backend, seen: Seen, world: World) -> str:
    assert seen.entry is not None
    source = seen.entry.reply.destination
    if arrived := [s for s in seen.there if s.flow.destination == backend.ip]:
        source = arrived[-1].flow.source
    wanted = backend.source
    if wanted.kind is SourceKind.UNCHANGED:
        good = source == wanted.address
    else:
        good = source in world.addresses.get(wanted.node, ()) or source == wanted.address
    return "" if good else f"{backend.address} sees {source} instead of {wanted.address}"
