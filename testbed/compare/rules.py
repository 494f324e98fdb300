"""A node's rules as they are against the rules kube-proxy keeps: what is missing, what is foreign.

Both sides are texts: what `iptables-save` (without counters) or `nft -s list table` print.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

_COUNTERS = re.compile(r" \[\d+:\d+\]$")
#: (table, chain or set) → its lines in order.
Contents = Mapping[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule (or map element) that isn't as kube-proxy made it.

    `missing` is what should be there, `found` what stands in its place; one of them may be "".
    `whole` is "table" or "chain" where nothing at all of the table, or of the chain, is there.
    """

    table: str
    chain: str
    missing: str
    found: str
    whole: str = ""

    def __str__(self) -> str:
        place = f"{self.table} {self.chain}"
        if not self.missing:
            return f"{place} has a rule that kube-proxy didn't make: {self.found}"
        if not self.found:
            return f"missing in {place}: {self.missing}"
        return f"altered in {place}: {self.found} should be {self.missing}"


def changes(expected: str, actual: str) -> list[RuleChange]:
    """What differs, in the order of `expected`. Chains that only `actual` has don't count."""
    read = _nft if _is_nft(expected) else _iptables
    want, have = read(expected), read(actual)
    found: list[RuleChange] = []
    kept = {
        table for table, name in want if set(want[table, name]) & set(have.get((table, name), ()))
    }
    for (table, name), lines in want.items():
        ours = name.startswith("KUBE-") or read is _nft
        there = have.get((table, name), ())
        whole = "" if there else "table" if table not in kept else "chain" if lines[1:] else ""
        found += [replace(each, whole=whole) for each in _chain(table, name, lines, there, ours)]
    return found


def contents(rules: str) -> Contents:
    """The rules of every chain of a text of either kind; sets and maps of nft are left out."""
    if not _is_nft(rules):
        return _iptables(rules)
    chains = {line.split()[1] for line in rules.splitlines() if line.startswith("\tchain ")}
    return {key: lines for key, lines in _nft(rules).items() if key[1] in chains}


def _is_nft(text: str) -> bool:
    return text.lstrip().startswith("table ")


def _chain(
    table: str, name: str, want: Sequence[str], have: Sequence[str], ours: bool
) -> Iterator[RuleChange]:
    matcher = difflib.SequenceMatcher(None, have, want, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        gone, foreign = list(want[c:d]), list(have[a:b]) if ours else []
        for place in range(max(len(gone), len(foreign))):
            yield RuleChange(
                table,
                name,
                gone[place] if place < len(gone) else "",
                foreign[place] if place < len(foreign) else "",
            )


def _iptables(text: str) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            found.setdefault((table, line[1:].split(" ")[0]), [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            found.setdefault((table, chain), []).append(_COUNTERS.sub("", rule))
    return {key: tuple(lines) for key, lines in found.items()}


def _nft(text: str) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], list[str]] = {}
    table, current, dynamic = "", None, False
    lines = iter(text.splitlines())
    for line in lines:
        words = line.split()
        if words[:1] == ["table"]:
            table = f"{words[1]} {words[2]}"
        elif words[:1] and words[0] in ("chain", "set", "map") and words[-1] == "{":
            current = found.setdefault((table, words[1]), [])
            dynamic = False
        elif words == ["}"]:
            current = None
        elif current is None or not words:
            continue
        elif words[0] in ("flags", "size", "type", "timeout", "comment"):
            dynamic = dynamic or "dynamic" in line
            if words[0] == "type" and "hook" not in words:
                continue
            current.append(line.strip())
        elif words[0] == "elements":
            elements = _elements(line, lines)
            current += [] if dynamic else elements
        else:
            current.append(line.strip())
    return {key: tuple(lines) for key, lines in found.items()}


def _elements(line: str, rest: Iterator[str]) -> list[str]:
    """The elements of a set, in a fixed order; the listing goes on over several lines."""
    text = line.split("{", 1)[1]
    while "}" not in text.rsplit('"', 1)[-1]:
        text += " " + next(rest)
    inside = text.rsplit("}", 1)[0]
    parts = (re.sub(r"\s+", " ", part).strip() for part in inside.split(","))
    return sorted(filter(None, parts))
