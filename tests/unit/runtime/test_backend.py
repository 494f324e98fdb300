"""What of a client's input reaches a program."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from testbed.api.documents import Document
from testbed.runtime.backend import LabPods
from testbed.runtime.logs import ContainerLog
from testbed.runtime.programs import Program, launch
from testbed.runtime.sandboxes import Sandboxes


class Client:
    """A client that sends `pieces`, then the end of its input or, if it stays, nothing."""

    def __init__(self, *pieces: bytes, stays: bool = False) -> None:
        self._pieces = list(pieces)
        self._stays = stays
        self.got = b""
        self.has_sent_all = asyncio.Event()

    async def read(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        self.has_sent_all.set()
        if self._stays:
            await asyncio.Event().wait()
        return b""

    async def write(self, data: bytes, stream: int = 1) -> None:
        self.got += data

    async def resized(self) -> tuple[int, int]:
        await asyncio.Event().wait()
        raise AssertionError


class Lab:
    """One Pod with one container `c`, whose commands run as they are."""

    def __init__(self, directory: Path) -> None:
        self.log = ContainerLog(directory / "log")
        self.program: Program | None = None
        self.codes: asyncio.Queue[int] = asyncio.Queue()
        self.logs = SimpleNamespace(of=lambda key, container: self.log)

    def start(self, *argv: str) -> Program:
        def exited(code: int) -> None:
            self.log.close()
            self.codes.put_nowait(code)

        loop = asyncio.get_running_loop()
        self.program = launch(argv, loop, self.log.append, exited, interactive=True)
        return self.program

    def find(self, uid: str) -> Any:
        def inside(container: str, command: Sequence[str], before: Sequence[str]) -> list[str]:
            return list(command)

        return SimpleNamespace(
            programs={"c": self.program},
            echoes=set(),
            inside=inside,
            environment_of=lambda container: {},
        )


def in_a_loop(test: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    @wraps(test)
    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    return run


def pod(**container: Any) -> Document:
    return {
        "metadata": {"uid": "u", "name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c", **container}]},
    }


def pods(lab: Lab) -> LabPods:
    return LabPods(cast(Sandboxes, lab))


@in_a_loop
async def test_a_command_without_input_finds_it_at_its_end(tmp_path: Path) -> None:
    client = Client(b"never asked for", stays=True)
    run = pods(Lab(tmp_path)).execute(pod(), "c", ["cat"], client, tty=False, stdin=False)
    async with asyncio.timeout(20):
        assert await run == 0
    assert client.got == b""


@in_a_loop
async def test_a_command_with_input_gets_it(tmp_path: Path) -> None:
    client = Client(b"hello")
    run = pods(Lab(tmp_path)).execute(pod(), "c", ["cat"], client, tty=False, stdin=True)
    async with asyncio.timeout(20):
        assert await run == 0
    assert client.got == b"hello"


@in_a_loop
async def test_all_of_a_long_input_arrives_at_its_pace(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.start("wc", "-c")
    client = Client(bytes(300_000), bytes(200_000))
    async with asyncio.timeout(20):
        await pods(lab).attach(pod(stdinOnce=True), "c", client, tty=False, stdin=True)
    assert client.got == b"500000\n"


@in_a_loop
async def test_a_program_that_does_not_read_stalls_its_client_alone(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    program = lab.start("sleep", "1000")
    client = Client(bytes(300_000), b"more")
    attached = asyncio.create_task(pods(lab).attach(pod(), "c", client, tty=False, stdin=True))
    async with asyncio.timeout(20):
        while program.write(b"x"):  # until the client's input has filled it
            await asyncio.sleep(0)
        assert not client.has_sent_all.is_set()
        program.kill()
        await attached


@in_a_loop
async def test_input_ends_with_its_client_only_where_it_is_read_once(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    program = lab.start("cat")
    first, second = Client(b"one\n"), Client(b"two\n")
    async with asyncio.timeout(20):
        attached = asyncio.create_task(
            pods(lab).attach(pod(stdinOnce=False), "c", first, tty=False, stdin=True)
        )
        await first.has_sent_all.wait()
        await asyncio.sleep(0)
        attached.cancel()
        await asyncio.gather(attached, return_exceptions=True)
        assert program.code is None
        await pods(lab).attach(pod(stdinOnce=True), "c", second, tty=False, stdin=True)
    assert second.got.endswith(b"two\n")
    assert await lab.codes.get() == 0


@in_a_loop
async def test_a_client_that_only_watches_does_not_end_the_input(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    program = lab.start("cat")
    client = Client()
    attached = asyncio.create_task(
        pods(lab).attach(pod(stdinOnce=True), "c", client, tty=False, stdin=False)
    )
    async with asyncio.timeout(20):
        program.write(b"hello\n")
        while client.got != b"hello\n":
            await asyncio.sleep(0.005)
        assert not client.has_sent_all.is_set()
        program.kill()
        await attached
