"""The path drawn on its topology. Pure geometry; templates/map.svg.j2 turns it into SVG.

The packet's way runs through the rows of `layout.py` as on a metro map. The picture is 360 units
wide, so that it is readable on a phone and, beside the sequence, on a desk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.flow.paths import Path
from testbed.report.layout import (
    LANE,
    SIDE,
    TOP,
    Band,
    Box,
    Segment,
    assign_lanes,
    boxes_of,
    chosen,
    segments_of,
    stack,
)
from testbed.report.stops import Place, Stop, places, stops

_STUB, _CORNER = 26, 6


@dataclass(frozen=True, slots=True)
class Badge:
    """A stop's number where its packet leaves the box, or where it stays."""

    number: int
    x: float
    y: float
    direction: str
    title: str


@dataclass(frozen=True, slots=True)
class Wire:
    """A packet's way from box to box as SVG path data, with the arrow's `head`.

    `cross` is where the packet got lost.
    """

    number: int
    direction: str
    data: str
    cross: tuple[float, float] | None = None
    head: str = ""


@dataclass(frozen=True, slots=True)
class Map:
    """The path on the topology. `more` nodes are not drawn."""

    height: float
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    badges: tuple[Badge, ...]
    bands: tuple[Band, ...]
    idle: tuple[str, ...]
    more: int


def draw_map(path: Path, known: Iterable[Place] = ()) -> Map:
    """The path on `known` places and those that it crossed."""
    listed = stops(path, known)
    shown, more = chosen(path, places(path, known), list(known))
    boxes = boxes_of(path, listed, shown)
    segments = segments_of(path, listed, boxes)
    lanes = assign_lanes(segments)
    bands = stack(boxes, segments, lanes)
    left = {segment.stop.number for segment in segments}
    wires = [_wire(each, bands, 9 if each.stop.number + 1 not in left else 0) for each in segments]
    badges = _badges(listed, segments, boxes)
    height = max((box.y + box.height for box in boxes.values()), default=0) + TOP
    lost = [wire.cross[1] + 10 for wire in wires if wire.cross]
    idle = tuple(_idle_lines(boxes, bands))
    return Map(
        max([height, *lost]),
        tuple(boxes.values()),
        tuple(wires),
        badges,
        tuple(bands.values()),
        idle,
        more,
    )


def _edge(box: Box, gap: int) -> float:
    return box.y + box.height if gap >= box.row else box.y


def _wire(segment: Segment, bands: dict[int, Band], short: int) -> Wire:
    """The way of one segment; its arrow ends `short` of the box, where a badge stands."""
    stop, start, end = segment.stop, segment.start, segment.end
    x, y = segment.x[0], _edge(start, segment.gap)
    if end is None:
        down = segment.gap >= start.row
        far = y + (_STUB if down else -_STUB)
        return Wire(stop.number, stop.direction, f"M{x:g} {y:g}V{far:g}", (x, far))
    if segment.sideways:
        right = end.x > start.x
        level = start.y + 12 + (segment.lane + 0.5) * SIDE
        x = start.x + start.width if right else start.x
        segment.x[:] = [x, level]
        far = end.x if right else end.x + end.width
        tip = far - short if right else far + short
        head = f"M{tip:g} {level:g}l{-9 if right else 9} -4.5v9z"
        return Wire(stop.number, stop.direction, f"M{x:g} {level:g}H{far:g}", None, head)
    target, bottom = segment.x[1], _edge(end, segment.gap)
    down = end.row > segment.gap
    point = bottom - short if down else bottom + short
    head = f"M{target:g} {point:g}l-4.5 {-9 if down else 9}h9z"
    if not segment.turns:
        return Wire(stop.number, stop.direction, f"M{x:g} {y:g}V{bottom:g}", None, head)
    level = bands[segment.gap].y + 2 + (segment.lane + 0.5) * LANE
    data = _bent(x, y, level, target, bottom)
    return Wire(stop.number, stop.direction, data, None, head)


def _bent(x: float, y: float, level: float, target: float, bottom: float) -> str:
    """Up or down to `level`, across, and up or down, with round corners."""
    first = _CORNER if level > y else -_CORNER
    second = _CORNER if bottom > level else -_CORNER
    across: float = _CORNER if target > x else -_CORNER
    if abs(target - x) < 2 * _CORNER:
        across = (target - x) / 2
    return (
        f"M{x:g} {y:g}V{level - first:g}Q{x:g} {level:g} {x + across:g} {level:g}"
        f"H{target - across:g}Q{target:g} {level:g} {target:g} {level + second:g}V{bottom:g}"
    )


def _badges(
    listed: Sequence[Stop], segments: Sequence[Segment], boxes: dict[str, Box]
) -> tuple[Badge, ...]:
    leaving = {segment.stop.number: segment for segment in segments}
    found = []
    for stop in listed:
        title = f"{stop.number} {stop.place.title}: {stop.hop.after}"
        box = boxes[stop.place.name]
        if segment := leaving.get(stop.number):
            x, y = segment.x[0], _edge(box, segment.gap)
            if segment.sideways:
                x, y = segment.x
        elif arrived := leaving.get(stop.number - 1):
            x, y = arrived.x[1], _edge(box, arrived.gap)
            if arrived.sideways:
                x, y = (box.x if box.x > arrived.start.x else box.x + box.width), arrived.x[1]
        else:
            x, y = box.middle, box.y
        found.append(Badge(stop.number, x, y, stop.direction, title))
    return tuple(found)


def _idle_lines(boxes: dict[str, Box], bands: dict[int, Band]) -> Iterable[str]:
    """Cables that the packet didn't take: to the band below, to the row below, to the router."""
    router = next((box for box in boxes.values() if box.place.role == "router"), None)
    for box in boxes.values():
        if box.state != "idle":
            continue
        if box.row == 2 and 1 in bands:
            yield f"M{box.middle:g} {box.y:g}V{bands[1].y + bands[1].height:g}"
        elif box.row == 1 and box is not router and router is not None:
            yield f"M{box.x:g} {box.y + box.height / 2:g}H{router.x + router.width:g}"
        elif box.row == 1 and 1 in bands:
            yield f"M{box.middle:g} {box.y + box.height:g}V{bands[1].y:g}"
        elif box.row == 0 and router is not None:
            yield f"M{box.middle:g} {box.y + box.height:g}L{router.middle:g} {router.y:g}"
