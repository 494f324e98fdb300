"""The words that text and pages share for the parts of a Path."""

from __future__ import annotations

import re
from collections.abc import Iterable

from testbed.flow.paths import DELIVERED, Hop, Nat, Path, RuleHit
from testbed.flow.tuples import endpoint
from testbed.report.stops import Place, places

#: About how wide a letter of a picture's names is, in its units.
CHARACTER = 7.0
_COMMENT = re.compile(r'-m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+) ?| ?comment "[^"]*"')


def elapsed(nanoseconds: int) -> str:
    """A time since the path's start: `15 µs`, `2.5 ms`, `1.2 s`."""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1000:.0f} µs"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1_000_000:.1f} ms"
    return f"{nanoseconds / 1_000_000_000:.1f} s"


def verdict(path: Path, known: Iterable[Place] = ()) -> str:
    """How it ended, with the Pod's and its node's names: `delivered to Pod web-0 on w1`."""
    end = path.verdict
    found = {place.name: place for place in (*places(path, known), *known)}
    place = found.get(end.where)
    if place is None or place.role != "pod":
        return str(end).replace("delivered at ", "delivered to ", 1)
    words = f"{place.title}{f' on {place.on}' if place.on else ''}"
    link = "to" if end.kind == DELIVERED else "at"
    rest = str(end).removeprefix(f"{end.kind} at {end.where}")
    return f"{end.kind} {link} {words}{rest}"


def source(path: Path) -> str:
    """What the backend saw of the client: `172.18.0.11 (not the client's 203.0.113.10: …)`.

    "" where nothing was delivered.
    """
    if not path.source_seen:
        return ""
    changed = path.masqueraded_at()
    if not changed:
        return f"{path.source_seen} (the client's own address)"
    return (
        f"{path.source_seen} (the client's {path.flow.source} was replaced at {_listed(changed)})"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def translation(nat: Nat) -> tuple[str, str]:
    """(`DNAT`, `destination 10.96.0.1:80 → 10.244.1.5:8080`); undone ones say so."""
    changes_destination = (nat.kind == "DNAT") is not nat.undone
    part = "destination" if changes_destination else "source"
    kind = f"{nat.kind} undone" if nat.undone else nat.kind
    return kind, f"{part} {nat.before} → {nat.after}"


def way(hop: Hop) -> str:
    """How the packet came and went: `w1-eth0 → veth1 (through cni0), next hop 172.18.0.1`."""
    between = [name for name in hop.through if name not in (hop.interface_in, hop.interface_out)]
    through = f" (through {', '.join(between)})" if between else ""
    if hop.interface_in and hop.interface_out:
        words = f"{hop.interface_in} → {hop.interface_out}{through}"
    elif hop.interface_out:
        words = f"leaves by {hop.interface_out}{through}"
    elif hop.interface_in:
        words = f"comes by {hop.interface_in}{through}"
    else:
        words = "stays here"
    route = hop.route
    if route is None:
        return words
    if route.error:
        return f"{words}; routing: {route.error}"
    if route.gateway:
        return f"{words}, next hop {route.gateway}"
    return f"{words}, switched" if route.kind == "bridged" else words


def rule(hit: RuleHit, *, whole: bool = True) -> str:
    """Where a rule stands, its text and what it does; without its comment unless `whole`."""
    text = hit.text or f"rule {hit.handle}"
    if not whole and hit.meaning:
        text = _COMMENT.sub("", text).strip() or text
    # A jump or an iptables target already stands in the rule's own words.
    told = hit.policy or hit.verdict in text or hit.verdict.split(" ")[-1] in text
    terminal = hit.verdict == "accept" and any(f"-j {each}" in text for each in _TARGETS)
    quiet = told or terminal or hit.rejects or hit.verdict == "continue"
    return f"{hit.table} {hit.chain}  {text}{'' if quiet else f'  → {hit.verdict}'}"


_TARGETS = ("ACCEPT", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "RETURN", "DROP", "REJECT")


def meaning(hit: RuleHit) -> str:
    """What a rule is for, without the arrow of a jump; "" where nobody knows.

    Of the endpoints that a map holds, only the one that was picked is named.
    """
    said = hit.meaning.removeprefix("→ ")
    odds, arrow, listed = said.partition(" each → ")
    if not arrow or not hit.element:
        return said
    wanted = _address(hit.element.partition(" : ")[2])
    chosen = [each for each in listed.split(", endpoint ") if f"{wanted} " in f"{each} "]
    if len(chosen) != 1:
        return said
    return f"{odds} → endpoint {chosen[0].removeprefix('endpoint ')}"


def _address(element: str) -> str:
    """`10.244.1.3 . 8080` as an endpoint is written: `10.244.1.3:8080`."""
    address, _, port = element.partition(" . ")
    return endpoint(address, int(port)) if port.isdigit() else address


def wrapped(name: str, width: float, lines: int = 3) -> tuple[str, ...]:
    """`name` in at most `lines` lines, cut behind a dash, a dot or a slash where it can be."""
    room = max(int(width / CHARACTER), 4)
    found: list[str] = []
    rest = name
    while len(rest) > room and len(found) < lines - 1:
        cut = max((rest.rfind(mark, 0, room) for mark in "-./:"), default=-1) + 1 or room
        found.append(rest[:cut])
        rest = rest[cut:]
    found.append(rest if len(rest) <= room else f"{rest[: room - 1]}…")
    return tuple(found)
