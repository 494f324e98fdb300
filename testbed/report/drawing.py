"""Where things stand in a Path's two pictures. Pure geometry; the template turns it into SVG.

Both pictures are 360 units wide, so that they are readable on a phone and, side by side, on a desk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.flow.paths import DELIVERED, Hop, Path

WIDTH = 360
_BOX_HEIGHT, _BOX_GAP, _TOP = 40, 46, 10
_BOX_LEFT, _BOX_WIDTH = 90, 180
_ROW, _HEAD = 46, 44
_EDGE = 20


@dataclass(frozen=True, slots=True)
class Box:
    """A namespace: the upper edge, its name, what happened there."""

    y: int
    name: str
    marks: tuple[str, ...]
    role: str


@dataclass(frozen=True, slots=True)
class Wire:
    """A packet's way between two boxes (by their upper edges); `lost` where it led nowhere."""

    number: int
    y_from: int
    y_to: int
    left: str
    arrived: str
    kind: str
    lane: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Map:
    """The path on the namespaces that it crossed."""

    height: int
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]


@dataclass(frozen=True, slots=True)
class Arrow:
    """One row of the sequence diagram: from lifeline to lifeline, with the flow above it."""

    number: int
    y: int
    x_from: int
    x_to: int
    label: tuple[str, ...]
    marks: str
    kind: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Lifeline:
    x: int
    name: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """Forward and reply as rows between lifelines."""

    height: int
    lifelines: tuple[Lifeline, ...]
    arrows: tuple[Arrow, ...]


def places(path: Path) -> list[str]:
    """The namespaces of the path, each once, in the order in which the packet came to them."""
    return list(dict.fromkeys(hop.namespace for hop in (*path.hops, *path.reply)))


def draw_map(path: Path) -> Map:
    """Boxes below one another; forward wires on the left, reply wires on the right."""
    names = places(path)
    tops = {name: _TOP + place * (_BOX_HEIGHT + _BOX_GAP) for place, name in enumerate(names)}
    boxes = tuple(Box(tops[name], name, _marks(path, name), _role(path, name)) for name in names)
    wires = [
        *_wires(path.hops, tops, "forward", 1, _is_cut(path, "forward")),
        *_wires(path.reply, tops, "reply", len(path.hops) + 1, _is_cut(path, "reply")),
    ]
    height = _TOP * 2 + len(names) * (_BOX_HEIGHT + _BOX_GAP)
    return Map(height, boxes, tuple(wires))


def _is_cut(path: Path, direction: str) -> bool:
    if path.verdict.kind == DELIVERED:
        return False
    return path.verdict.direction == direction and not (direction == "forward" and path.reply)


def _marks(path: Path, name: str) -> tuple[str, ...]:
    kinds = [nat.kind for hop in path.hops if hop.namespace == name for nat in hop.nat]
    return tuple(dict.fromkeys(kinds))


def _role(path: Path, name: str) -> str:
    if name == path.verdict.where and path.verdict.kind != DELIVERED:
        return "cut"
    if name == path.backend:
        return "backend"
    return "origin" if name == path.origin else ""


def _wires(
    hops: Sequence[Hop], tops: dict[str, int], kind: str, first: int, cut: bool
) -> list[Wire]:
    wires = []
    for place, hop in enumerate(hops):
        following = hops[place + 1] if place + 1 < len(hops) else None
        lane = place % 2
        if following is not None:
            here, there = tops[hop.namespace], tops[following.namespace]
            names = hop.interface_out, following.interface_in
            wires.append(Wire(first + place, here, there, *names, kind, lane))
        elif cut and hop.interface_out:
            here = tops[hop.namespace]
            end = here + _BOX_HEIGHT + _BOX_GAP
            wires.append(Wire(first + place, here, end, hop.interface_out, "", kind, lane, True))
    return wires


def draw_sequence(path: Path) -> Diagram:
    """A row for every step from one namespace to the next, in order."""
    names = places(path)
    step = (WIDTH - 2 * _EDGE) // max(len(names) - 1, 1)
    xs = {name: _EDGE + place * step for place, name in enumerate(names)}
    ends = {names[0]: "start", names[-1]: "end"} if len(names) > 1 else {}
    lifelines = tuple(Lifeline(xs[name], name, ends.get(name, "middle")) for name in names)
    arrows: list[Arrow] = []
    y = _HEAD
    for kind, hops, first in (("forward", path.hops, 1), ("reply", path.reply, len(path.hops) + 1)):
        for place, hop in enumerate(hops):
            following = hops[place + 1] if place + 1 < len(hops) else None
            if following is None and not _is_cut(path, kind):
                continue
            y += _ROW
            target = xs[following.namespace] if following else xs[hop.namespace]
            arrows.append(_arrow(first + place, y, xs[hop.namespace], target, hop, kind, following))
    return Diagram(y + 24, lifelines, tuple(arrows))


def _arrow(
    number: int, y: int, x_from: int, x_to: int, hop: Hop, kind: str, following: Hop | None
) -> Arrow:
    words = str(hop.after)
    source, _, destination = words.partition(" > ")
    label = (words,) if len(words) <= 46 else (source, f"> {destination}")
    marks = ", ".join(f"{'un-' if nat.undone else ''}{nat.kind}" for nat in hop.nat)
    lost = following is None
    if lost:
        x_to = min(x_from + 24, WIDTH - 8) if kind == "forward" else max(x_from - 24, 8)
    elif x_from == x_to:
        x_to = x_from + 14
    return Arrow(number, y, x_from, x_to, label, marks, kind, lost)
