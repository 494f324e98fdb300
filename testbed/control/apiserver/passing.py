"""An HTTP request passed on over a connection, and its answer passed back, both as they come.

Source: apimachinery pkg/util/proxy (upgradeaware.go, transport.go), Go's net/http/httputil.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from testbed.api import gojson, status
from testbed.control.apiserver import dialing
from testbed.control.apiserver.upgrade import taken_over

PIECE = 65_536
#: Longest head of an answer. Source: Go's MaxResponseHeaderBytes.
HEAD_LIMIT = 10 << 20
#: Headers that belong to one connection, not to the message (RFC 9110, 7.6.1), and credentials.
_HOP_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class AnswerError(ValueError):
    """What came back isn't an answer; the words are Go's."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a request goes: `path` there with its query, the other end's `host`, and the
    `prefix` that paths of its answers are to have here."""

    path: str
    host: str
    prefix: str


class Incoming:
    """What the other end sends, read as HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._data = b""

    async def head(self) -> tuple[int, str, list[tuple[str, str]]]:
        """Status, reason and headers of the answer; raises AnswerError."""
        while True:
            text = (await self._until(b"\r\n\r\n", HEAD_LIMIT)).decode("latin-1")
            first, *lines = text.split("\r\n")
            version, _, rest = first.partition(" ")
            number, _, reason = rest.partition(" ")
            if not version.startswith("HTTP/1.") or not (number.isdecimal() and len(number) == 3):
                raise AnswerError(f"malformed HTTP response {gojson.quote(first[:200])}")
            if int(number) >= 200 or int(number) == 101:
                pairs = [line.partition(":")[::2] for line in lines if line]
                return int(number), reason, [(name.strip(), value.strip()) for name, value in pairs]

    async def exactly(self, size: int) -> AsyncIterator[bytes]:
        """The next `size` bytes; raises ConnectionError where it ends before."""
        while size:
            piece = await self._some()
            if not piece:
                raise ConnectionResetError("unexpected EOF")
            self._data = piece[size:]
            yield piece[:size]
            size -= min(size, len(piece))

    async def chunks(self) -> AsyncIterator[bytes]:
        """A chunked body; raises ConnectionError where it is broken."""
        while True:
            try:
                line = await self._until(b"\r\n", PIECE)
                size = int(line.split(b";")[0].strip(), 16)
            except (AnswerError, ValueError):
                raise ConnectionResetError("a broken chunk") from None
            if not size:
                return
            async for piece in self.exactly(size):
                yield piece
            await self._until(b"\r\n", PIECE)

    async def rest(self) -> AsyncIterator[bytes]:
        """Everything until the end."""
        while piece := await self._some():
            self._data = b""
            yield piece

    async def _some(self) -> bytes:
        return self._data or await self._reader.read(PIECE)

    async def _until(self, end: bytes, limit: int) -> bytes:
        while end not in self._data:
            piece = await self._reader.read(PIECE)
            if not piece:
                raise AnswerError("unexpected EOF" if self._data else "EOF")
            self._data += piece
            if len(self._data) > limit:
                raise AnswerError(
                    f"net/http: server response headers exceeded {limit} bytes; aborted"
                )
        found, _, self._data = self._data.partition(end)
        return found


async def pass_on(
    request: web.BaseRequest,
    way: Way,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> web.StreamResponse:
    """Send `request` its way and give its client the answer. Raises AnswerError, OSError."""
    upgrades = "upgrade" in request.headers.get("Connection", "").lower()
    writer.write(_head(request, way, upgrades=upgrades))
    incoming = Incoming(reader)
    sending = asyncio.create_task(_send_body(request, writer))
    try:
        try:
            code, reason, pairs = await incoming.head()
        except OSError as error:
            failed = dialing.words(error).replace("connect:", "read:", 1)
            raise AnswerError(f"read tcp {way.host}: {failed}") from None
        if code == 101:
            return await _switch(request, pairs, incoming, writer)
        return await _answer(request, way, code, reason, pairs, incoming)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _head(request: web.BaseRequest, way: Way, *, upgrades: bool) -> bytes:
    lines = [f"{request.method} {way.path} HTTP/1.1", f"Host: {way.host}"]
    lines += [
        f"{name}: {value}"
        for name, value in request.headers.items()
        if name.lower() not in _HOP_HEADERS and not name.lower().startswith("impersonate-")
    ]
    sent_path = request.rel_url.raw_path
    lines += [
        f"X-Forwarded-Uri: {sent_path}",
        f"X-Forwarded-Host: {request.host}",
        "X-Forwarded-Proto: https",
        f"X-Forwarded-For: {request.remote or ''}",
    ]
    if upgrades:
        lines += ["Connection: Upgrade", f"Upgrade: {request.headers.get('Upgrade', '')}"]
    else:
        lines.append("Connection: close")
        if request.content_length is not None:
            lines.append(f"Content-Length: {request.content_length}")
        elif request.can_read_body:
            lines.append("Transfer-Encoding: chunked")
    return "\r\n".join([*lines, "", ""]).encode()


async def _send_body(request: web.BaseRequest, writer: asyncio.StreamWriter) -> None:
    """The request's body, as it comes."""
    with suppress(ConnectionError):  # the answer tells
        await writer.drain()
        if not request.can_read_body:
            return
        chunked = request.content_length is None
        while piece := await request.content.readany():
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


async def _answer(
    request: web.BaseRequest,
    way: Way,
    code: int,
    reason: str,
    pairs: list[tuple[str, str]],
    incoming: Incoming,
) -> web.StreamResponse:
    response = web.StreamResponse(status=code, reason=reason or None)
    named = {name.lower(): value for name, value in pairs}
    for name, value in pairs:
        if name.lower() in _HOP_HEADERS or not (name + value).isprintable():
            continue
        response.headers.add(name, rewritten(value, way) if name.lower() == "location" else value)
    length = named.get("content-length", "")
    chunked = named.get("transfer-encoding", "").lower() == "chunked"
    if not chunked and length.isdecimal():
        response.content_length = int(length)
    if request.method == "HEAD" or code in (204, 304):
        await response.prepare(request)
        return response
    await response.prepare(request)
    if chunked:
        pieces = incoming.chunks()
    elif length.isdecimal():
        pieces = incoming.exactly(int(length))
    else:
        pieces = incoming.rest()
    try:
        async for piece in pieces:
            await response.write(piece)
    except ConnectionError:
        if request.transport is not None:
            request.transport.abort()  # what is there isn't all: the client has to see that
        raise
    await response.write_eof()
    return response


def rewritten(location: str, way: Way) -> str:
    """Where a redirect of the other end leads here. Source: Transport.rewriteURL."""
    target = urlsplit(location)
    elsewhere = target.netloc and target.netloc != way.host
    if elsewhere or not target.path.startswith("/") or target.path.startswith(way.prefix):
        return location
    return target._replace(scheme="", netloc="", path=way.prefix + target.path).geturl()


async def _switch(
    request: web.BaseRequest,
    pairs: list[tuple[str, str]],
    incoming: Incoming,
    writer: asyncio.StreamWriter,
) -> web.StreamResponse:
    """The other end has left HTTP: carry bytes both ways until one end leaves."""
    response = web.StreamResponse(status=101)
    for name, value in pairs:
        if (name + value).isprintable():
            response.headers.add(name, value)
    link = await taken_over(request, response)

    async def outward() -> None:
        async for piece in incoming.rest():
            await link.send(piece)

    async def inward() -> None:
        async for piece in link.pieces():
            writer.write(piece)
            await writer.drain()

    tasks = {asyncio.create_task(outward()), asyncio.create_task(inward())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return response


def unreachable(words: str) -> status.StatusError:
    """503."""
    return status.unavailable(f"error trying to reach service: {words}")
