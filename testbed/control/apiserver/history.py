"""The events of one resource, kept for watches and lists that start in the past.

A watch doesn't have a queue: it remembers the version that it has seen and reads on from there. All
watches are told in one pass; those of the same key share one encoded piece, so that a watch costs
little more than a write to its connection. A reader that is too slow finds its place gone (410)
instead of filling memory.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control.apiserver.encoding import Encoder, encode
from testbed.control.selectors import Predicate
from testbed.control.store import Event, EventType

#: Events kept; twice as many are held before the older half goes.
KEPT = 5_000
#: Telling one watch costs about this long; while events keep coming, watches are told so seldom
#: that it takes no more than this share of the time, but never later than LATEST seconds.
TELL_SECONDS = 40e-6
TELL_SHARE = 0.05
LATEST = 0.02


class ExpiredError(ValueError):
    """The version asked for is older than what is kept; args: version, oldest kept."""


class Listener(Protocol):
    """A watch."""

    def tell(self) -> None:
        """Send what has happened since; must not block or raise."""


@dataclass(slots=True)
class Entry:
    """One event, and its encoded form once somebody needed it."""

    event: Event
    encoded: bytes = b""
    _last: Document | None = None

    @property
    def last(self) -> Document:
        """What a watch for which the object is gone is told: as it was before, at this version.

        Source: apiserver pkg/storage/cacher convertToWatchEvent.
        """
        if self._last is None:
            event = self.event
            before = event.old or event.object
            meta = {**before["metadata"], "resourceVersion": str(event.version)}
            self._last = {**before, "metadata": meta}
        return self._last


@dataclass(slots=True, eq=False)
class History:
    """What happened to one resource since `start` (a version)."""

    start: int
    encoder: Encoder
    _entries: list[Entry] = field(default_factory=list)
    _versions: list[int] = field(default_factory=list)
    _listeners: dict[Listener, None] = field(default_factory=dict)
    _chunks: dict[tuple[str, int], bytes] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None
    _scheduled: bool = False
    _last_told: float = 0.0

    def add(self, event: Event) -> None:
        """Remember `event` and see that the watches hear of it."""
        self._chunks.clear()
        self._entries.append(Entry(event))
        self._versions.append(event.version)
        if len(self._entries) > 2 * KEPT:
            self.start = self._versions[KEPT - 1]
            del self._entries[:KEPT], self._versions[:KEPT]
        if event.type is EventType.DELETED:
            self.encoder.forget(event.object)
        if self._listeners and self._loop is not None and not self._scheduled:
            self._schedule(self._loop)

    @property
    def last(self) -> int:
        """The version of the newest event."""
        return self._versions[-1] if self._versions else self.start

    def since(self, version: int) -> Sequence[Entry]:
        """The events after `version`; raises ExpiredError."""
        if version < self.start:
            raise ExpiredError(version, self.start)
        return self._entries[bisect.bisect_right(self._versions, version) :]

    def state(self, version: int, present: Sequence[Document]) -> Sequence[Document]:
        """All objects as they were at `version`; `present` are those of now. Raises ExpiredError.

        In order of namespace and name.
        """
        later = self.since(version)
        if not later:
            return present
        objects = {(namespace_of(each), name_of(each)): each for each in present}
        for entry in reversed(later):
            event = entry.event
            key = namespace_of(event.object), name_of(event.object)
            if event.old is None:
                objects.pop(key, None)
            else:
                objects[key] = event.old
        return [objects[key] for key in sorted(objects)]

    def chunk(self, key: str, seen: int, make: Callable[[], bytes]) -> bytes:
        """What `make` returns, once for all watches of the same `key` that have seen the same."""
        found = self._chunks.get((key, seen))
        if found is None:
            found = self._chunks[key, seen] = make()
        return found

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every change from now on; returns the call that ends it."""
        self._loop = asyncio.get_running_loop()
        self._listeners[listener] = None
        return lambda: self._listeners.pop(listener, None)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell the watches: at once after a pause, in batches while events keep coming."""
        self._scheduled = True
        pause = min(LATEST, len(self._listeners) * TELL_SECONDS / TELL_SHARE)
        delay = self._last_told + pause - loop.time()
        if delay > 0:
            loop.call_later(delay, self._tell, loop)
        else:
            loop.call_soon(self._tell, loop)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        self._last_told = loop.time()
        for listener in tuple(self._listeners):
            listener.tell()

    def line(self, entry: Entry, chosen: Predicate | None) -> tuple[str, Document] | None:
        """What a watch with selector `chosen` is told: (type, object); None for nothing.

        An object that a change makes selected is ADDED, one that it makes unselected DELETED.
        """
        event = entry.event
        gone = event.type is EventType.DELETED
        if chosen is None:
            return event.type.value, entry.last if gone else event.object
        now = not gone and chosen(event.object)
        before = event.old is not None and chosen(event.old)
        if now:
            return ("MODIFIED" if before else "ADDED"), event.object
        if before:
            return "DELETED", entry.last
        return None

    def encoded(self, entry: Entry, kind: str, document: Document) -> bytes:
        """The line of a watch, as JSON; shared between watches that are told the same."""
        if kind != entry.event.type.value:
            return encode_line(kind, encode(document))
        if not entry.encoded:
            gone = entry.event.type is EventType.DELETED
            data = encode(document) if gone else self.encoder.object(document)
            entry.encoded = encode_line(kind, data)
        return entry.encoded


def encode_line(kind: str, document: bytes) -> bytes:
    """One watch event as a line of JSON."""
    return b'{"type":"' + kind.encode() + b'","object":' + document + b"}\n"
