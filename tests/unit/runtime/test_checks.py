"""The request of an httpGet probe."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from testbed.runtime import checks


def sent(*headers: tuple[str, str]) -> list[str]:
    """The header lines that a server gets for a probe with these httpHeaders."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async def body() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        action: dict[str, Any] = {
            "port": port,
            "httpHeaders": [{"name": name, "value": value} for name, value in headers],
        }
        assert await checks.http_get(socket.socket, action, {}, "127.0.0.1", 10.0) == ""
        server.close()

    asyncio.run(body())
    return got[0].decode().split("\r\n")[1:-2]


def test_a_host_of_any_spelling_is_the_only_one() -> None:
    lines = sent(("host", "example.test"))
    assert [line for line in lines if line.lower().startswith("host:")] == ["Host: example.test"]


def test_names_are_written_as_go_writes_them_and_may_stand_twice() -> None:
    lines = sent(("x-one", "1"), ("X-ONE", "2"), ("user-agent", "me"))
    assert lines[1:] == [
        "User-Agent: me",
        "Accept: */*",
        "X-One: 1",
        "X-One: 2",
        "Connection: close",
    ]


def test_an_empty_agent_or_accept_is_left_out() -> None:
    lines = sent(("Accept", ""), ("User-Agent", ""))
    assert lines[1:] == ["Connection: close"]
