"""One watch: what a client is told about one resource from a version on.

Source: apiserver pkg/storage/cacher, KEP-3157 (watch-list).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from testbed.api import status
from testbed.api.documents import Document
from testbed.api.resources import ResourceType
from testbed.control.apiserver.encoding import encode
from testbed.control.apiserver.history import Entry, ExpiredError, History, encode_line
from testbed.control.apiserver.lists import resource_version, too_large_version
from testbed.control.apiserver.requests import flag, number
from testbed.control.selectors import Predicate
from testbed.control.store import Store

BOOKMARK_SECONDS = 60.0
#: A watch without timeoutSeconds lasts this long, up to twice. Source: MinRequestTimeout.
SHORTEST_SECONDS = 1800
INITIAL_END = "k8s.io/initial-events-end"

#: Encodes an object in the form that the client asked for (None: as it is stored).
Rendering = Callable[[Document], bytes]


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What is watched: `start` is a version, or None for the present state first.

    `version` is how new that state has to be.

    Watches with the same `key` are told the same; "" where a watch shares with none.
    """

    resource: ResourceType
    namespace: str | None
    name: str
    chosen: Predicate | None
    start: int | None
    version: int
    initial_end: bool
    bookmarks: bool
    seconds: float
    rendering: Rendering | None
    key: str


def parse(
    query: Mapping[str, str],
    resource: ResourceType,
    namespace: str | None,
    name: str,
    chosen: Predicate | None,
    rendering: Rendering | None,
) -> WatchRequest:
    """The watch that `query` asks for; raises StatusError."""
    initial = query.get("sendInitialEvents")
    _check(query)
    version = resource_version(query)
    state_first = flag(query, "sendInitialEvents") or (initial is None and not version)
    seconds = number(query, "timeoutSeconds") or 0
    if seconds <= 0:
        seconds = round(SHORTEST_SECONDS * (1 + random.random()))
    return WatchRequest(
        resource,
        namespace,
        name,
        chosen,
        None if state_first else version or 0,
        version or 0,
        flag(query, "sendInitialEvents"),
        flag(query, "allowWatchBookmarks"),
        float(seconds),
        rendering,
        "" if rendering else _key(query, namespace, name),
    )


def _check(query: Mapping[str, str]) -> None:
    """Source: apimachinery meta/internalversion/validation validateWatchOptions."""
    match, field = query.get("resourceVersionMatch", ""), "resourceVersionMatch"
    errors = []
    if "sendInitialEvents" in query and match != "NotOlderThan":
        words = f"sendInitialEvents requires setting {field} to NotOlderThan"
        errors.append(status.FieldError.forbidden(field, words))
    if match:
        if "sendInitialEvents" not in query:
            words = f"{field} is forbidden for watch unless sendInitialEvents is provided"
            errors.append(status.FieldError.forbidden(field, words))
        if match != "NotOlderThan":
            errors.append(status.FieldError.not_supported(field, match, ("NotOlderThan",)))
        if query.get("continue"):
            words = f"{field} is forbidden when continue is provided"
            errors.append(status.FieldError.forbidden(field, words))
    if errors:
        raise status.invalid("ListOptions", "meta.k8s.io", "", errors)


def _key(query: Mapping[str, str], namespace: str | None, name: str) -> str:
    selectors = query.get("labelSelector", ""), query.get("fieldSelector", "")
    return "\n".join((namespace or "", name, *selectors))


class Connection:
    """The body of a chunked response, written without waiting: its client reads it, or is slow."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    def write(self, data: bytes) -> bool:
        """Send whole chunks; False where the client has to read first, or has left."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(data)
        return not self._request.protocol.writing_paused

    async def drained(self) -> None:
        """Wait until the client has read most of what was sent; raises ConnectionError."""
        protocol: Drained = self._request.protocol  # type: ignore[assignment]  # ours: http.Protocol
        await protocol.drained()


class Drained(Protocol):
    """What http.Protocol adds to aiohttp's."""

    async def drained(self) -> None: ...


class Watch:
    """Streams one WatchRequest into a prepared response, whose body is chunked."""

    def __init__(self, request: WatchRequest, history: History, store: Store) -> None:
        self._request = request
        self._history = history
        self._store = store
        self._seen: int | None = None
        self._connection: Connection
        self._held = True
        self._over = False
        #: Set where the watch's own task has to look after it.
        self._attention = asyncio.Event()

    @property
    def up_to_date(self) -> bool:
        """Whether the client has been sent everything that has happened."""
        return self._seen is not None and self._seen >= self._history.last

    async def run(self, connection: Connection, state: list[Document], version: int) -> None:
        """Send `state` (of `version`) if it was asked for, then events until the time is over."""
        self._connection = connection
        seen = version
        if self._request.start is None:
            if self._request.initial_end and self._request.version > version:
                self._fail(too_large_version(self._request.version, version))
                return
            lines = [self._line("ADDED", document) for document in state]
            if self._request.initial_end and self._request.bookmarks:
                lines.append(self._bookmark(version, initial=True))
            self._send(_framed(b"".join(lines)))
            await connection.drained()
        else:
            seen = self._request.start
        self._seen = seen
        end_listening = self._history.listen(self)
        try:
            await self._follow()
        finally:
            end_listening()

    async def _follow(self) -> None:
        """Look after the watch: bookmarks, its end, a client that reads slowly."""
        time = asyncio.get_running_loop().time  # the client's timeout: real time, not the lab's
        end = time() + self._request.seconds
        bookmark = time() + BOOKMARK_SECONDS
        while True:
            self._held = False
            self.tell()
            now = time()
            if self._over or now >= end:
                return
            if self._request.bookmarks and now >= bookmark and not self._held:
                bookmark = now + BOOKMARK_SECONDS
                self._seen = max(self._seen or 0, self._store.version)
                self._send(_framed(self._bookmark(self._seen)))
            if not self._held:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(end, bookmark) - now)):
                        await self._attention.wait()
            self._attention.clear()
            await self._connection.drained()

    def tell(self) -> None:
        """Send what has happened since, unless the client hasn't read what it was sent."""
        if self._held or self._over or self._seen is None:
            return
        try:
            entries = self._history.since(self._seen)
        except ExpiredError:
            message = f"too old resource version: {self._seen} ({self._history.start})"
            self._fail(status.gone(message))
            return
        if entries:
            data = self._told(entries, self._seen)
            self._seen = entries[-1].event.version
            self._send(data)

    def _send(self, data: bytes) -> None:
        if data and not self._connection.write(data):
            self._held = True
            self._attention.set()

    def _fail(self, error: status.StatusError) -> None:
        self._send(_framed(encode_line("ERROR", encode(error.document()))))
        self._over = True
        self._attention.set()

    def _told(self, entries: Sequence[Entry], seen: int) -> bytes:
        if not self._request.key:
            return _framed(b"".join(self._lines(entries)))
        return self._history.chunk(
            self._request.key, seen, lambda: _framed(b"".join(self._lines(entries)))
        )

    def _lines(self, entries: Sequence[Entry]) -> list[bytes]:
        request = self._request
        lines: list[bytes] = []
        for entry in entries:
            meta = entry.event.object["metadata"]
            if request.namespace and meta.get("namespace") != request.namespace:
                continue
            if request.name and meta.get("name") != request.name:
                continue
            told = self._history.line(entry, request.chosen)
            if told is None:
                continue
            if request.rendering is None:
                lines.append(self._history.encoded(entry, *told))
            else:
                lines.append(encode_line(told[0], request.rendering(told[1])))
        return lines

    def _line(self, kind: str, document: Document) -> bytes:
        rendering = self._request.rendering or self._history.encoder.object
        return encode_line(kind, rendering(document))

    def _bookmark(self, version: int, *, initial: bool = False) -> bytes:
        meta: Document = {"resourceVersion": str(version), "creationTimestamp": None}
        if initial:
            meta["annotations"] = {INITIAL_END: "true"}
        document = {
            "kind": self._request.resource.kind,
            "apiVersion": self._request.resource.api_version,
            "metadata": meta,
        }
        rendering = self._request.rendering or encode
        return encode_line("BOOKMARK", rendering(document))


def _framed(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
