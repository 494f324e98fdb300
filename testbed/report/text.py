"""A Path as text of 100 columns: one line a stop; below it what changed, and the rules it met."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from testbed.flow.paths import DELIVERED, NO_LISTENER, ConntrackEntry, Hop, Path, RuleHit
from testbed.flow.tuples import endpoint
from testbed.report import stops as paths
from testbed.report import words
from testbed.report.stops import FORWARD, Stop

WIDTH = 100
_INDENT = 7
_LABEL = 12
_DETAIL = 17


def render(path: Path, *, rules: bool = True, all_rules: bool = False, brief: bool = False) -> str:
    """The whole path, switches left out.

    `all_rules` shows the switches too, rules with their comments, and those that were looked at and
    didn't match. `brief` only counts the rules of stops where nothing was changed or decided.
    """
    return "\n".join(lines(path, rules=rules, all_rules=all_rules, brief=brief)) + "\n"


def lines(
    path: Path, *, rules: bool = True, all_rules: bool = False, brief: bool = False
) -> Iterator[str]:
    """`render`, line by line."""
    yield from _wrap(f"{_origin(path)} → {path.request or path.sent}", 0)
    listed = paths.stops(path)
    layout = _Layout(listed)
    for title, packet, direction in (
        ("request", path.sent, FORWARD),
        ("answer", path.answer, paths.REPLY),
    ):
        chosen = [stop for stop in listed if stop.direction == direction]
        if chosen:
            yield ""
            yield f"{title}: {packet}"
        for stop in chosen:
            yield from layout.head(stop)
            yield from _details(stop.hop)
            if rules:
                yield from _rules(path, stop.hop, all_rules=all_rules, brief=brief)
            if stop.hop.conntrack is not None and not brief:
                yield from _labelled("conntrack", _conntrack(stop.hop.conntrack))
            if all_rules:
                for hop in stop.switches:
                    yield from _wrap(f"│ switch {hop.namespace}: {words.way(hop)}", 2)
    yield ""
    yield from _labelled("verdict", words.verdict(path), 0)
    yield from _conclusion(path)
    if path.relayed is not None:
        yield ""
        yield from lines(path.relayed, rules=rules, all_rules=all_rules, brief=brief)


def _origin(path: Path) -> str:
    return next((p.title for p in paths.places(path) if p.name == path.origin), path.origin)


class _Layout:
    """The columns of the stops' head lines: number, place, time, flow.

    The flow goes to a line of its own everywhere where it doesn't fit beside the widest place.
    """

    def __init__(self, listed: list[Stop]) -> None:
        self._where = max((len(stop.place.title) for stop in listed), default=0)
        longest = max((len(str(stop.hop.before)) for stop in listed), default=0)
        self._apart = 5 + self._where + 2 + 8 + 2 + longest > WIDTH

    def head(self, stop: Stop) -> Iterator[str]:
        time = words.elapsed(stop.hop.start)
        line = f"{stop.number:3}  {stop.place.title:<{self._where}}  {time:>8}"
        if self._apart:
            yield from _wrap(line.strip(), 5, line[:5])
            yield from _wrap(str(stop.hop.before), _INDENT)
        else:
            yield f"{line}  {stop.hop.before}"


def _details(hop: Hop) -> Iterator[str]:
    yield from _wrap(words.way(hop), _INDENT)
    for nat in hop.nat:
        yield from _labelled(*words.translation(nat))


def _rules(path: Path, hop: Hop, *, all_rules: bool, brief: bool) -> Iterator[str]:
    decided = bool(hop.nat) or (
        path.verdict.rule is not None and path.verdict.where == hop.namespace
    )
    undone = any(nat.undone for nat in hop.nat)
    if brief and hop.rules and (undone or not decided):
        count = len(hop.rules)
        yield from _wrap(f"{count} rule{'s' * (count > 1)} met, nothing decided here", _INDENT)
        return
    for hit in hop.rules:
        yield from _rule(hit, all_rules)


def _rule(hit: RuleHit, all_rules: bool) -> Iterator[str]:
    if all_rules:
        for text in hit.tried:
            yield from _wrap(f"✗ {hit.table} {hit.chain}  {text}", _INDENT + 2)
    said = words.meaning(hit)
    if said:
        yield from _wrap(f"• {said}", _INDENT)
        yield from _wrap(words.rule(hit, whole=all_rules), _INDENT + 4)
    else:
        yield from _wrap(f"• {words.rule(hit)}", _INDENT)
    if hit.element:
        yield from _wrap(f"element {hit.element}", _INDENT + 4)


def _conclusion(path: Path) -> Iterator[str]:
    if path.relayed is not None:
        yield from _labelled(
            "proxy", f"{path.backend} handed the request on by a connection of its own", 0
        )
    elif path.verdict.kind == DELIVERED and path.backend_flow is not None:
        yield from _labelled("backend saw", words.source(path), 0)
    elif path.verdict.kind == NO_LISTENER and _translated(path):
        yield from _labelled("Service", "the Service did its part; nothing listens in the Pod", 0)
    if path.verdict.rule is not None:
        said = words.meaning(path.verdict.rule)
        yield from _labelled("rule", said or words.rule(path.verdict.rule), 0)
        if said:
            yield from _wrap(words.rule(path.verdict.rule), _LABEL + 1)
    if path.retransmissions:
        yield from _labelled("sent again", f"{path.retransmissions} ×", 0)
    if path.copies:
        yield from _labelled("copies", f"flooded to {', '.join(path.copies)}", 0)
    for sentence in path.unseen:
        yield from _labelled("not seen", sentence, 0)


def _translated(path: Path) -> bool:
    """Whether kube-proxy sent the packet to its backend, not a load balancer to a node."""
    return any(
        hit.table == "kube-proxy" or hit.chain.startswith("KUBE-SEP-")
        for hop in path.hops
        for hit in hop.rules
        if any(nat.kind == "DNAT" and not nat.undone for nat in hop.nat)
    )


def _conntrack(entry: ConntrackEntry) -> str:
    state = f" ({entry.state})" if entry.state else ""
    return f"{entry.original}, answered by {entry.reply}{state}"


def _labelled(label: str, text: str, indent: int = _INDENT) -> Iterable[str]:
    name = f"{label}:" if indent == 0 else label
    head = f"{' ' * indent}{name:<{_DETAIL if indent else _LABEL}} "
    return _wrap(text, len(head), head)


def _wrap(text: str, indent: int, head: str = "") -> Iterable[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head or " " * indent,
        subsequent_indent=" " * (indent if head else indent + 2),
        break_long_words=True,
        break_on_hyphens=False,
    )


def summary(path: Path) -> str:
    """One line: from, to, verdict, the source that the backend saw."""
    target = endpoint(path.flow.destination, path.flow.destination_port)
    seen = f", source seen {path.source_seen}" if path.source_seen else ""
    return f"{_origin(path)} → {target}: {words.verdict(path)}{seen}"
