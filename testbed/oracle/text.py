"""Predictions as text for a terminal, 100 columns at most."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from testbed.api.objects import NamespacedName
from testbed.oracle.expectation import Backend, Expectation, Source, SourceKind, Verdict
from testbed.oracle.prediction import Prediction

WIDTH = 100
#: Backends written out for one flow before the rest is only counted.
SHOWN = 20


def describe(heading: str, predictions: list[Prediction], unknown: list[str]) -> str:
    """The whole answer: one flow in full, several as a table with their reasons below."""
    lines = [*_wrapped(heading, ""), ""]
    lines += outcome(predictions[0]) if len(predictions) == 1 else _many(predictions)
    if unknown:
        lines += ["", "not known from these objects"]
        lines += [line for entry in unknown for line in _wrapped(f"- {entry}", "  ", "    ")]
    return "\n".join(lines) + "\n"


# -- one flow


def outcome(prediction: Prediction) -> list[str]:
    """One flow's expectation in full: verdict and reason, backends, the source they see."""
    expectation = prediction.expectation
    lines = _wrapped(f"{_headline(prediction)}: {expectation.reason}", "", "  ")
    backends = expectation.backends
    delivered = expectation.verdict is Verdict.DELIVERED
    if backends:
        lines += _table(_backend_row(b, delivered) for b in backends[:SHOWN])
        if len(backends) > SHOWN:
            lines.append(f"  … and {len(backends) - SHOWN} more")
    if delivered:
        lines += _wrapped(f"source: {expectation.source_reason}", "", "  ")
    if expectation.affinity:
        text = (
            f"session affinity: a client stays with its backend while it comes back within "
            f"{expectation.affinity} s; {expectation.node} remembers it, other nodes don't"
        )
        lines += _wrapped(text, "", "  ")
    return lines


def _headline(prediction: Prediction) -> str:
    expectation = prediction.expectation
    words = str(expectation.verdict)
    count = len(expectation.backends)
    match expectation.verdict:
        case Verdict.DELIVERED:
            words += (
                f" by {expectation.node} to {'one of ' if count > 1 else ''}{count} "
                f"backend{'s' if count > 1 else ''}"
            )
        case Verdict.REFUSED:
            words += f" by {expectation.node} with an ICMP error, at once"
        case Verdict.DROPPED:
            words += f" by {expectation.node}, the client times out"
        case Verdict.NODE:
            words = f"for {expectation.node} itself"
        case Verdict.ROUTED:
            words = "routed on"
    if prediction.via:
        words = f"load balancer ({prediction.via}) → {prediction.entry}, {words}"
    if not prediction.in_rotation:
        words += " (the load balancer doesn't send here)"
    return words


def _backend_row(backend: Backend, delivered: bool) -> tuple[str, ...]:
    return (
        f"{backend.probability * 100:5.1f} %",
        backend.address,
        pod_name(backend.pod) if backend.pod else "no Pod named",
        f"on {backend.node}" if backend.node else "node not named",
        f"sees {_source(backend.source)}" if delivered else "",
    )


def pod_name(pod: NamespacedName) -> str:
    return f"pod/{pod.name}" if pod.namespace == "default" else f"pod/{pod}"


def _source(source: Source) -> str:
    if source.kind is SourceKind.UNCHANGED:
        return f"{source.address}, unchanged"
    return f"{source.node}'s address {source.address}".rstrip()


# -- many flows


def _many(predictions: list[Prediction]) -> list[str]:
    reasons: dict[str, int] = {}
    rows = [("to", "kind", "enters", "what happens", "source seen", "why")]
    for entries, prediction in _grouped(predictions):
        expectation = prediction.expectation
        why = f"{_mark(prediction)}{_of_any_node(expectation.reason, prediction.entry)}"
        if expectation.source_reason:
            why += f"; {expectation.source_reason}"
        number = reasons.setdefault(why, len(reasons) + 1)
        rows.append(
            (
                str(prediction.target),
                prediction.target.what + (f" ({prediction.via})" if prediction.via else ""),
                entries,
                _happens(prediction),
                _short_source(expectation),
                f"[{number}]",
            )
        )
    lines = _table(rows)
    lines.append("")
    for why, number in reasons.items():
        lines += _wrapped(f"[{number}] {why}", "  ", "    ")
    return lines


def _mark(prediction: Prediction) -> str:
    if not prediction.in_rotation:
        return "the balancer's health check fails on the node, so nothing should come; if it does: "
    return ""


def _grouped(predictions: list[Prediction]) -> Iterator[tuple[str, Prediction]]:
    """Nodes that do the same for one address share a line."""
    groups: dict[tuple[object, ...], list[Prediction]] = {}
    for prediction in predictions:
        expectation = prediction.expectation
        key = (
            str(prediction.target),
            prediction.via,
            prediction.in_rotation,
            expectation.verdict,
            _of_any_node(expectation.reason, prediction.entry),
            tuple(b.address for b in expectation.backends),
            tuple((b.source.kind, b.source.node == prediction.entry) for b in expectation.backends),
        )
        groups.setdefault(key, []).append(prediction)
    for members in groups.values():
        names = [p.entry or p.expectation.node for p in members]
        shown = ", ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "")
        yield shown, members[0]


def _of_any_node(reason: str, entry: str) -> str:
    """`reason` with the entry node's name taken out, so that it serves every such node."""
    if not entry:
        return reason
    return re.sub(rf"(?<![\w.-]){re.escape(entry)}(?![\w-]|\.\w)", "the node it enters", reason)


def _happens(prediction: Prediction) -> str:
    expectation = prediction.expectation
    if expectation.verdict is not Verdict.DELIVERED:
        return {Verdict.NODE: "the node itself", Verdict.ROUTED: "routed on"}.get(
            expectation.verdict, str(expectation.verdict)
        )
    names = [pod_name(b.pod)[4:] if b.pod else b.address for b in expectation.backends]
    more = f" +{len(names) - 2}" if len(names) > 2 else ""
    return f"→ {', '.join(names[:2])}{more}"


def _short_source(expectation: Expectation) -> str:
    kinds = {b.source for b in expectation.backends}
    if expectation.verdict is not Verdict.DELIVERED:
        return "–"
    if len(kinds) > 1:
        return "differs"
    source = kinds.pop()
    if source.kind is SourceKind.UNCHANGED:
        return source.address
    return "the node's" if source.node == expectation.node else f"{source.node}'s"


# -- layout


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their content; the widest gives way when a line would be too long."""
    cells = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while (excess := sum(widths) + 2 * len(widths) - WIDTH) > 0 and max(widths) > 8:
        widest = widths.index(max(widths))
        widths[widest] = max(8, widths[widest] - excess)
    lines = []
    for row in cells:
        padded = [_clipped(cell, width) for cell, width in zip(row, widths, strict=True)]
        lines.append(f"  {'  '.join(padded)}".rstrip())
    return lines


def _clipped(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"


def _wrapped(text: str, first: str, later: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )
