"""The echo application on loopback sockets: lines, HTTP, silence, and clients that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from testbed.runtime.echo import EchoServer, Identity

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(client: Callable[[int, list[str]], Coroutine[Any, Any, None]]) -> list[str]:
    """Run `client(port, problems)` against an echo server; what the loop complained of."""
    complaints: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
        server = EchoServer(loop, Identity("web-0", "default", "w1"), socket.socket)
        port = free_port()
        assert server.listen([("TCP", port)]) == []
        try:
            await client(port, complaints)
        finally:
            server.close()

    asyncio.run(main())
    return complaints


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


def test_a_line_is_answered_with_who_answers_and_who_asked() -> None:
    async def client(port: int, _: list[str]) -> None:
        reader, writer = await connect(port)
        writer.write(b"hello\n")
        answer = json.loads(await reader.readline())
        assert (answer["pod"], answer["node"]) == ("web-0", "w1")
        host, source_port = writer.get_extra_info("sockname")
        assert answer["peer"] == f"{host}:{source_port}"
        writer.close()

    assert serve(client) == []


def test_a_silent_client_gets_its_line_too() -> None:
    async def client(port: int, _: list[str]) -> None:
        reader, _writer = await connect(port)
        assert json.loads(await reader.readline())["pod"] == "web-0"
        assert await reader.read() == b""

    assert serve(client) == []


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 10])
def test_a_request_in_two_pieces_is_one_request(cut: int) -> None:
    request = b"GET /hostname HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"

    async def client(port: int, _: list[str]) -> None:
        reader, writer = await connect(port)
        writer.write(request[:cut])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(request[cut:])
        assert (await reader.read()).endswith(b"\r\n\r\nweb-0")

    assert serve(client) == []


def test_a_connection_carries_many_requests() -> None:
    request = b"GET /hostname HTTP/1.1\r\nHost: web\r\n\r\n"

    async def client(port: int, _: list[str]) -> None:
        reader, writer = await connect(port)
        for _round in range(3):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head
            assert await reader.readexactly(5) == b"web-0"
        writer.close()

    assert serve(client) == []


def test_clients_that_reset_at_once_are_forgotten_quietly() -> None:
    async def client(port: int, _: list[str]) -> None:
        for _round in range(50):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await asyncio.sleep(0.05)
        reader, writer = await connect(port)
        writer.write(b"still there?\n")
        assert json.loads(await reader.readline())["pod"] == "web-0"

    assert serve(client) == []
