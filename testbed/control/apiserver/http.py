"""aiohttp's server, with a Status as the answer to what isn't even a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from testbed.api import status
from testbed.control.apiserver.answers import refusal

log = logging.getLogger(__name__)
#: Bytes of a connection that has left HTTP that wait to be read.
BARE_LIMIT = 262_144
#: Longest request line and header.
LINE_LIMIT = 65_536


class Protocol(web.RequestHandler):
    """One connection. It may leave HTTP: then its bytes go to whoever took it over."""

    __slots__ = ("_taken",)
    _taken: asyncio.StreamReader | None

    def take_over(self) -> asyncio.StreamReader:
        """From now on the client's bytes aren't HTTP: they are read from here."""
        taken = self._taken = asyncio.StreamReader(limit=BARE_LIMIT)
        if self.transport is not None:
            taken.set_transport(self.transport)
        return taken

    async def drained(self) -> None:
        """Wait until the client has read most of what was written."""
        await self._drain_helper()

    def data_received(self, data: bytes) -> None:
        taken = getattr(self, "_taken", None)
        if taken is None:
            super().data_received(data)
        else:
            taken.feed_data(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        taken = getattr(self, "_taken", None)
        if taken is not None:
            taken.feed_eof()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that can't be parsed; the connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if status >= 500:
            log.error("%s %s", request.method, request.path[:200], exc_info=exc)
        answer = refusal(_refused(status, message or str(exc or "")))
        answer.force_close()
        return answer


def _refused(code: int, message: str) -> status.StatusError:
    if code >= 500:
        return status.internal("the testbed's API server failed; see its log")
    first = message.splitlines()[0] if message else "malformed request"
    return status.StatusError(code, "BadRequest", first[:200].rstrip(":"))


class Server(web.Server):
    """Makes a Protocol for every connection. A handler ends when its client leaves."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, handler_cancellation=True)

    def __call__(self) -> Protocol:
        return Protocol(
            self,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type]  # None is what turns it off
            max_line_size=LINE_LIMIT,
            max_field_size=LINE_LIMIT,
        )
