"""gRPC probes against a server on the loopback: answers, refusals, silence, in kubelet's words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.runtime import grpc_health
from tests.health_server import HealthServer, answer


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def ask(listener: socket.socket, service: str = "", timeout: float = 5) -> str:
    port = listener.getsockname()[1]
    return asyncio.run(
        grpc_health.check(lambda *kind: socket.socket(*kind), "127.0.0.1", port, service, timeout)
    )


def test_a_server_that_serves_is_healthy_and_is_asked_for_the_service(
    listener: socket.socket,
) -> None:
    server = HealthServer(listener)
    assert ask(listener) == ""
    assert ask(listener, "a.Service") == ""
    assert ask(listener, "x" * 200) == ""
    assert server.asked[0] == b"\0\0\0\0\0"
    assert server.asked[1] == b"\0\0\0\0\x0b\x0a\x09a.Service"
    assert server.asked[2][5:8] == b"\x0a\xc8\x01"


@pytest.mark.parametrize(
    ("status", "name"), [(0, "UNKNOWN"), (2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN"), (7, "7")]
)
def test_any_other_status_is_unhealthy(listener: socket.socket, status: int, name: str) -> None:
    HealthServer(listener, answer(status))
    assert ask(listener) == f'service unhealthy (responded with "{name}")'


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (
            {"refusal": [(":status", "200"), ("grpc-status", "12"), ("grpc-message", "no%20such")]},
            "error: this server does not implement the grpc health protocol "
            "(grpc.health.v1.Health): no such",
        ),
        (
            {"refusal": [(":status", "404"), ("content-type", "text/plain")]},
            "error: this server does not implement the grpc health protocol "
            "(grpc.health.v1.Health): unexpected HTTP status code received from server: 404; "
            'transport: received unexpected content-type "text/plain"',
        ),
        (
            {"data": b"", "trailers": [("grpc-status", "5"), ("grpc-message", "unknown service")]},
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        ),
        (
            {"trailers": [("grpc-status", "16"), ("grpc-message", "who?")]},
            "error: health rpc probe failed: rpc error: code = Unauthenticated desc = who?",
        ),
    ],
)
def test_refusals_are_worded_as_kubelet_does(
    listener: socket.socket, server: dict[str, Any], problem: str
) -> None:
    HealthServer(listener, **server)
    assert ask(listener) == problem


def test_a_server_that_says_nothing_is_given_up(listener: socket.socket) -> None:
    HealthServer(listener, silent=True)
    assert ask(listener, timeout=0.2) == "timeout: health rpc did not complete within 0.2s"


def test_a_port_where_nobody_listens_cannot_be_connected(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    found = asyncio.run(
        grpc_health.check(lambda *kind: socket.socket(*kind), "127.0.0.1", port, "", 1)
    )
    late = "within 1s: context deadline exceeded"
    assert found == f'timeout: failed to connect service "127.0.0.1:{port}" {late}'


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 200, b""])
def test_what_does_not_speak_http2_cannot_be_connected(
    listener: socket.socket, said: bytes
) -> None:
    async def serve() -> str:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await grpc_health.check(
                lambda *kind: socket.socket(*kind), "127.0.0.1", port, "", 2
            )

    assert asyncio.run(serve()).startswith("timeout: failed to connect service ")
