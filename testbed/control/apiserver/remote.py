"""exec and attach over SPDY/3.1: a stream each for errors, input, output and the terminal's size.

Source: kubelet pkg/cri-client streaming remotecommand/httpstream.go (v4.channel.k8s.io).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from aiohttp import web

from testbed.control.apiserver import upgrade
from testbed.control.apiserver.encoding import encode
from testbed.control.apiserver.incoming import Incoming
from testbed.control.apiserver.pods import STDERR, STDOUT, Streams
from testbed.control.apiserver.requests import flag
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
from testbed.control.apiserver.websocket import result_of

VERSIONS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
#: Seconds in which a client opens its streams. Source: DefaultStreamCreationTimeout.
OPENING_SECONDS = 30.0
#: Seconds in which a client that has its result leaves.
LEAVING_SECONDS = 5.0
#: Bytes of terminal sizes that are kept until they are whole.
PIECES_OF_SIZES = 4096


class SpdyStreams(Incoming):
    """The client's end of an exec: a `Streams` over one SPDY connection."""

    def __init__(self, link: upgrade.Link, wanted: frozenset[str]) -> None:
        super().__init__(ended="stdin" not in wanted)
        self._link = link
        self._codec = Codec()
        self._wanted = wanted
        self._names: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._size_text = b""
        #: Set once the client has opened every stream that its request asks for.
        self.opened = asyncio.Event()

    async def write(self, data: bytes, stream: int = STDOUT) -> None:
        number = self._numbers.get("stderr" if stream == STDERR else "stdout")
        if data and number is not None:
            await self._link.send(self._codec.data(number, data))

    async def finish(self, report: bytes) -> None:
        """End every stream, the one of errors with `report`."""
        for name in ("stdout", "stderr"):
            if name in self._numbers:
                await self._link.send(self._codec.data(self._numbers[name], end=True))
        await self._link.send(self._codec.data(self._numbers["error"], report, end=True))

    async def receive(self) -> None:
        """Take the client's frames until it leaves; then the input has ended."""
        async for piece in self._link.pieces():
            for frame in self._codec.feed(piece):
                if frame.type == GOAWAY:
                    break
                await self._take(frame)
        await self.take_input(b"")

    async def _take(self, frame: Frame) -> None:
        if frame.type == PING:
            await self._link.send(self._codec.pong(frame.stream))
        elif frame.type == SYN_STREAM:
            name = frame.headers.get("streamtype", "")
            if name not in self._wanted:
                raise FrameError(f"a stream of type {name!r}")
            self._names[frame.stream] = name
            self._numbers[name] = frame.stream
            await self._link.send(self._codec.reply(frame.stream))
            if self._numbers.keys() == self._wanted:
                self.opened.set()
        elif self._names.get(frame.stream) == "stdin" and frame.type in (0, RST_STREAM):
            if frame.data and frame.type == 0:
                await self.take_input(frame.data)
            if frame.type == RST_STREAM or frame.flags & FIN:
                await self.take_input(b"")
        elif self._names.get(frame.stream) == "resize" and frame.type == 0:
            self._resize(frame.data)

    def _resize(self, data: bytes) -> None:
        """Sizes come as JSON objects, one behind the other."""
        self._size_text = (self._size_text + data)[-PIECES_OF_SIZES:]
        while b"}" in self._size_text:
            text, _, self._size_text = self._size_text.partition(b"}")
            with suppress(ValueError, KeyError, TypeError):
                self.take_size(text + b"}")


async def serve(
    request: web.BaseRequest,
    query: Mapping[str, str],
    run: Callable[[Streams], Awaitable[int]],
) -> web.StreamResponse:
    """Upgrade `request` and let `run` talk to the client; its result is the exit status."""
    tty = flag(query, "tty")
    wanted = {name for name in ("stdin", "stdout", "stderr") if flag(query, name)} | {"error"}
    if tty:
        wanted.discard("stderr")
    response, link, version = await upgrade.bare(request, VERSIONS)
    if tty and version in VERSIONS[:2]:
        wanted.add("resize")
    streams = SpdyStreams(link, frozenset(wanted))
    receiving = asyncio.create_task(streams.receive())
    running: asyncio.Future[int] | None = None
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            opened = asyncio.create_task(streams.opened.wait())
            await asyncio.wait({opened, receiving}, return_when=asyncio.FIRST_COMPLETED)
            opened.cancel()
        if not receiving.done():
            running = asyncio.ensure_future(run(streams))
            await asyncio.wait({running, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await streams.finish(_report(running, version))
                # The client goes first: it reads what is on the way.
                await asyncio.wait({receiving}, timeout=LEAVING_SECONDS)
    except (ConnectionError, TimeoutError):
        pass  # the client left, or never said what it wants
    finally:
        tasks = [task for task in (running, receiving) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return response


def _report(running: asyncio.Future[int], version: str) -> bytes:
    """How it ended: a Status, and before version 4 the words of a failure."""
    result = result_of(running)
    if version == VERSIONS[0]:
        return encode(result)
    return str(result.get("message", "")).encode()
