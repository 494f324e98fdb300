"""Forward and reply in time, as rows between lifelines. Pure geometry, 360 units wide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.flow.paths import Path
from testbed.report.layout import LINE, WIDTH
from testbed.report.stops import FORWARD, Place, Stop, is_cut, places, stops
from testbed.report.words import wrapped

_EDGE = 40
_ROW, _TOP = 36, 8
_CHARACTER = 6.4


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A place's line, its name above it."""

    x: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """What changed at a lifeline: a line of text in a box."""

    x: float
    y: float
    width: float
    words: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """One step: from lifeline to lifeline, with the flow above it; `lost` where it led nowhere."""

    number: int
    y: float
    x_from: float
    x_to: float
    label: tuple[str, ...]
    direction: str
    lost: bool = False
    last: int = 0


@dataclass(frozen=True, slots=True)
class Diagram:
    """The rows, from top to bottom. `head` is where the lifelines begin."""

    height: float
    head: float
    lifelines: tuple[Lifeline, ...]
    arrows: tuple[Arrow, ...]
    notes: tuple[Note, ...]
    cross: tuple[float, float] | None


def draw_sequence(path: Path, known: Iterable[Place] = ()) -> Diagram:
    """A row for every step from one place to the next, in order, translations between them."""
    met = places(path, known)
    step = (WIDTH - 2 * _EDGE) / max(len(met) - 1, 1)
    xs = {place.name: _EDGE + number * step for number, place in enumerate(met)}
    room = min(step, 2 * _EDGE + 24) if len(met) > 1 else WIDTH
    lifelines = tuple(Lifeline(xs[p.name], wrapped(p.short, room - 2, 4)) for p in met)
    head = _TOP + LINE * max((len(line.lines) for line in lifelines), default=0) + 4
    rows = _Rows(path, xs, head + 4)
    listed = stops(path, known)
    for place, stop in enumerate(listed):
        rows.add(stop, listed[place + 1] if place + 1 < len(listed) else None)
    return Diagram(rows.y + 20, head, lifelines, tuple(rows.arrows), tuple(rows.notes), rows.cross)


class _Rows:
    """Sets one row below the other."""

    def __init__(self, path: Path, xs: dict[str, float], y: float) -> None:
        self._path = path
        self._xs = xs
        self.y = y
        self.arrows: list[Arrow] = []
        self.notes: list[Note] = []
        self.cross: tuple[float, float] | None = None

    def add(self, stop: Stop, following: Stop | None) -> None:
        """The translations of `stop`, and the arrow to the stop that follows it."""
        here = self._xs[stop.place.name]
        self.y += 5 if stop.hop.nat else 0
        for nat in stop.hop.nat:
            self._note(here, f"{'un-' if nat.undone else ''}{nat.kind} → {nat.after}")
        onward = following is not None and following.direction == stop.direction
        cut = is_cut(self._path, stop.direction)
        if not onward and not cut:
            return
        if not onward and not stop.hop.interface_out:
            self.y += 22
            self.cross = (here, self.y)
            return
        label = _label(stop)
        self.y += _ROW + LINE * (len(label) - 1)
        if onward and following is not None:
            there = self._xs[following.place.name]
            there += 16 if there == here else 0
            ends = following.number if following.hop.interface_out == "" else 0
        else:
            there = here + (30 if stop.direction == FORWARD and here < WIDTH - 50 else -30)
            ends = 0
        arrow = Arrow(stop.number, self.y, here, there, label, stop.direction, not onward, ends)
        self.arrows.append(arrow)

    def _note(self, x: float, words: str) -> None:
        self.y += 19
        width = len(words) * _CHARACTER + 12
        left = min(max(x - width / 2, 2), max(WIDTH - width - 2, 2))
        self.notes.append(Note(left, self.y - 8, min(width, WIDTH - 4), words))


def _label(stop: Stop) -> tuple[str, ...]:
    words = str(stop.hop.after)
    source, _, destination = words.partition(" > ")
    return (words,) if len(words) <= 48 else (source, f"> {destination}")
