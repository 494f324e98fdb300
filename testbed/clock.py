"""One clock for everything that waits in real life: probe periods, propagation, affinity timeouts.

Code that waits takes a `Clock`; a scenario can hand it a `ManualClock` and step it.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio


class Timer(Protocol):
    """A call that has been scheduled and can be taken back."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Seconds since an arbitrary start, wall time for timestamps, and calls at a later time."""

    def now(self) -> float: ...

    def wall(self) -> float: ...

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer: ...


class _Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """A clock that moves only when told to; timers run in order, each at its own time."""

    def __init__(self, wall: float | None = None) -> None:
        self._now = 0.0
        self._wall_start = time.time() if wall is None else wall
        self._queue: list[tuple[float, int, _Timer, Callable[[], None]]] = []
        self._sequence = itertools.count()

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall_start + self._now

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        timer = _Timer()
        heapq.heappush(self._queue, (self._now + delay, next(self._sequence), timer, call))
        return timer

    def advance(self, seconds: float) -> None:
        """Move `seconds` on, running every timer that falls due on the way."""
        end = self._now + seconds
        while self._queue and self._queue[0][0] <= end:
            due, _, timer, call = heapq.heappop(self._queue)
            self._now = due
            if not timer.cancelled:
                call()
        self._now = end


class LabClock:
    """A running lab's clock: it goes by itself, and `advance` makes it jump.

    Timers run in the event loop `loop`; after a jump those that fell due run at once, in order.
    All methods belong to the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._skipped = 0.0
        self._queue: list[tuple[float, int, _Timer, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._wake: asyncio.TimerHandle | None = None

    def now(self) -> float:
        return self._loop.time() + self._skipped

    def wall(self) -> float:
        return time.time() + self._skipped

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        timer = _Timer()
        heapq.heappush(self._queue, (self.now() + delay, next(self._sequence), timer, call))
        self._arm()
        return timer

    @property
    def next_due(self) -> float | None:
        """When (as `now` tells it) the next timer falls due; None where none waits."""
        while self._queue and self._queue[0][2].cancelled:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def advance(self, seconds: float) -> None:
        """Jump `seconds` ahead; every timer that falls due on the way runs at its own time."""
        end = self.now() + seconds
        while self._queue and self._queue[0][0] <= end:
            self._skipped += max(0.0, self._queue[0][0] - self.now())
            self._run_due()
        self._skipped += max(0.0, end - self.now())
        self._arm()

    def _run_due(self) -> None:
        while self._queue and self._queue[0][0] <= self.now():
            _, _, timer, call = heapq.heappop(self._queue)
            if not timer.cancelled:
                call()
        self._arm()

    def _arm(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._queue:
            delay = max(0.0, self._queue[0][0] - self.now())
            self._wake = self._loop.call_later(delay, self._run_due)
