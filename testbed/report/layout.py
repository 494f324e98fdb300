"""Where the boxes, lanes and networks of a drawn path stand.

Clients stand above the router and the load balancer, nodes below them, Pods below their nodes; the
packet's way runs between the rows, through lanes of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from testbed.flow.paths import DELIVERED, Path
from testbed.report.stops import FORWARD, Place, Stop, is_cut
from testbed.report.words import CHARACTER, wrapped

WIDTH = 360
LINE = 13
LANE = 15
#: Between the lines of packets that cross from the router to its neighbour and back.
SIDE = 20
#: Above the first row and below the last.
TOP = 12
#: Columns below the router; more nodes than that are only counted.
_COLUMNS = 4
_ROWS = {"client": 0, "router": 1, "balancer": 1, "host": 1, "node": 2, "pod": 3}
_PAD, _MARGIN, _GAP, _SLOT = 15, 5, 44, 24


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
class Band:
    """A network between two rows, with the names of its switches; `idle` lines lead to it."""

    y: float
    height: float
    name: str


@dataclass(slots=True)
class Segment:
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

    @property
    def turns(self) -> bool:
        """It ends beside where it began: its way across needs a lane."""
        return abs(self.x[0] - self.x[1]) > 0.5

    def ends(self) -> Iterable[tuple[int, Box, Box]]:
        """(0 or 1, the box there, the box at the other end)."""
        yield 0, self.start, self.end or self.start
        if self.end is not None:
            yield 1, self.end, self.start


def chosen(path: Path, met: list[Place], known: list[Place]) -> tuple[list[Place], int]:
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


def boxes_of(path: Path, listed: Sequence[Stop], shown: Sequence[Place]) -> dict[str, Box]:
    """The boxes by name, with their places across; `stack` sets them one below the other."""
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


def segments_of(path: Path, listed: Sequence[Stop], boxes: dict[str, Box]) -> list[Segment]:
    """The path's pieces from box to box, and the one on which the packet got lost."""
    found = []
    for place, stop in enumerate(listed):
        following = listed[place + 1] if place + 1 < len(listed) else None
        start = boxes[stop.place.name]
        if following is not None and following.direction == stop.direction:
            end = boxes[following.place.name]
            found.append(Segment(stop, start, end, _gap(start, end)))
        elif is_cut(path, stop.direction) and stop.hop.interface_out:
            found.append(Segment(stop, start, None, _lost_gap(stop, listed, start)))
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


def _place_slots(segments: Sequence[Segment]) -> None:
    """Spread the ends along the boxes' edges, towards where they lead."""
    uses: dict[tuple[str, bool], list[tuple[tuple[float, bool, int], Segment, int, Box]]] = {}
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


def assign_lanes(segments: Sequence[Segment]) -> dict[int, int]:
    """Give every segment that turns a lane of its gap, with few crossings; lanes by gap."""
    count: dict[int, int] = {}
    for gap in range(4):
        turning = [s for s in segments if s.gap == gap and s.end and not s.sideways and s.turns]
        count[gap] = len(turning)
        orders = itertools.islice(itertools.permutations(range(len(turning))), 720)
        best = min(orders, key=lambda order: _crossings(turning, order), default=())
        for segment, lane in zip(turning, best, strict=True):
            segment.lane = lane
    return count


def _crossings(turning: Sequence[Segment], lanes: Sequence[int]) -> int:
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


def stack(
    boxes: dict[str, Box], segments: Sequence[Segment], lanes: dict[int, int]
) -> dict[int, Band]:
    """Set the rows one below the other; the networks between them, by gap."""
    bands: dict[int, Band] = {}
    rows = sorted({box.row for box in boxes.values()})
    if rows and rows[0] == 2 and lanes.get(1):
        rows.insert(0, 1)  # nodes and Pods only: their network is above them all the same
    y = float(TOP)
    for row in rows:
        here = [box for box in boxes.values() if box.row == row]
        beside = [each for each in segments if each.sideways and each.start.row == row]
        for lane, segment in enumerate(beside):
            segment.lane = lane
        tall = max((box.height for box in here), default=-_GAP / 2)
        tall = max(tall, 24 + SIDE * len(beside)) if beside else tall
        for box in here:
            box.y, box.height = y, tall
        y += tall
        thick = max(lanes.get(row, 0), 1 if row == 1 else 0) * LANE
        if row == 1 or lanes.get(row):
            names = dict.fromkeys(
                hop.namespace for s in segments if s.gap == row for hop in s.stop.switches
            )
            if rows[-1] > row or lanes.get(row):
                bands[row] = Band(y + _GAP / 2 - 2, thick + 4, ", ".join(names))
        y += _GAP + thick
    return bands
