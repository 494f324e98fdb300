"""What has happened in a keeper and the control plane hasn't confirmed yet."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from testbed.runtime.logs import SIZE_LIMIT

#: What an event takes beside its text, in bytes.
_OVERHEAD = 512
#: How many dropped events may be on the list of those to send.
_SLACK = 1000
#: Of one key: as many unconfirmed bytes stop its output from being read, so many let it go on.
FULL, ROOM = 1 << 20, 1 << 19


@dataclass(frozen=True, slots=True)
class _Event:
    key: str
    text: bytes
    #: How a program ended: never dropped.
    is_last: bool

    @property
    def size(self) -> int:
        return len(self.text) + _OVERHEAD


class Outbox:
    """Numbered events, each kept until it is confirmed; belongs to the event loop's thread.

    A key's events take SIZE_LIMIT bytes at most: its oldest go first, never that of its end.
    `changed(key)` is told when `is_full(key)` may have changed.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._number = 0
        #: By number, in order.
        self._events: dict[int, _Event] = {}
        #: The numbers of each key's events that may be dropped, and the bytes that they take.
        self._droppable: dict[str, deque[int]] = {}
        self._sizes: dict[str, int] = {}
        self._unsent: deque[int] = deque()
        self._more = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    def add(self, key: str, **event: Any) -> None:
        """Something has happened to `key`."""
        self._number += 1
        text = json.dumps({"number": self._number, "key": key, **event}).encode() + b"\n"
        added = self._events[self._number] = _Event(key, text, "exited" in event)
        if self._sender is not None:
            self._unsent.append(self._number)
            if len(self._unsent) > 2 * len(self._events) + _SLACK:
                self._unsent = deque(n for n in self._unsent if n in self._events)
        if not added.is_last:
            self._droppable.setdefault(key, deque()).append(self._number)
            self._sizes[key] = self._sizes.get(key, 0) + added.size
            while self._sizes[key] > SIZE_LIMIT:
                self._remove(self._droppable[key][0])
        self._more.set()
        self._changed(key)

    def confirmed(self, number: int) -> None:
        """Everything up to `number` has arrived."""
        keys = set()
        while self._events and (first := next(iter(self._events))) <= number:
            keys.add(self._events[first].key)
            self._remove(first)
        for key in keys:
            self._changed(key)

    def forget(self, key: str) -> None:
        """Nobody is to hear of `key`."""
        for number in [n for n, event in self._events.items() if event.key == key]:
            self._remove(number)

    def _remove(self, number: int) -> None:
        event = self._events.pop(number)
        if event.is_last:
            return
        numbers = self._droppable[event.key]
        numbers.remove(number)  # it is the first of them
        self._sizes[event.key] -= event.size
        if not numbers:
            del self._droppable[event.key], self._sizes[event.key]

    def is_full(self, key: str, *, was: bool) -> bool:
        """Whether a listener is behind with `key`, so that no more of it should be read."""
        if self._sender is None:
            return False
        return self._sizes.get(key, 0) >= (ROOM if was else FULL)

    def ended(self) -> list[str]:
        """The keys whose end isn't confirmed."""
        return [event.key for event in self._events.values() if event.is_last]

    # the listener

    def send_to(self, writer: asyncio.StreamWriter | None) -> None:
        """Send all to `writer` from now on, at its pace; None: to nobody."""
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        if writer is not None:
            self._unsent = deque(self._events)
            self._sender = asyncio.get_running_loop().create_task(self._send(writer))
        for key in list(self._sizes):
            self._changed(key)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                while self._unsent:
                    event = self._events.get(self._unsent.popleft())
                    if event is not None:
                        writer.write(event.text)
                        await writer.drain()
                self._more.clear()
                await self._more.wait()
