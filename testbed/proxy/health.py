"""What a node's kube-proxy answers over HTTP: its own health, and the health check node ports.

Source: pkg/proxy/healthcheck/{service_health,proxy_health}.go; K-55…K-62. What is answered for a
Service is in `health_status`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeAlias

from testbed.api.objects import IPV6, NamespacedName, Node
from testbed.clock import Clock
from testbed.proxy.health_status import ServiceHealth

log = logging.getLogger(__name__)

PROXY_PORT = 10256
#: Seconds that a change may wait before the proxy counts as unhealthy: two sync periods.
UNHEALTHY_AFTER = 60.0
#: A node with this taint is about to go: load balancers shall leave it (K-62).
TAINT_SCALE_DOWN = "ToBeDeletedByClusterAutoscaler"

#: Opens a socket in the node's namespace: (family, type) → socket.
SocketOpener: TypeAlias = Callable[[int, int], socket.socket]
#: Status, headers, body for a request's path.
Answer: TypeAlias = tuple[HTTPStatus, Mapping[str, str], str]
Responder: TypeAlias = Callable[[str], Answer]


class NodeHealth:
    """The HTTP servers of one node's kube-proxy, on `loop`, whose thread makes every call.

    `problems` has a line per port that could not be opened; the others are served.
    """

    def __init__(
        self, open_socket: SocketOpener, loop: asyncio.AbstractEventLoop, clock: Clock
    ) -> None:
        self._open = open_socket
        self._loop = loop
        self._clock = clock
        self._eligible = True
        self._waiting_since: float | None = None
        self._synced: dict[str, float] = {}
        self._services: dict[tuple[str, NamespacedName], ServiceHealth] = {}
        self._listeners: dict[tuple[str, NamespacedName], _Listener] = {}
        self.problems: dict[tuple[str, NamespacedName], str] = {}
        self._own = _Listener(self._bind("", PROXY_PORT), self._proxy_answer, loop)

    def set_node(self, node: Node) -> None:
        """Take in the node's own object."""
        self._eligible = not node.deleting and TAINT_SCALE_DOWN not in node.taints

    def waiting(self, since: float | None) -> None:
        """Changes wait for a sync since that moment (the clock's `now`); None: nothing waits."""
        self._waiting_since = since

    @property
    def healthy(self) -> bool:
        """Whether no change has waited longer than two sync periods (K-62)."""
        since = self._waiting_since
        return since is None or self._clock.now() - since <= UNHEALTHY_AFTER

    def synced(self, family: str, services: Mapping[NamespacedName, ServiceHealth]) -> None:
        """The family's rules are written; from now on these are its health check node ports."""
        self._synced[family] = self._clock.wall()
        wanted = {(family, name): health for name, health in services.items()}
        mine = {key for key in self._services if key[0] == family}
        for key in mine:
            old, new = self._services[key], wanted.get(key)
            if new is None or new.port != old.port:
                self._end(key)
        for key, health in wanted.items():
            self._services[key] = health
        self.retry()

    def retry(self) -> None:
        """Open the health check node ports that could not be opened before."""
        for key, health in self._services.items():
            if key not in self._listeners:
                self._begin(key, health.port)

    def close(self) -> None:
        """Close every port."""
        for key in list(self._services):
            self._end(key)
        self._own.close()

    def _begin(self, key: tuple[str, NamespacedName], port: int) -> None:
        try:
            sock = self._bind(key[0], port)
        except OSError as error:
            self.problems[key] = f"{key[1]}: health check port {port}: {error.strerror}"
            log.warning("%s", self.problems[key])
            return
        self._listeners[key] = _Listener(sock, lambda _: self._service_answer(key), self._loop)

    def _end(self, key: tuple[str, NamespacedName]) -> None:
        del self._services[key]
        self.problems.pop(key, None)
        listener = self._listeners.pop(key, None)
        if listener is not None:
            listener.close()

    def _bind(self, family: str, port: int) -> socket.socket:
        """A listening socket on every address of a family, or ("") of both."""
        kind = socket.AF_INET if family == "IPv4" else socket.AF_INET6
        sock = self._open(kind, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(family == IPV6))
            sock.bind(("" if kind == socket.AF_INET else "::", port))
            sock.listen(128)
        except OSError:
            sock.close()
            raise
        return sock

    def _service_answer(self, key: tuple[str, NamespacedName]) -> Answer:
        health = self._services[key]
        good = health.is_healthy(self.healthy)
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return status, health.headers(), health.body(self.healthy)

    def _proxy_answer(self, path: str) -> Answer:
        """`/healthz` asks whether the node takes traffic, `/livez` only whether the proxy works."""
        if path not in ("/healthz", "/livez"):
            return HTTPStatus.NOT_FOUND, {"Content-Type": "text/plain"}, "404 page not found\n"
        now = self._clock.wall()
        healthy = self.healthy
        # Upstream says "now" while it is healthy, and since when it is not otherwise.
        updated = now if healthy else max(self._synced.values(), default=now)
        fields: dict[str, object] = {
            "lastUpdated": _timestamp(updated),
            "currentTime": _timestamp(now),
        }
        if path == "/healthz":
            fields["nodeEligible"] = self._eligible
            healthy = healthy and self._eligible
        headers = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        families = {
            family: {"lastUpdated": _timestamp(moment), "healthy": self.healthy}
            for family, moment in self._synced.items()
        }
        body = json.dumps({**fields, "healthy": healthy, "status": families})
        return status, headers, body


class _Listener:
    """One listening socket; a request per connection."""

    def __init__(
        self, sock: socket.socket, answer: Responder, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._sock = sock
        self._answer = answer
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        sock.setblocking(False)
        loop.add_reader(sock, self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._sock.accept()
            task = self._loop.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):
            async with asyncio.timeout(5):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                words = head.split(" ", 2)
                status, headers, body = self._answer(words[1] if len(words) > 1 else "")
                lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
                content = "" if words[0] == "HEAD" else body
                writer.write(("\r\n".join(lines) + content).encode())
                await writer.drain()
        writer.close()


def _timestamp(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")
