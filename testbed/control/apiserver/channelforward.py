"""port-forward over WebSocket channels: for every port a channel of data and one of errors.

Client libraries that don't speak SPDY use it. Source: kubelet pkg/cri/streaming/portforward
/websocket.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import WSMsgType, web

from testbed.api import status
from testbed.control.apiserver import dialing
from testbed.control.apiserver.portforward import PIECE, WAITING, Dial
from testbed.control.apiserver.websocket import MESSAGE_LIMIT, bytes_of

PROTOCOL = "v4.channel.k8s.io"


def is_wanted(request: web.BaseRequest) -> bool:
    """Whether the client offers this protocol."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    websocket = request.headers.get("Upgrade", "").lower() == "websocket"
    return websocket and PROTOCOL in (part.strip() for part in offered.split(","))


def ports_of(texts: Sequence[str]) -> list[int]:
    """The ports in a query's `ports`; raises StatusError (400)."""
    found = []
    for part in (part for text in texts for part in text.split(",") if part):
        if not part.isdecimal() or int(part) > 65535:
            raise status.bad_request(f'strconv.ParseUint: parsing "{part[:80]}": invalid syntax')
        if not int(part):
            raise status.bad_request(f'port "{part}" must be > 0')
        found.append(int(part))
    if not found:
        raise status.bad_request('query parameter "port" is required')
    return found


async def serve(request: web.BaseRequest, sandbox: str, dial: Dial) -> web.StreamResponse:
    """Upgrade `request` and forward one connection to every port, until the client leaves.

    `sandbox` is what errors call the Pod.
    """
    ports = ports_of(request.query.getall("ports", []))
    socket = web.WebSocketResponse(protocols=(PROTOCOL,), max_msg_size=MESSAGE_LIMIT)
    await socket.prepare(request)
    forwards = [
        _Forward(socket, 2 * index, port, sandbox, dial) for index, port in enumerate(ports)
    ]
    for forward in forwards:  # both channels begin with the port that they are of
        await forward.send(forward.port.to_bytes(2, "little"))
        await forward.send(forward.port.to_bytes(2, "little"), error=True)
    running = [asyncio.create_task(forward.run()) for forward in forwards]
    try:
        async for message in socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            data = bytes_of(message)
            index, is_error = divmod(data[0], 2) if data else (len(forwards), 0)
            if index < len(forwards) and not is_error and data[1:]:
                await forwards[index].take(data[1:])
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return socket


class _Forward:
    """One port's connection: its data goes over `channel`, its errors over the one after."""

    def __init__(
        self, socket: web.WebSocketResponse, channel: int, port: int, sandbox: str, dial: Dial
    ) -> None:
        self.port = port
        self._socket = socket
        self._channel = channel
        self._sandbox = sandbox
        self._dial = dial
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self._over = False

    async def send(self, data: bytes, *, error: bool = False) -> None:
        await self._socket.send_bytes(bytes((self._channel + error,)) + data)

    async def take(self, data: bytes) -> None:
        """The client's data; what comes after the end is dropped."""
        if not self._over:
            await self._pieces.put(data)

    async def run(self) -> None:
        """Connect, and carry both ways until the Pod has ended."""
        with suppress(ConnectionError):
            try:
                reader, writer = await self._dial(self.port)
            except (OSError, status.StatusError) as error:
                self._end()
                words = dialing.forwarding(self.port, self._sandbox, error)
                await self.send(words.encode(), error=True)
                return
            inward = asyncio.create_task(self._inward(writer))
            try:
                while piece := await reader.read(PIECE):
                    await self.send(piece)
            finally:
                inward.cancel()
                writer.close()
                self._end()

    def _end(self) -> None:
        self._over = True
        while not self._pieces.empty():  # whoever waits to put something must not wait on
            self._pieces.get_nowait()

    async def _inward(self, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(await self._pieces.get())
                await writer.drain()
