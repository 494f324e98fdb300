"""The path drawn on its topology. Pure geometry; templates/map.svg.j2 turns it into SVG.

Clients stand above the router and the load balancer, nodes below them, Pods below their nodes; the
packet's way runs between them as on a metro map, through lanes of its own. The picture is 360 units
wide, so that it is readable on a phone and, beside the sequence, on a desk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from testbed.flow.paths import DELIVERED, Path
from testbed.report.stops import FORWARD, Place, Stop, is_cut, places, stops
from testbed.report.words import CHARACTER, wrapped

WIDTH = 360
LINE = 13
_ROWS = {"client": 0, "router": 1, "balancer": 1, "host": 1, "node": 2, "pod": 3}
_PAD, _MARGIN, _TOP = 15, 5, 12
_GAP, _LANE, _SLOT = 44, 15, 24
_STUB, _CORNER = 26, 6
#: Between the lines of packets that cross from the router to its neighbour and back.
_SIDE = 20
#: Columns below the router; more nodes than that are only counted.
_COLUMNS = 4


@dataclass(slots=True)
class Box:
    """A namespace: its left upper corner, size, the lines of its name, what happened there."""

    place: Place
    row: int
    x: float
    width: float
    lines: tuple[str, ...]
    marks: tuple[str, ...] = ()
    caption: str = ""
    state: str = "idle"
    y: float = 0
    height: float = 0

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


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
class Band:
    """A network between two rows, with the names of its switches; `idle` lines lead to it."""

    y: float
    height: float
    name: str


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


@dataclass(slots=True)
class _Segment:
    """From one stop to the next, or into nowhere (`end` None). `gap` is the row above its lanes."""

    stop: Stop
    start: Box
    end: Box | None
    gap: int = 0
    lane: int = 0
    x: list[float] = field(default_factory=lambda: [0.0, 0.0])

    @property
    def sideways(self) -> bool:
        """Between neighbours in the router's row: no lane is needed."""
        return self.end is not None and self.start.row == self.end.row == 1

    def ends(self) -> Iterable[tuple[int, Box, Box]]:
        """(0 or 1, the box there, the box at the other end)."""
        yield 0, self.start, self.end or self.start
        if self.end is not None:
            yield 1, self.end, self.start


def draw_map(path: Path, known: Iterable[Place] = ()) -> Map:
    """The path on `known` places and those that it crossed."""
    listed = stops(path, known)
    shown, more = _chosen(path, places(path, known), list(known))
    boxes = _boxes(path, listed, shown)
    segments = _segments(path, listed, boxes)
    lanes = _assign_lanes(segments)
    bands = _stack(boxes, segments, lanes)
    left = {segment.stop.number for segment in segments}
    wires = [_wire(each, bands, 9 if each.stop.number + 1 not in left else 0) for each in segments]
    badges = _badges(listed, segments, boxes)
    height = max((box.y + box.height for box in boxes.values()), default=0) + _TOP
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


def _chosen(path: Path, met: list[Place], known: list[Place]) -> tuple[list[Place], int]:
    """The places to draw: those of the path, then others while there is room."""
    names = {place.name for place in met}
    pods = [place for place in met if place.role == "pod"]
    nodes = [place for place in met if place.role == "node"]
    units = sum(max(1, sum(pod.on == node.name for pod in pods)) for node in nodes)
    others = [p for p in known if p.name not in names and p.role not in ("pod", "switch")]
    spare = [place for place in others if place.role == "node"]
    room = spare[: max(_COLUMNS - units, 0)]
    rest = [place for place in others if place.role != "node"][:4]
    return [*met, *room, *rest], len(spare) - len(room)


def _boxes(path: Path, listed: Sequence[Stop], shown: Sequence[Place]) -> dict[str, Box]:
    """The boxes by name, with their places across; `_stack` sets them one below the other."""
    rows: list[list[Place]] = [
        [p for p in shown if _ROWS.get(p.role, 1) == row] for row in range(4)
    ]
    rows[1].sort(key=lambda place: (place.role != "router", place.name))
    rows[2].sort(key=lambda place: place.name)
    spans: dict[str, tuple[float, float]] = {}
    nodes = {place.name for place in rows[2]}
    strays = [pod for pod in rows[3] if pod.on not in nodes]
    units = [max(1, sum(pod.on == node.name for pod in rows[3])) for node in rows[2]]
    unit = WIDTH / max(sum(units) + len(strays), 1)
    left = 0.0
    for node, count in zip(rows[2], units, strict=True):
        spans[node.name] = (left, count * unit)
        for number, pod in enumerate(pod for pod in rows[3] if pod.on == node.name):
            spans[pod.name] = (left + number * unit, unit)
        left += count * unit
    for number, pod in enumerate(strays):
        spans[pod.name] = (left + number * unit, unit)
    for row in (1, 0):
        width = WIDTH / max(len(rows[row]), 1)
        spans |= {place.name: (n * width, width) for n, place in enumerate(rows[row])}
    if len(rows[0]) == 1 and rows[1]:
        spans[rows[0][0].name] = spans[rows[1][0].name]
    return {
        place.name: _box(path, listed, place, row, *spans[place.name])
        for row in range(4)
        for place in rows[row]
    }


def _box(
    path: Path, listed: Sequence[Stop], place: Place, row: int, left: float, width: float
) -> Box:
    inner = min(width - 2 * _MARGIN, 130.0)
    x = left + (width - inner) / 2
    nats = [
        nat.kind
        for stop in listed
        for nat in stop.hop.nat
        if stop.place.name == place.name and not nat.undone
    ]
    marks = tuple(dict.fromkeys(nats))
    joined = " + ".join(marks)
    if marks and len(joined) * CHARACTER < inner - 8:
        marks = (joined,)
    box = Box(place, row, x, inner, wrapped(place.short, inner - 8), marks)
    box.caption = {"client": "client", "pod": "Pod", "balancer": "load balancer"}.get(
        place.role, place.role
    )
    if box.caption == place.name:
        box.caption = ""
    if any(stop.place.name == place.name for stop in listed):
        box.state = "met"
    if place.name == path.verdict.where and path.verdict.kind != DELIVERED:
        box.state, box.caption = "cut", path.verdict.kind
    elif path.verdict.kind == DELIVERED and place.name == path.backend:
        box.state = "backend"
    box.height = 2 * _PAD + LINE * (len(box.lines) + len(box.marks) + bool(box.caption)) - 4
    return box


def _segments(path: Path, listed: Sequence[Stop], boxes: dict[str, Box]) -> list[_Segment]:
    found = []
    for place, stop in enumerate(listed):
        following = listed[place + 1] if place + 1 < len(listed) else None
        start = boxes[stop.place.name]
        if following is not None and following.direction == stop.direction:
            end = boxes[following.place.name]
            found.append(_Segment(stop, start, end, _gap(start, end)))
        elif is_cut(path, stop.direction) and stop.hop.interface_out:
            found.append(_Segment(stop, start, None, _lost_gap(stop, listed, start)))
    _place_slots(found)
    return found


def _gap(start: Box, end: Box) -> int:
    if start.row == end.row:
        return 1 if start.row == 2 else max(start.row - 1, 0)
    return min(start.row, end.row)


def _lost_gap(stop: Stop, listed: Sequence[Stop], start: Box) -> int:
    """Out of the side where the packet didn't come in; down where nothing is known."""
    before = next((s for s in listed if s.number == stop.number - 1), None)
    from_above = before is None or _ROWS.get(before.place.role, 1) < start.row
    return start.row if from_above else max(start.row - 1, 0)


def _place_slots(segments: Sequence[_Segment]) -> None:
    """Spread the ends along the boxes' edges, towards where they lead."""
    uses: dict[tuple[str, bool], list[tuple[tuple[float, bool, int], _Segment, int, Box]]] = {}
    for segment in segments:
        if segment.sideways:
            continue
        for end, box, other in segment.ends():
            key = (other.middle, segment.stop.direction != FORWARD, segment.stop.number)
            below = segment.gap >= box.row
            uses.setdefault((box.place.name, below), []).append((key, segment, end, box))
    for listed in uses.values():
        listed.sort(key=lambda use: use[0])
        for place, (_, segment, end, box) in enumerate(listed):
            step = min(_SLOT, (box.width - 8) / len(listed))
            segment.x[end] = box.middle + (place - (len(listed) - 1) / 2) * step


def _assign_lanes(segments: Sequence[_Segment]) -> dict[int, int]:
    """Give every segment that turns a lane of its gap, with few crossings; lanes by gap."""
    count: dict[int, int] = {}
    for gap in range(4):
        turning = [s for s in segments if s.gap == gap and s.end and not s.sideways and _turns(s)]
        count[gap] = len(turning)
        orders = itertools.islice(itertools.permutations(range(len(turning))), 720)
        best = min(orders, key=lambda order: _crossings(turning, order), default=())
        for segment, lane in zip(turning, best, strict=True):
            segment.lane = lane
    return count


def _turns(segment: _Segment) -> bool:
    return abs(segment.x[0] - segment.x[1]) > 0.5


def _crossings(turning: Sequence[_Segment], lanes: Sequence[int]) -> int:
    """How often a vertical piece of one crosses the horizontal piece of another."""
    total = 0
    for one, mine in zip(turning, lanes, strict=True):
        low, high = sorted(one.x)
        for other, lane in zip(turning, lanes, strict=True):
            if other is one:
                continue
            for end, box, _ in other.ends():
                above = box.row <= other.gap
                reaches = lane >= mine if above else lane <= mine
                total += reaches and low < other.x[end] < high
    return total


def _stack(
    boxes: dict[str, Box], segments: Sequence[_Segment], lanes: dict[int, int]
) -> dict[int, Band]:
    """Set the rows one below the other; the networks between them, by gap."""
    bands: dict[int, Band] = {}
    rows = sorted({box.row for box in boxes.values()})
    if rows and rows[0] == 2 and lanes.get(1):
        rows.insert(0, 1)  # nodes and Pods only: their network is above them all the same
    y = float(_TOP)
    for row in rows:
        here = [box for box in boxes.values() if box.row == row]
        beside = [each for each in segments if each.sideways and each.start.row == row]
        for lane, segment in enumerate(beside):
            segment.lane = lane
        tall = max((box.height for box in here), default=-_GAP / 2)
        tall = max(tall, 24 + _SIDE * len(beside)) if beside else tall
        for box in here:
            box.y, box.height = y, tall
        y += tall
        thick = max(lanes.get(row, 0), 1 if row == 1 else 0) * _LANE
        if row == 1 or lanes.get(row):
            names = dict.fromkeys(
                hop.namespace for s in segments if s.gap == row for hop in s.stop.switches
            )
            if rows[-1] > row or lanes.get(row):
                bands[row] = Band(y + _GAP / 2 - 2, thick + 4, ", ".join(names))
        y += _GAP + thick
    return bands


def _edge(box: Box, gap: int) -> float:
    return box.y + box.height if gap >= box.row else box.y


def _wire(segment: _Segment, bands: dict[int, Band], short: int) -> Wire:
    """The way of one segment; its arrow ends `short` of the box, where a badge stands."""
    stop, start, end = segment.stop, segment.start, segment.end
    x, y = segment.x[0], _edge(start, segment.gap)
    if end is None:
        down = segment.gap >= start.row
        far = y + (_STUB if down else -_STUB)
        return Wire(stop.number, stop.direction, f"M{x:g} {y:g}V{far:g}", (x, far))
    if segment.sideways:
        right = end.x > start.x
        level = start.y + 12 + (segment.lane + 0.5) * _SIDE
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
    if not _turns(segment):
        return Wire(stop.number, stop.direction, f"M{x:g} {y:g}V{bottom:g}", None, head)
    level = bands[segment.gap].y + 2 + (segment.lane + 0.5) * _LANE
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
    listed: Sequence[Stop], segments: Sequence[_Segment], boxes: dict[str, Box]
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
