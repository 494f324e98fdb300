"""An API server on loopback and a client of it, in one event loop that runs while a test waits."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from testbed.api.admission import Admission
from testbed.api.documents import Document
from testbed.api.resources import by_name
from testbed.control.apiserver.pods import LogOptions, PodBackend, Streams
from testbed.control.apiserver.server import ApiServer
from testbed.control.registry import Registry
from testbed.control.store import Store

JSON = "application/json"


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def call_later(self, delay: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, call)


class NoPods:
    """What a PodBackend is asked for by mistake; tests write what they do ask for."""

    def logs(
        self, pod: Document, container: str, options: LogOptions
    ) -> AsyncGenerator[bytes, None]:
        raise AssertionError("not asked for")

    async def execute(
        self,
        pod: Document,
        container: str,
        command: Sequence[str],
        streams: Streams,
        *,
        tty: bool,
        stdin: bool,
    ) -> int:
        raise AssertionError("not asked for")

    async def attach(
        self, pod: Document, container: str, streams: Streams, *, tty: bool, stdin: bool
    ) -> int:
        raise AssertionError("not asked for")

    async def dial(
        self, pod: Document, port: int, address: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raise AssertionError("not asked for")


@dataclass(frozen=True)
class Reply:
    """What came back."""

    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Document:
        parsed: Document = json.loads(self.body)
        return parsed


class Live:
    """A running server. `run` runs a coroutine in its loop; the server works meanwhile."""

    def __init__(self, runner: asyncio.Runner, server: ApiServer, registry: Registry) -> None:
        self._runner = runner
        self.server = server
        self.registry = registry
        self.session: aiohttp.ClientSession
        self.loop = runner.get_loop()

    def run(self, coroutine: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await coroutine

        return self._runner.run(wait())

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = JSON,
        token: str | None = None,
    ) -> Reply:
        """Send one request; `body` is bytes, or a value to send as JSON."""
        sent = {"Authorization": f"Bearer {token or self.server.credentials.token}"}
        if body is not None:
            sent["Content-Type"] = content_type
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()

        async def request() -> Reply:
            url = self.server.url + path
            async with self.session.request(
                method, url, data=data, headers={**sent, **(headers or {})}
            ) as response:
                return Reply(response.status, response.headers.copy(), await response.read())

        reply: Reply = self.run(request())
        return reply


@contextmanager
def live_server(directory: Path, pods: PodBackend | None = None) -> Iterator[Live]:
    """A server with the namespaces of a new cluster."""
    clock = SystemClock()
    registry = Registry(Store(clock), Admission(rng=random.Random(1)), clock, random.Random(1))
    namespaces = by_name("namespaces")
    assert namespaces is not None
    for name in ("default", "kube-system"):
        registry.create(namespaces, {"metadata": {"name": name}})
    with asyncio.Runner() as runner:
        server = ApiServer(registry, directory, pods=pods)
        live = Live(runner, server, registry)

        async def start() -> None:
            await server.start()
            context = ssl.create_default_context(cadata=server.credentials.ca)
            connector = aiohttp.TCPConnector(ssl=context, limit=0)
            live.session = aiohttp.ClientSession(connector=connector)

        async def stop() -> None:
            await live.session.close()
            await server.stop()

        runner.run(start())
        try:
            yield live
        finally:
            runner.run(stop())
