"""exec and attach over WebSocket: one byte names the channel of each message.

Source: apimachinery pkg/util/remotecommand (v5.channel.k8s.io), KEP-4006.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import WSMessage, WSMsgType, web

from testbed.api import status
from testbed.api.documents import Document
from testbed.control.apiserver.encoding import encode
from testbed.control.apiserver.incoming import Incoming
from testbed.control.apiserver.pods import CLOSE, ERROR, RESIZE, STDIN, STDOUT, Streams

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
#: Longest message that is read. Source: DefaultMaxPayloadBytes of golang.org/x/net/websocket.
MESSAGE_LIMIT = 32 << 20


class Channels(Incoming):
    """The client's end of an exec: a `Streams` over one WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        super().__init__()
        self._socket = socket

    async def write(self, data: bytes, stream: int = STDOUT) -> None:
        if self._socket.closed:
            raise ConnectionResetError("the client has left")
        if data:
            await self._socket.send_bytes(bytes((stream,)) + data)

    async def receive(self) -> None:
        """Take the client's messages until it leaves; then the input has ended."""
        async for message in self._socket:
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT) and message.data:
                data = bytes_of(message)
                await self._take(data[0], data[1:])
        await self.take_input(b"")

    async def _take(self, channel: int, data: bytes) -> None:
        if channel == STDIN and data:
            await self.take_input(data)
        elif channel == CLOSE and data[:1] == bytes((STDIN,)):
            await self.take_input(b"")
        elif channel == RESIZE:
            with suppress(ValueError, KeyError, TypeError):
                self.take_size(data)


def bytes_of(message: WSMessage) -> bytes:
    """What is in a message; some clients send their input as text."""
    data: bytes | str = message.data
    return data.encode() if isinstance(data, str) else data


async def serve(
    request: web.BaseRequest, run: Callable[[Streams], Awaitable[int]]
) -> web.StreamResponse:
    """Upgrade `request` and let `run` talk to the client; its result is the exit status."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise status.bad_request("Upgrade request required: WebSocket, v5.channel.k8s.io")
    if not {protocol.strip() for protocol in offered.split(",")} & set(PROTOCOLS):
        raise status.bad_request(f"unable to upgrade: unsupported protocols {offered!r}")
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=MESSAGE_LIMIT)
    await socket.prepare(request)
    channels = Channels(socket)
    running = asyncio.ensure_future(run(channels))
    receiving = asyncio.create_task(channels.receive())
    try:
        await asyncio.wait({running, receiving}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await socket.send_bytes(bytes((ERROR,)) + encode(result_of(running)))
    except ConnectionError:
        pass  # the client left while its result was on the way
    finally:
        for task in (running, receiving):
            task.cancel()
        await asyncio.gather(running, receiving, return_exceptions=True)
    await socket.close()
    return socket


def result_of(running: asyncio.Future[int]) -> Document:
    """The Status that ends an exec. Source: kubelet remotecommand exec.go."""
    error = running.exception()
    if isinstance(error, status.StatusError):
        return error.document()
    if error is not None:
        return status.internal(f"{type(error).__name__}: {error}").document()
    code = running.result()
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
