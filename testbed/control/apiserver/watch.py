"""One watch: what a client is told about one resource from a version on.

Source: apiserver pkg/storage/cacher, KEP-3157 (watch-list).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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

    Watches with the same `key` are told the same; "" where a watch shares with none.
    """

    resource: ResourceType
    namespace: str | None
    name: str
    chosen: Predicate | None
    start: int | None
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
    match = query.get("resourceVersionMatch", "")
    errors = []
    if initial is not None and match != "NotOlderThan":
        errors.append("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    elif initial is None and match:
        errors.append("resourceVersionMatch is forbidden for watch unless sendInitialEvents is set")
    if errors:
        field = "sendInitialEvents" if initial is not None else "resourceVersionMatch"
        error = status.FieldError.forbidden(field, errors[0])
        raise status.invalid("ListOptions", "meta.k8s.io", "", [error])
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
        flag(query, "sendInitialEvents"),
        flag(query, "allowWatchBookmarks"),
        float(seconds),
        rendering,
        "" if rendering else _key(query, namespace, name),
    )


def _key(query: Mapping[str, str], namespace: str | None, name: str) -> str:
    selectors = query.get("labelSelector", ""), query.get("fieldSelector", "")
    return "\n".join((namespace or "", name, *selectors))


class Watch:
    """Streams one WatchRequest into a response."""

    def __init__(self, request: WatchRequest, history: History, store: Store) -> None:
        self._request = request
        self._history = history
        self._store = store
        self._seen: int | None = None

    @property
    def up_to_date(self) -> bool:
        """Whether the client has been sent everything that has happened."""
        return self._seen is not None and self._seen >= self._history.last

    async def run(self, response: web.StreamResponse, state: list[Document], version: int) -> None:
        """Send `state` (of `version`) if it was asked for, then events until the time is over."""
        seen = version
        if self._request.start is None:
            if state:
                lines = [self._line("ADDED", document) for document in state]
                await response.write(b"".join(lines))
            if self._request.initial_end and self._request.bookmarks:
                await response.write(self._bookmark(version, initial=True))
        else:
            seen = self._request.start
            if seen > self._store.version:
                await self._fail(response, too_large_version(seen, self._store.version))
                return
        await self._follow(response, seen)

    async def _follow(self, response: web.StreamResponse, seen: int) -> None:
        time = asyncio.get_running_loop().time  # the client's timeout: real time, not the lab's
        end = time() + self._request.seconds
        bookmark = time() + BOOKMARK_SECONDS
        while True:
            self._seen = seen
            try:
                entries = self._history.since(seen)
            except ExpiredError:
                message = f"too old resource version: {seen} ({self._history.start})"
                await self._fail(response, status.gone(message))
                return
            if entries:
                data = self._told(entries, seen)
                seen = entries[-1].event.version
                if data:
                    await response.write(data)
                continue
            now = time()
            if now >= end:
                return
            if self._request.bookmarks and now >= bookmark:
                bookmark = now + BOOKMARK_SECONDS
                seen = max(seen, self._store.version)
                await response.write(self._bookmark(seen))
            await self._history.changed(min(end, bookmark) - now)

    async def _fail(self, response: web.StreamResponse, error: status.StatusError) -> None:
        await response.write(encode_line("ERROR", encode(error.document())))

    def _told(self, entries: Sequence[Entry], seen: int) -> bytes:
        if not self._request.key:
            return b"".join(self._lines(entries))
        return self._history.chunk(self._request.key, seen, lambda: b"".join(self._lines(entries)))

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
