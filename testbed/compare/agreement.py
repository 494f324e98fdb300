"""Whether a path is what the oracle said, and if not, the first hop that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.flow.paths import DELIVERED, DROPPED, NO_LISTENER, REFUSED, TIMEOUT, Hop, Path
from testbed.flow.tuples import endpoint
from testbed.oracle.expectation import Backend, Expectation, SourceKind, Verdict
from testbed.oracle.prediction import Prediction

#: Verdicts of a packet that came to its backend, whatever the backend then did.
_ARRIVED = (DELIVERED, NO_LISTENER, TIMEOUT)
#: Nodes → their own addresses.
Nodes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a path isn't as expected.

    `hop` is its number in the path's table (from 1; 0 where no hop is to blame), `namespace` where
    it is; `expected` and `seen` are sentences without a subject: "passes it on as it is".
    """

    namespace: str
    hop: int
    expected: str
    seen: str

    def __str__(self) -> str:
        place = f"hop {self.hop}, {self.namespace}" if self.hop else self.namespace
        return f"{place}: expected: {self.expected}; seen: {self.seen}"


@dataclass(frozen=True, slots=True)
class _Walk:
    """The hops still to be looked at, with their numbers, and the path they belong to."""

    path: Path
    hops: tuple[tuple[int, Hop], ...]
    nodes: Nodes

    def after(self, place: int) -> _Walk:
        return _Walk(self.path, self.hops[place:], self.nodes)

    def end(self, expected: str) -> Difference:
        """The last hop is where it went wrong."""
        if not self.hops:
            return Difference(self.path.origin, 0, expected, str(self.path.final.verdict))
        number, hop = self.hops[-1]
        return Difference(hop.namespace, number, expected, str(self.path.final.verdict))


def compare(path: Path, predictions: Sequence[Prediction], nodes: Nodes) -> Difference | None:
    """The first difference between `path` and what was predicted for it; None where it agrees.

    `predictions` are one target's (oracle.predict): of those for several entry nodes, the one that
    the packet entered counts.
    """
    hops = tuple((n, hop) for leg in path.legs for n, hop in enumerate(leg.hops, 1))
    walk = _Walk(path, hops, nodes)
    first, *later = predictions
    if not first.entry:
        found = _follow(walk, first.expectation)
        if found is not None or not later:
            return found
        walk = _beyond(walk, first.expectation.node)
        return _entered(walk, later) if any(h.namespace in nodes for _, h in walk.hops) else None
    return _entered(walk, predictions)


def _beyond(walk: _Walk, node: str) -> _Walk:
    """What came after the packet left `node`."""
    names = [hop.namespace for _, hop in walk.hops]
    return walk.after(names.index(node) + 1) if node in names else walk


def _entered(walk: _Walk, predictions: Sequence[Prediction]) -> Difference | None:
    """Predictions by entry node: the one of the node that the packet came to."""
    wanted = {p.entry: p for p in predictions}
    entry = next(((n, h) for n, h in walk.hops if h.namespace in walk.nodes), None)
    serving = [p.entry for p in predictions if p.in_rotation]
    if entry is None:
        if not serving:
            return None
        return walk.end(f"it reaches {' or '.join(serving)}")
    number, hop = entry
    found = wanted.get(hop.namespace)
    if found is None or not found.in_rotation:
        expected = f"the load balancer sends it to {' or '.join(serving) or 'no node'}"
        return Difference(hop.namespace, number, expected, f"it came to {hop.namespace}")
    return _follow(walk, found.expectation)


def _follow(walk: _Walk, expectation: Expectation) -> Difference | None:
    decided = expectation.node
    if not decided:
        return None
    for place, (number, hop) in enumerate(walk.hops):
        if hop.namespace == decided and decided not in [
            later.namespace for _, later in walk.hops[place + 1 : place + 2]
        ]:
            return _at(walk.after(place), expectation)
        if hop.namespace in walk.nodes and _dnat(hop):
            seen = ", ".join(str(nat) for nat in hop.nat)
            return Difference(hop.namespace, number, f"passes it on to {decided} as it is", seen)
    return walk.end(f"it goes on to {decided}")


def _at(walk: _Walk, expectation: Expectation) -> Difference | None:
    """The first hop of `walk` is on the node that decides."""
    match expectation.verdict:
        case Verdict.DELIVERED:
            return _delivered(walk, expectation)
        case Verdict.REFUSED:
            return _ended(walk, expectation, REFUSED, "refuses it with an ICMP error")
        case Verdict.DROPPED:
            return _ended(walk, expectation, DROPPED, "drops it")
        case Verdict.NODE:
            return _for_itself(walk, expectation)
        case Verdict.ROUTED:
            return _routed(walk, expectation)


def _ended(walk: _Walk, expectation: Expectation, kind: str, words: str) -> Difference | None:
    number, hop = walk.hops[0]
    verdict = walk.path.final.verdict
    if verdict.kind == kind and verdict.where == hop.namespace and verdict.direction == "forward":
        return None
    expected = f"{words} ({expectation.reason})"
    return Difference(hop.namespace, number, expected, _done(walk, hop))


def _for_itself(walk: _Walk, expectation: Expectation) -> Difference | None:
    number, hop = walk.hops[0]
    verdict = walk.path.final.verdict
    stopped = verdict.rule is not None and verdict.where == hop.namespace
    if not _dnat(hop) and not hop.interface_out and not stopped:
        return None
    expected = f"takes it itself ({expectation.reason})"
    return Difference(hop.namespace, number, expected, _done(walk, hop))


def _routed(walk: _Walk, expectation: Expectation) -> Difference | None:
    number, hop = walk.hops[0]
    verdict = walk.path.final.verdict
    stopped = verdict.rule is not None and verdict.where == hop.namespace
    if _dnat(hop) or stopped:
        expected = f"sends it on as it is ({expectation.reason})"
        return Difference(hop.namespace, number, expected, _done(walk, hop))
    if expectation.backends:
        return _arrives(walk, expectation.backends[0])
    return None


def _delivered(walk: _Walk, expectation: Expectation) -> Difference | None:
    number, hop = walk.hops[0]
    to = endpoint(hop.after.destination, hop.after.destination_port)
    backend = next((b for b in expectation.backends if b.address == to), None)
    if backend is None:
        choice = [b.address for b in expectation.backends]
        listed = " or ".join(choice[:4]) + (f" or {len(choice) - 4} more" if choice[4:] else "")
        return Difference(
            hop.namespace, number, f"sends it to {listed} ({expectation.reason})", _done(walk, hop)
        )
    return _arrives(walk, backend)


def _arrives(walk: _Walk, backend: Backend) -> Difference | None:
    """From the deciding node to the backend: under the right source, and nothing in between."""
    if found := _wrong_source(walk, backend):
        return found
    for number, hop in walk.hops[1:]:
        if hop.namespace in walk.nodes and _dnat(hop):
            seen = ", ".join(str(nat) for nat in hop.nat)
            return Difference(hop.namespace, number, f"passes it on to {backend.address}", seen)
    verdict = walk.path.final.verdict
    if verdict.direction == "reply":
        replies = [h for leg in walk.path.legs for h in leg.reply]
        where = max(
            (n for n, h in enumerate(replies, 1) if h.namespace == verdict.where), default=0
        )
        number = len(walk.path.hops) + where if where and not walk.path.relayed else 0
        return Difference(verdict.where, number, "passes the answer on", str(verdict))
    last = walk.hops[-1][1]
    gone = last.interface_out != "" and verdict.where == last.namespace
    if verdict.kind not in _ARRIVED and not (gone and verdict.rule is None and backend.pod is None):
        return walk.end(f"it reaches {backend.address}")
    return None


def _wrong_source(walk: _Walk, backend: Backend) -> Difference | None:
    wanted = backend.source
    last = walk.hops[-1][1]
    seen = last.after.source
    if wanted.kind is SourceKind.UNCHANGED:
        if seen == wanted.address:
            return None
        expected = f"keeps the source {wanted.address}"
        for number, hop in walk.hops:
            if hop.before.source != hop.after.source:
                return Difference(hop.namespace, number, expected, _nats(hop))
        number, hop = walk.hops[0]
        return Difference(hop.namespace, number, expected, f"source {seen}")
    own = {*walk.nodes.get(wanted.node, ()), wanted.address}
    if seen in own:
        return None
    translated = False
    for number, hop in walk.hops:
        if translated and hop.before.source != hop.after.source:
            expected = f"keeps the source {hop.before.source}"
            return Difference(hop.namespace, number, expected, _nats(hop))
        if hop.namespace == wanted.node:
            translated = hop.after.source in own
            if not translated:
                expected = f"replaces the source with an address of {wanted.node}"
                return Difference(hop.namespace, number, expected, _nats(hop))
    number, hop = walk.hops[0]
    return Difference(hop.namespace, number, f"its source is {wanted.node}'s", f"source {seen}")


def _dnat(hop: Hop) -> bool:
    return any(nat.kind == "DNAT" for nat in hop.nat)


def _nats(hop: Hop) -> str:
    return ", ".join(str(nat) for nat in hop.nat) or "nothing translated"


def _done(walk: _Walk, hop: Hop) -> str:
    """What happened to the packet in `hop`, in words."""
    verdict = walk.path.final.verdict
    if verdict.where == hop.namespace and not hop.interface_out:
        return str(verdict)
    if hop.nat:
        return _nats(hop)
    if hop.interface_out:
        to = endpoint(hop.after.destination, hop.after.destination_port)
        return f"sent on by {hop.interface_out} to {to}, untranslated"
    return str(verdict)
