"""port-forward: TCP connections to a Pod, each a pair of SPDY streams of one link.

Source: KEP-4006; kubelet pkg/cri/streaming/portforward/httpstream.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from testbed.api import status
from testbed.control.apiserver import dialing, upgrade
from testbed.control.apiserver.spdy import (
    FIN,
    GOAWAY,
    PING,
    RST_STREAM,
    SYN_STREAM,
    Codec,
    Frame,
    FrameError,
)
from testbed.control.apiserver.websocket import MESSAGE_LIMIT

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
VERSION = "portforward.k8s.io"
PIECE = 32_768
#: Pieces from the client that may wait for a slow Pod before the whole connection waits.
WAITING = 64

Dial = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(slots=True)
class _Connection:
    """One forwarded connection: the ids of its streams, and what the client has sent."""

    error: int = 0
    data: int = 0
    port: int = 0
    pieces: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(WAITING))


async def serve(request: web.BaseRequest, sandbox: str, dial: Dial) -> web.StreamResponse:
    """Upgrade `request` and forward connections until the client leaves.

    `sandbox` is what errors call the Pod.
    """
    if upgrade.wants_spdy(request):
        response, link, _ = await upgrade.bare(request, (VERSION,))
        await _forward(link, sandbox, dial)
        return response
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise status.bad_request(f"Upgrade request required: WebSocket, {PROTOCOL}")
    if PROTOCOL not in (part.strip() for part in offered.split(",")):
        raise status.bad_request(f"unable to upgrade: unsupported protocols {offered!r}")
    socket = web.WebSocketResponse(protocols=(PROTOCOL,), max_msg_size=MESSAGE_LIMIT)
    await socket.prepare(request)
    await _forward(upgrade.SocketLink(socket), sandbox, dial)
    await socket.close()
    return socket


async def _forward(link: upgrade.Link, sandbox: str, dial: Dial) -> None:
    forwarder = _Forwarder(link, sandbox, dial)
    try:
        await forwarder.run()
    except (ConnectionError, FrameError):
        pass  # the client left, or doesn't speak SPDY: either way there is nobody to tell
    finally:
        await forwarder.close()


class _Forwarder:
    def __init__(self, link: upgrade.Link, sandbox: str, dial: Dial) -> None:
        self._link = link
        self._sandbox = sandbox
        self._dial = dial
        self._codec = Codec()
        self._pairs: dict[str, _Connection] = {}
        self._streams: dict[int, _Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async for piece in self._link.pieces():
            for frame in self._codec.feed(piece):
                if frame.type == GOAWAY:
                    return
                await self._take(frame)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, frame: Frame) -> None:
        if frame.type == PING:
            await self._send(self._codec.pong(frame.stream))
        elif frame.type == SYN_STREAM:
            await self._opened(frame)
        elif frame.type in (0, RST_STREAM):
            connection = self._streams.get(frame.stream)
            if connection is None or connection.data != frame.stream:
                return
            if frame.type == 0 and frame.data:
                await connection.pieces.put(frame.data)
            if frame.type == RST_STREAM or frame.flags & FIN:
                await connection.pieces.put(b"")

    async def _opened(self, frame: Frame) -> None:
        headers = frame.headers
        port = headers.get("port", "")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise FrameError(f"port {port!r}")
        connection = self._pairs.setdefault(headers.get("requestid", ""), _Connection())
        self._streams[frame.stream] = connection
        connection.port = int(port)
        await self._send(self._codec.reply(frame.stream))
        if headers.get("streamtype") == "error":
            connection.error = frame.stream
        else:
            connection.data = frame.stream
        if connection.error and connection.data:
            self._pairs.pop(headers.get("requestid", ""), None)
            task = asyncio.create_task(self._forward(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, connection: _Connection) -> None:
        problem = ""
        try:
            reader, writer = await self._dial(connection.port)
        except (OSError, status.StatusError) as error:
            problem = dialing.forwarding(connection.port, self._sandbox, error)
        else:
            inward = asyncio.create_task(_pump(connection.pieces, writer))
            try:
                while piece := await reader.read(PIECE):
                    await self._send(self._codec.data(connection.data, piece))
            except ConnectionError as error:
                problem = dialing.forwarding(connection.port, self._sandbox, error)
            finally:
                inward.cancel()
                writer.close()
        await self._send(self._codec.data(connection.data, end=True))
        await self._send(self._codec.data(connection.error, problem.encode(), end=True))
        self._streams.pop(connection.error, None)
        self._streams.pop(connection.data, None)
        while not connection.pieces.empty():  # whoever waits to put something must not wait on
            connection.pieces.get_nowait()

    async def _send(self, data: bytes) -> None:
        await self._link.send(data)


async def _pump(pieces: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
    """Client to Pod, until the client has ended its half."""
    try:
        while piece := await pieces.get():
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except ConnectionError:
        return  # the Pod's end tells the client
