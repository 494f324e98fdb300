"""How fast the control plane answers: `python -m benchmarks.control_plane`.

Absolute times are in seconds; each is also given as a multiple of a floor measured in the same run:
the time of a bare aiohttp server for the same number of requests, or of encoding the same objects.
What kube-apiserver 1.36 with etcd took on a comparable machine stands beside it. Exit code 1 where
a limit isn't kept.
As root the time until an endpoint change is in every node's rules comes last; without root it is
left out, as it needs network namespaces.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import endpoint_change

SERVICES = 1_000
PODS = 5_000
WATCHERS = 100
EVENTS = 1_000
ROUNDS = 3
#: Percent that the watchers may add to an event's cost.
ADDED_LIMIT = 5.0
CONNECTIONS = 8
#: Changes that come one by one, and the seconds between them.
SINGLE, PAUSE = 50, 0.1
#: When a change was sent, in what a watch hears of it.
STAMP = re.compile(rb'"n":"([0-9.]+)-')

Document = dict[str, Any]


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def call_later(self, delay: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, call)


def service(index: int) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"svc-{index}", "labels": {"app": f"app-{index}"}},
        "spec": {
            "selector": {"app": f"app-{index}"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def endpoint_slice(index: int) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"svc-{index}-a",
            "labels": {"kubernetes.io/service-name": f"svc-{index}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"10.244.{index % 250}.{last}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": "w1",
            }
            for last in (5, 6)
        ],
    }


def pod(index: int) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{index}",
            "namespace": "default",
            "labels": {"app": "web", "pod-template-hash": "7d4b9c"},
        },
        "spec": {
            "nodeName": f"w{index % 3}",
            "containers": [
                {"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]},
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.244.{index // 250}.{index % 250}",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def serve(pipe: Connection, directory: str) -> None:
    """The server's process: API server and a floor, until the pipe closes."""
    asyncio.run(_serve(pipe, Path(directory)))


async def _serve(pipe: Connection, directory: Path) -> None:
    from aiohttp import web

    started = time.perf_counter()
    from testbed.api.admission import Admission
    from testbed.api.resources import by_name
    from testbed.control.apiserver import tls
    from testbed.control.apiserver.server import ApiServer, loopback_socket
    from testbed.control.journal import Journal
    from testbed.control.registry import Registry
    from testbed.control.store import Store

    clock = SystemClock()
    store = Store(clock, Journal(directory))
    registry = Registry(store, Admission(), clock)
    namespaces = by_name("namespaces")
    assert namespaces is not None
    registry.create(namespaces, {"metadata": {"name": "default"}})
    server = ApiServer(registry, directory)
    await server.start()

    async def bare(request: web.BaseRequest) -> web.Response:
        return web.Response(body=await request.read(), status=201)

    floor = web.ServerRunner(web.Server(bare, access_log=None))
    await floor.setup()
    context = tls.server_context(server.credentials, directory / "pki")
    floor_socket = loopback_socket()
    await web.SockSite(floor, floor_socket, ssl_context=context).start()
    pipe.send(
        (
            server.url,
            f"https://127.0.0.1:{floor_socket.getsockname()[1]}",
            server.credentials.token,
            time.perf_counter() - started,
        )
    )
    loop = asyncio.get_running_loop()
    while (command := await loop.run_in_executor(None, pipe.recv)) != "stop":
        if command == "pods":
            for index in range(PODS):
                store.create("pods", pod(index))
            pipe.send(None)
        else:
            pipe.send(time.process_time())
    await server.stop()
    await floor.cleanup()


class Client:
    """A client with several connections."""

    def __init__(self, session: Any, url: str) -> None:
        self._session = session
        self._url = url

    async def post_all(self, requests: list[tuple[str, Document]]) -> float:
        """Seconds for all POSTs over CONNECTIONS connections."""
        waiting = list(reversed(requests))

        async def worker() -> None:
            while waiting:
                path, document = waiting.pop()
                async with self._session.post(self._url + path, json=document) as response:
                    text = await response.read()
                    assert response.status == 201, text

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
        return time.perf_counter() - began

    async def patch_all(self, count: int, pause: float = 0.0) -> None:
        """Change one Service `count` times, `pause` seconds between."""
        url = f"{self._url}/api/v1/namespaces/default/services/svc-1"
        headers = {"Content-Type": "application/merge-patch+json"}
        for index in range(count):
            patch = {"metadata": {"annotations": {"n": f"{time.time()}-{index}"}}}
            async with self._session.patch(url, json=patch, headers=headers) as response:
                text = await response.read()
                assert response.status == 200, text
            if pause:
                await asyncio.sleep(pause)

    async def list(self, path: str) -> tuple[float, int]:
        """Seconds until the list has arrived and is parsed, and its length."""
        began = time.perf_counter()
        async with self._session.get(self._url + path) as response:
            items = json.loads(await response.read())["items"]
        return time.perf_counter() - began, len(items)

    async def watch(self, path: str, ready: Callable[[], None], late: list[float]) -> None:
        """Follow a watch; `late` gets the seconds from a change to its being heard of."""
        async with self._session.get(self._url + path) as response:
            ready()
            async for line in response.content:
                if found := STAMP.search(line):
                    late.append(time.time() - float(found[1]))


async def measure(pipe: Connection) -> bool:
    """Print everything that a client can measure; whether the limits are kept."""
    import aiohttp

    url, floor_url, token, startup = pipe.recv()
    loop = asyncio.get_running_loop()

    async def ask(command: str) -> Any:
        pipe.send(command)
        return await loop.run_in_executor(None, pipe.recv)

    connector = aiohttp.TCPConnector(limit=0, ssl=_trusting())
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        client = Client(session, url)
        kept = [_report("API ready", startup, None, 0.3, "etcd + kube-apiserver: 2.0")]
        posts = _posts()
        floor = await Client(session, floor_url).post_all(posts)
        taken = await client.post_all(posts)
        what = f"{SERVICES} Services and slices"
        kept.append(_report(what, taken, floor, 3.0, "kube-apiserver: 3.8"))
        await ask("pods")
        cold, count = await client.list("/api/v1/pods")
        assert count == PODS
        warm = statistics.median([(await client.list("/api/v1/pods"))[0] for _ in range(3)])
        kept.append(_report(f"{PODS} Pods listed, first time", cold, None, 0.5))
        kept.append(_report(f"{PODS} Pods listed, again", warm, None, 0.5))
        kept.append(await _watchers(ask, client))
        return all(kept)


async def _watchers(ask: Callable[[str], Awaitable[Any]], client: Client) -> bool:
    """The server's CPU time for an event, its delivery included, without and with watchers."""

    async def cost() -> float:
        used: float = await ask("cpu")
        await client.patch_all(EVENTS)
        await asyncio.sleep(0.5)  # the last deliveries
        spent: float = await ask("cpu") - used
        return spent / EVENTS

    path = "/api/v1/services?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Dsvc-1"
    alone, watched = [], []
    single: list[float] = []
    flood: list[float] = []
    await cost()
    for _ in range(ROUNDS):
        alone.append(await cost())
        ready = asyncio.Semaphore(0)
        late: list[float] = []
        watches = [
            asyncio.create_task(client.watch(path, ready.release, late)) for _ in range(WATCHERS)
        ]
        for _ in watches:
            await ready.acquire()
        await asyncio.sleep(0.5)
        late.clear()
        await client.patch_all(SINGLE, PAUSE)
        await asyncio.sleep(0.5)
        single += late
        late.clear()
        watched.append(await cost())
        flood += late
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
    bare, full = statistics.median(alone), statistics.median(watched)
    print(f"{'event, no watcher':34} {bare * 1e6:9.0f} us")
    print(f"{f'event, {WATCHERS} watchers':34} {full * 1e6:9.0f} us")
    for what, late in (("heard of, one by one", single), ("heard of, in a flood", flood)):
        middle, last = (statistics.quantiles(late, n=100)[at] * 1e3 for at in (49, 98))
        print(f"{what:34} {middle:9.1f} ms  p99 {last:.1f} ms")
    added = (full / bare - 1) * 100
    print(f"{'added by watchers':34} {added:9.1f} %               at most {ADDED_LIMIT:g}")
    return added <= ADDED_LIMIT


def _posts() -> list[tuple[str, Document]]:
    posts = []
    for index in range(SERVICES):
        posts.append(("/api/v1/namespaces/default/services", service(index)))
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        posts.append((path, endpoint_slice(index)))
    return posts


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _report(what: str, seconds: float, floor: float | None, limit: float, note: str = "") -> bool:
    multiple = f"{seconds / floor:5.1f} x floor" if floor else " " * 13
    beside = f" ({note})" if note else ""
    print(f"{what:34} {seconds:9.3f} s  {multiple}  at most {limit:g}{beside}")
    return seconds <= limit


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(theirs, directory)
        )
        process.start()
        try:
            kept = asyncio.run(measure(ours))
        finally:
            ours.send("stop")
            process.join(10)
            process.kill()
    if os.geteuid():
        print("endpoint change: not measured, needs root")
        return int(not kept)
    return int(not (endpoint_change.measure() and kept))


if __name__ == "__main__":
    sys.exit(main())
