"""kubectl logs, exec, attach, cp and port-forward against a backend that runs nothing real."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

import pytest

from testbed.api.documents import Document, name_of
from testbed.api.resources import by_name
from testbed.control.apiserver.pods import STDERR, LogOptions, Streams
from tests.e2e.control.kubectl import Kubectl
from tests.unit.control.apiserver.live import live_server

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl isn't installed")

POD = {
    "metadata": {"name": "p"},
    "spec": {"nodeName": "w1", "containers": [{"name": "c", "image": "x"}]},
}


class Backend:
    """Logs three lines; `cat` returns its input, `fail` fails; a port returns what it gets."""

    async def logs(
        self, pod: Document, container: str, options: LogOptions
    ) -> AsyncGenerator[bytes, None]:
        lines = [f"{name_of(pod)}/{container} {number}\n" for number in range(3)]
        for line in lines[-options.tail :] if options.tail else lines:
            yield line.encode()

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
        if command[0] == "fail":
            await streams.write(b"no\n", STDERR)
            return 7
        if command[0] == "echo":
            await streams.write(" ".join(command[1:]).encode() + b"\n")
            return 0
        while data := await streams.read():
            await streams.write(data)
        return 0

    async def attach(
        self, pod: Document, container: str, streams: Streams, *, tty: bool, stdin: bool
    ) -> int:
        await streams.write(b"attached\n")
        return 0

    async def dial(
        self, pod: Document, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port != 80:
            raise ConnectionRefusedError("connection refused")

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        return await asyncio.open_connection(*server.sockets[0].getsockname()[:2])


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    with live_server(tmp_path / "run", Backend()) as live:
        home = tmp_path / "home"
        home.mkdir()
        pods = by_name("pods")
        assert pods is not None
        made = live.registry.create(pods, POD, namespace="default").document
        running = {**made, "status": {"phase": "Running"}}
        live.registry.update(pods, "default", "p", running, subresource="status")
        yield Kubectl(live, home, controllers=False)


#: What kubectl before 1.30 speaks, and newer ones where WebSocket is turned off.
SPDY = {
    "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false",
    "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false",
}
TRANSPORTS = pytest.mark.parametrize("transport", [{}, SPDY], ids=["websocket", "spdy"])


def test_logs_come_whole_or_by_their_tail(kubectl: Kubectl) -> None:
    assert kubectl("logs p").output == "p/c 0\np/c 1\np/c 2\n"
    assert kubectl("logs p --tail=1 -f").output == "p/c 2\n"
    assert "container d is not valid for pod p" in kubectl("logs p -c d").error


@TRANSPORTS
def test_exec_carries_arguments_output_and_exit_status(
    kubectl: Kubectl, transport: dict[str, str]
) -> None:
    echoed = kubectl.run(["exec", "p", "--", "echo", "a b", "c"], **transport)
    assert echoed.output == "a b c\n"
    failed = kubectl("exec p -- fail", **transport)
    assert failed.code == 7
    assert "no\n" in failed.error


@TRANSPORTS
def test_exec_carries_input_to_its_end(kubectl: Kubectl, transport: dict[str, str]) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    assert kubectl("exec -i p -- cat", text, **transport).output == text


@TRANSPORTS
def test_attach_joins_the_containers_process(kubectl: Kubectl, transport: dict[str, str]) -> None:
    assert "attached\n" in kubectl("attach p", **transport).text


@TRANSPORTS
def test_port_forward_carries_several_connections(
    kubectl: Kubectl, transport: dict[str, str]
) -> None:
    live = kubectl.live

    async def talk() -> list[bytes]:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            *("--kubeconfig", str(live.server.kubeconfig), "port-forward", "pod/p", ":80", ":81"),
            env={**os.environ, **transport},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            ports = {}
            while len(ports) < 2:
                line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
                assert line, "port-forward ended"
                if "127.0.0.1:" in line:
                    local, _, remote = line.split("127.0.0.1:")[1].partition(" -> ")
                    ports[int(remote)] = int(local)
            answers = await asyncio.gather(*(say(ports[80], size) for size in (1, 1000, 300_000)))
            return [*answers, await say(ports[81], 1)]
        finally:
            process.terminate()
            await process.wait()

    async def say(port: int, size: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * size)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(-1), 20)
        writer.close()
        return answer

    found = live.run(talk())
    assert [len(answer) for answer in found] == [1, 1000, 300_000, 0]
