"""The proxy's HTTP answers: health check node ports, /healthz and /livez.

Sockets are opened in the node's namespace and served by the caller's event loop. Source:
pkg/proxy/healthcheck/service_health.go, proxy_health.go; catalogue K-55…K-62.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus

from testbed.api.objects import IPV4, NamespacedName, Node
from testbed.clock import Clock
from testbed.proxy.health_status import ServiceHealth
from testbed.proxy.kernel.transaction import Namespace

#: Where kube-proxy answers /healthz and /livez.
HEALTHZ_PORT = 10256
#: The taint of a node that the cluster autoscaler is about to delete.
TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, headers besides length and date, body."""

    status: int
    headers: Mapping[str, str]
    body: str


#: From method and path to an answer.
Handler = Callable[[str, str], Answer]


class ProxyHealth:
    """Whether the proxy keeps up, by family.

    Unhealthy is a proxy where some change has waited longer than `timeout` seconds (kube-proxy:
    twice the sync period). It is healthy while it starts.
    """

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._updated: dict[str, tuple[float, float]] = {}
        self._pending: dict[str, float] = {}
        self.node_eligible = True

    def queued(self, family: str) -> None:
        """A change has come in; the oldest one counts."""
        self._pending.setdefault(family, self._clock.now())

    def updated(self, family: str) -> None:
        """The rules of `family` are those of the latest state."""
        self._pending.pop(family, None)
        self._updated[family] = (self._clock.now(), self._clock.wall())

    def set_node(self, node: Node | None) -> None:
        """None where the Node object is gone."""
        self.node_eligible = (
            node is not None and not node.deleting and TO_BE_DELETED not in node.taints
        )

    def is_healthy(self, family: str | None = None) -> bool:
        """Of one family, or of all."""
        families = self._updated if family is None else [family]
        return all(self._keeps_up(each) for each in families)

    def _keeps_up(self, family: str) -> bool:
        waiting = self._pending.get(family)
        return waiting is None or self._clock.now() - waiting < self._timeout

    def answer(self, method: str, path: str) -> Answer:
        """/healthz (the node's eligibility counts) and /livez; 404 elsewhere."""
        place = path.partition("?")[0]
        if place not in ("/healthz", "/livez"):
            headers = {
                "Content-Type": "text/plain; charset=utf-8",
                "X-Content-Type-Options": "nosniff",
            }
            return Answer(HTTPStatus.NOT_FOUND, headers, "404 page not found\n")
        with_node = place == "/healthz"
        healthy = self.is_healthy() and (self.node_eligible or not with_node)
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        headers = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
        return Answer(status, headers, json.dumps(self._document(with_node, healthy)))

    def _document(self, with_node: bool, healthy: bool) -> dict[str, object]:
        """While healthy `lastUpdated` is now: what it says is that nothing newer waits."""
        now = self._clock.wall()
        late = [self._updated[f][1] for f in self._updated if not self._keeps_up(f)]
        last = now if healthy else min(late, default=self._latest())
        document: dict[str, object] = {
            "lastUpdated": _timestamp(last),
            "currentTime": _timestamp(now),
        }
        if with_node:
            document["nodeEligible"] = self.node_eligible
        document["healthy"] = healthy
        document["status"] = {
            family: {
                "lastUpdated": _timestamp(now if self._keeps_up(family) else wall),
                "healthy": self._keeps_up(family),
            }
            for family, (_, wall) in sorted(self._updated.items())
        }
        return document

    def _latest(self) -> float:
        return max((wall for _, wall in self._updated.values()), default=self._clock.wall())


class HealthServers:
    """HTTP servers of one node: one per health check node port, and the proxy's own.

    `problems` names the ports that couldn't be opened; the others work (K-60).
    """

    def __init__(self, namespace: Namespace, health: ProxyHealth) -> None:
        self._namespace = namespace
        self._health = health
        self._servers: dict[int, list[asyncio.Server]] = {}
        self._services: dict[int, ServiceHealth] = {}
        self._problems: dict[int, str] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(self._problems[port] for port in sorted(self._problems))

    async def start(self) -> None:
        """Answer /healthz and /livez."""
        await self._open(HEALTHZ_PORT, self._health.answer, "healthz", ())

    async def sync(
        self,
        wanted: Mapping[NamespacedName, ServiceHealth],
        addresses: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Serve exactly `wanted`; on all addresses, or on these (family, address)."""
        by_port = {health.port: health for health in wanted.values()}
        for port in [
            port for port in self._servers if port not in by_port and port != HEALTHZ_PORT
        ]:
            await self._close(port)
        for port in [port for port in self._problems if port not in by_port]:
            del self._problems[port]
        self._services = by_port
        for port, health in by_port.items():
            if port not in self._servers:
                await self._open(port, self._service_handler(port), str(health.service), addresses)

    async def close(self) -> None:
        for port in list(self._servers):
            await self._close(port)

    def _service_handler(self, port: int) -> Handler:
        def answer(method: str, path: str) -> Answer:
            health, proxy_healthy = self._services[port], self._health.is_healthy()
            good = health.is_healthy(proxy_healthy)
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            return Answer(status, health.headers(), health.body(proxy_healthy))

        return answer

    async def _open(
        self, port: int, handler: Handler, what: str, addresses: Iterable[tuple[str, str]]
    ) -> None:
        places = list(addresses) or [("", "::")]
        opened: list[asyncio.Server] = []
        try:
            for family, address in places:
                listening = self._namespace.call(lambda f=family, a=address: _listen(f, a, port))  # type: ignore[misc]
                opened.append(await asyncio.start_server(_connection(handler), sock=listening))
        except OSError as error:
            for server in opened:
                server.close()
            where = f"{self._namespace.name} port {port}"
            self._problems[port] = (
                f"{what}: health checks can't listen on {where}: {error.strerror}"
            )
            return
        self._servers[port] = opened
        self._problems.pop(port, None)

    async def _close(self, port: int) -> None:
        for server in self._servers.pop(port):
            server.close()
            await server.wait_closed()


def _listen(family: str, address: str, port: int) -> socket.socket:
    """A listening socket; of family "" for both."""
    kind = socket.AF_INET if family == IPV4 else socket.AF_INET6
    listening = socket.socket(kind, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if family == "" else 1)
        listening.bind((address, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def _connection(
    handler: Handler,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A connection's server: one answer, then it is closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            writer.write(_response(handler(method, path), method))
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError):
            pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    return serve


def _response(answer: Answer, method: str) -> bytes:
    body = answer.body.encode()
    head = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    head += [f"{name}: {value}" for name, value in answer.headers.items()]
    head += [
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + (b"" if method == "HEAD" else body)


def _timestamp(wall: float) -> str:
    moment = datetime.fromtimestamp(wall, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
