"""exec and port-forward over WebSocket channels, as the Python client uses them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from testbed.api.documents import Document
from testbed.control.apiserver.incoming import SIZES_WAITING
from testbed.control.apiserver.pods import Streams
from tests.unit.control.apiserver.live import Live, NoPods, live_server

POD = "/api/v1/namespaces/default/pods/p"
V4 = "v4.channel.k8s.io"


class Backend(NoPods):
    """exec gives back what it is sent; port 7 echoes, the others refuse."""

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
        await streams.write(await streams.read())
        if tty:
            sizes = [await streams.resized() for _ in range(SIZES_WAITING)]
            await streams.write(str(sizes[-1]).encode())
        return 3

    async def dial(
        self, pod: Document, port: int, address: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port != 7:
            raise ConnectionRefusedError(111, "Connection refused")

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data.upper())

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        return await asyncio.open_connection(*server.sockets[0].getsockname()[:2])


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_server(tmp_path, Backend()) as running:
        spec = {"nodeName": "w1", "containers": [{"name": "c", "image": "x"}]}
        pod = {"metadata": {"name": "p"}, "spec": spec}
        assert running.call("POST", "/api/v1/namespaces/default/pods", pod).code == 201
        yield running


def connect(live: Live, path: str) -> aiohttp.client._WSRequestContextManager:
    headers = {"Authorization": f"Bearer {live.server.credentials.token}"}
    return live.session.ws_connect(live.server.url + path, protocols=(V4,), headers=headers)


def test_input_may_come_as_text(live: Live) -> None:
    async def talk() -> tuple[bytes, Document]:
        async with connect(live, f"{POD}/exec?command=cat&stdin=true&stdout=true") as socket:
            await socket.send_str("\0héllo")
            output = await socket.receive_bytes(timeout=10)
            result = await socket.receive_bytes(timeout=10)
            return output, json.loads(result[1:])

    output, result = live.run(talk())
    assert output == b"\1" + "héllo".encode()
    assert result["details"]["causes"][0]["message"] == "3"


def test_of_many_terminal_sizes_the_newest_are_kept(live: Live) -> None:
    async def talk() -> bytes:
        path = f"{POD}/exec?command=cat&stdin=true&stdout=true&tty=true"
        async with connect(live, path) as socket:
            for width in range(100):
                await socket.send_bytes(b"\4" + json.dumps({"Width": width, "Height": 1}).encode())
            await socket.send_bytes(b"\0x")
            assert await socket.receive_bytes(timeout=10) == b"\1x"
            return await socket.receive_bytes(timeout=10)

    assert live.run(talk()) == b"\1(99, 1)"


def test_ports_are_forwarded_over_a_pair_of_channels_each(live: Live) -> None:
    async def talk() -> dict[int, bytes]:
        heard: dict[int, bytes] = {}
        async with connect(live, f"{POD}/portforward?ports=81,7") as socket:
            await socket.send_bytes(b"\2abc")
            while b"ABC" not in heard.get(2, b"") or len(heard.get(1, b"")) < 3:
                data = await socket.receive_bytes(timeout=10)
                heard[data[0]] = heard.get(data[0], b"") + data[1:]
        return heard

    heard = live.run(talk())
    assert heard[0] == (81).to_bytes(2, "little")
    assert heard[1].startswith((81).to_bytes(2, "little") + b"error forwarding port 81 to pod ")
    assert b"connect: connection refused" in heard[1]
    assert (heard[2], heard[3]) == (b"\7\0ABC", b"\7\0")


@pytest.mark.parametrize("query", ["", "ports=0", "ports=x", "ports=70000"])
def test_ports_have_to_be_ports(live: Live, query: str) -> None:
    async def talk() -> int:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connect(live, f"{POD}/portforward?{query}"):
                pass
        return caught.value.status

    assert live.run(talk()) == 400
