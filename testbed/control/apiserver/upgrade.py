"""Connections that leave HTTP: bytes both ways, inside WebSocket messages or bare after a 101.

kubectl 1.31 and newer speak WebSocket and fall back to SPDY/3.1 on the bare connection; older ones
know only that. Source: apimachinery pkg/util/httpstream, KEP-4006.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from aiohttp import WSMsgType, web

from testbed.api import status

SPDY = "SPDY/3.1"
VERSION_HEADER = "X-Stream-Protocol-Version"
#: Bytes that are read at once from a bare connection.
PIECE = 65_536


class Link(Protocol):
    """A client at the other end."""

    def pieces(self) -> AsyncIterator[bytes]:
        """What the client sends, until it leaves."""

    async def send(self, data: bytes) -> None:
        """Raises ConnectionError once the client has left."""


class Takeover(Protocol):
    """What http.Protocol adds to aiohttp's: the bytes of a connection that leaves HTTP."""

    def take_over(self) -> asyncio.StreamReader: ...

    async def drained(self) -> None: ...


class SocketLink:
    """A link inside the binary messages of a WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def pieces(self) -> AsyncIterator[bytes]:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                yield message.data

    async def send(self, data: bytes) -> None:
        if self._socket.closed:
            raise ConnectionResetError("the client has left")
        await self._socket.send_bytes(data)


class BareLink:
    """A link on a connection that has left HTTP."""

    def __init__(self, request: web.BaseRequest, reader: asyncio.StreamReader) -> None:
        self._request = request
        self._reader = reader

    async def pieces(self) -> AsyncIterator[bytes]:
        while data := await self._reader.read(PIECE):
            yield data

    async def send(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(data)
        await _protocol(self._request).drained()


def wants_spdy(request: web.BaseRequest) -> bool:
    """Whether the client asks for SPDY/3.1 on the bare connection."""
    return request.headers.get("Upgrade", "").lower() == SPDY.lower()


async def bare(
    request: web.BaseRequest, versions: Sequence[str]
) -> tuple[web.StreamResponse, BareLink, str]:
    """Answer 101 and leave HTTP; the first of `versions` that the client offers is spoken.

    A client that offers none speaks the last one. Raises StatusError (403) where none fits.
    Source: apimachinery httpstream.Handshake.
    """
    offered = [
        part.strip()
        for text in request.headers.getall(VERSION_HEADER, [])
        for part in text.split(",")
    ]
    version = next((v for v in versions if v in offered), "" if offered else versions[-1])
    if not version:
        raise status.StatusError(
            403,
            "Forbidden",
            f"unable to upgrade: unable to negotiate protocol: client supports {offered}, "
            f"server accepts {list(versions)}",
        )
    response = web.StreamResponse(status=101, headers={"Connection": "Upgrade", "Upgrade": SPDY})
    response.headers[VERSION_HEADER] = version
    return response, await taken_over(request, response), version


async def taken_over(request: web.BaseRequest, response: web.StreamResponse) -> BareLink:
    """Send `response` (a 101) and leave HTTP."""
    reader = _protocol(request).take_over()
    await response.prepare(request)
    response.force_close()
    return BareLink(request, reader)


def _protocol(request: web.BaseRequest) -> Takeover:
    protocol: Takeover = request.protocol  # type: ignore[assignment]  # ours: http.Protocol
    return protocol
