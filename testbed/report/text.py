"""A Path as a table of 100 columns: one line a hop, its translations and rules below it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from testbed.flow.paths import DELIVERED, ConntrackEntry, Hop, Path, RuleHit
from testbed.flow.tuples import endpoint

WIDTH = 100
_INDENT = 6


def render(path: Path, *, rules: bool = True, all_rules: bool = False) -> str:
    """The whole path. `all_rules` also lists rules that were looked at and didn't match."""
    return "\n".join(lines(path, rules=rules, all_rules=all_rules)) + "\n"


def lines(path: Path, *, rules: bool = True, all_rules: bool = False) -> Iterator[str]:
    """`render`, line by line."""
    yield from _wrap(f"{path.request or path.sent} from {path.origin}: {path.flow}", 0)
    where = max((len(_where(hop)) for hop in (*path.hops, *path.reply)), default=0)
    number = 0
    for title, hops in ((path.sent, path.hops), (path.answer, path.reply)):
        if hops:
            yield ""
            yield f"{'forward' if hops is path.hops else 'reply'}: {title}"
        for hop in hops:
            number += 1
            yield from _hop(number, hop, where, rules=rules, all_rules=all_rules)
    yield ""
    yield from _wrap(f"verdict: {path.verdict}", 0)
    yield from _conclusion(path)
    if path.relayed is not None:
        yield ""
        yield from lines(path.relayed, rules=rules, all_rules=all_rules)


def _conclusion(path: Path) -> Iterator[str]:
    if path.relayed is not None:
        yield from _wrap(
            f"proxy: {path.backend} handed the request on by a connection of its own", 0
        )
    elif path.verdict.kind == DELIVERED and path.backend_flow is not None:
        changed = _translated_source(path)
        yield from _wrap(f"backend saw: {path.source_seen}{changed}", 0)
    if path.verdict.rule is not None:
        yield from _wrap(f"rule: {_rule_words(path.verdict.rule)}", 0)
    if path.retransmissions:
        yield f"sent again: {path.retransmissions} ×"
    if path.copies:
        yield from _wrap(f"flooded copies: {', '.join(path.copies)}", 0)
    for words in path.unseen:
        yield from _wrap(f"not seen: {words}", 0)


def _translated_source(path: Path) -> str:
    places = path.masqueraded_at()
    if not places:
        return " (the client's own address)"
    return f" (the client's {path.flow.source} was replaced at {', '.join(places)})"


def _hop(number: int, hop: Hop, where: int, *, rules: bool, all_rules: bool) -> Iterator[str]:
    head = f"{number:3}  {_where(hop):<{where}}  {_time(hop.start):>9}  "
    yield from _wrap(f"{hop.before}", len(head), head)
    for nat in hop.nat:
        yield from _wrap(f"{nat}", len(head), " " * len(head))
    through = [name for name in hop.through if name not in (hop.interface_in, hop.interface_out)]
    details = []
    if through:
        details.append(f"through {', '.join(through)}")
    if hop.route is not None:
        details.append(f"route: {hop.route}")
    if details:
        yield from _wrap("; ".join(details), _INDENT)
    if rules:
        for hit in hop.rules:
            yield from _rule(hit, all_rules)
    if hop.conntrack is not None:
        yield from _wrap(f"conntrack: {_conntrack(hop.conntrack)}", _INDENT)


def _where(hop: Hop) -> str:
    return f"{hop.namespace}  {hop.interface_in or '·'} → {hop.interface_out or '·'}"


def _time(nanoseconds: int) -> str:
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1000:.0f} µs"
    return f"{nanoseconds / 1_000_000:.1f} ms"


def _rule(hit: RuleHit, all_rules: bool) -> Iterator[str]:
    if all_rules:
        for text in hit.tried:
            yield from _wrap(f"· {hit.table} {hit.chain}  {text}", _INDENT + 2)
    yield from _wrap(_rule_words(hit), _INDENT)
    for words in (hit.element and f"element {hit.element}", hit.meaning and f"= {hit.meaning}"):
        if words:
            yield from _wrap(words, _INDENT + 4)


def _rule_words(hit: RuleHit) -> str:
    text = hit.text or f"rule {hit.handle}"
    # A jump or an iptables target already stands in the rule's own words.
    told = hit.policy or hit.verdict in text or hit.verdict.split(" ")[-1] in text
    quiet = told or hit.verdict == "continue"
    return f"{hit.table} {hit.chain}  {text}{'' if quiet else f'  → {hit.verdict}'}"


def _conntrack(entry: ConntrackEntry) -> str:
    words = [f"{entry.original}, answers {entry.reply}"]
    if entry.state:
        words.append(entry.state)
    return " ".join(words)


def _wrap(words: str, indent: int, head: str = "") -> Iterable[str]:
    return textwrap.wrap(
        words,
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
    return f"{path.origin} → {target}: {path.verdict}{seen}"
