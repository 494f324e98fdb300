"""Programs in a keeper go on when the control plane that started them is gone."""

from __future__ import annotations

import asyncio
import select
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.runtime import kept
from testbed.runtime.hosts import Launch
from testbed.runtime.kept import KeeperHost, KeptProgram
from testbed.runtime.logs import SIZE_LIMIT
from testbed.shell import OWN_TERMINAL, Process


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Process]:
    process = KeeperHost.start("unit-keeper", tmp_path)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def directory(tmp_path: Path, keeper: Process) -> Path:
    return tmp_path


class Seen:
    """What a host has been told of one program."""

    def __init__(self) -> None:
        self.printed = b""
        self.code: int | None = None

    def output(self, data: bytes) -> None:
        self.printed += data

    def exited(self, code: int) -> None:
        self.code = code


def in_loop(body: Callable[[asyncio.AbstractEventLoop], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await body(asyncio.get_running_loop())

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def launch(host: KeeperHost, seen: Seen, script: str, *, interactive: bool = False) -> KeptProgram:
    asked = Launch("uid", "c", ["sh", "-c", script], {"WORD": "hello"}, "/", interactive)
    return host.launch(asked, seen.output, seen.exited)


def test_output_and_exit_code_arrive(directory: Path) -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop), Seen()
        launch(host, seen, "echo $WORD; exit 3")
        await until(lambda: seen.code is not None)
        assert (seen.printed, seen.code) == (b"hello\n", 3)
        host.close()

    in_loop(body)


def test_what_happens_without_a_control_plane_is_told_to_the_next(directory: Path) -> None:
    flag = directory / "flag"

    async def first(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop), Seen()
        launch(
            host, seen, f"echo one; while [ ! -e {flag} ]; do sleep 0.01; done; echo two; exit 5"
        )
        await until(lambda: seen.printed == b"one\n")
        host.close()

    async def second(loop: asyncio.AbstractEventLoop) -> None:
        flag.touch()
        await asyncio.sleep(0.1)
        host, seen = KeeperHost(directory, loop, resume=True), Seen()
        assert list(host.programs) == ["uid/c"]
        program = host.adopt_program("uid/c", seen.output, seen.exited)
        await until(lambda: program.code is not None)
        assert (seen.printed, seen.code) == (b"two\n", 5)
        host.close()

    in_loop(first)
    in_loop(second)


def test_what_a_control_plane_did_not_take_before_it_died_is_told_to_the_next(
    directory: Path,
) -> None:
    async def first(loop: asyncio.AbstractEventLoop) -> None:
        host = KeeperHost(directory, loop)
        loop.remove_reader(host._events)  # it is stuck, and then gone
        launch(host, Seen(), "echo one; exit 5")
        while select.select([host._events], [], [], 0)[0] == []:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        host.close()

    async def second(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop, resume=True), Seen()
        host.adopt_program("uid/c", seen.output, seen.exited)
        await until(lambda: seen.code is not None)
        assert (seen.printed, seen.code) == (b"one\n", 5)
        host.close()

    async def third(loop: asyncio.AbstractEventLoop) -> None:
        host = KeeperHost(directory, loop, resume=True)
        assert host.programs == {}
        host.close()

    for body in (first, second, third):
        in_loop(body)


def test_what_a_control_plane_has_taken_is_not_told_again_even_if_the_keeper_was_not_told(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop), Seen()
        monkeypatch.setattr(host, "_confirm", lambda: None)
        launch(host, seen, "echo one; read word; echo $word; sleep 1000", interactive=True)
        await until(lambda: seen.printed == b"one\n")
        host.close()

    async def second(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop, resume=True), Seen()
        program = host.adopt_program("uid/c", seen.output, seen.exited)
        program.write(b"two\n")
        await until(lambda: b"two\n" in seen.printed)
        assert seen.printed == b"two\n"
        program.kill()
        await until(lambda: seen.code is not None)
        host.close()

    in_loop(first)
    in_loop(second)


def test_a_program_waits_for_a_control_plane_that_is_behind(
    directory: Path, keeper: Process
) -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop), Seen()
        loop.remove_reader(host._events)
        flag = directory / "flag"
        program = launch(host, seen, f"head -c 20000000 /dev/zero; touch {flag}; exit 4")
        await asyncio.sleep(0.5)
        assert not flag.exists()
        loop.add_reader(host._events, host._readable)
        await until(lambda: program.code is not None)
        assert (len(seen.printed), seen.code) == (20_000_000, 4)
        host.close()

    in_loop(body)


def test_what_waits_for_a_control_plane_is_bounded(directory: Path, keeper: Process) -> None:
    async def first(loop: asyncio.AbstractEventLoop) -> None:
        host, flag = KeeperHost(directory, loop), directory / "flag"
        wait = f"while [ ! -e {flag} ]; do sleep 0.01; done"
        launch(host, Seen(), f"{wait}; head -c 60000000 /dev/zero; echo end; exit 6")
        host.close()
        flag.touch()

    async def second(loop: asyncio.AbstractEventLoop) -> None:
        watching = KeeperHost(directory, loop)
        loop.remove_reader(watching._events)
        watching._events.close()
        while watching.ask("state")["programs"]["uid/c"]["pid"]:
            await asyncio.sleep(0.05)
        watching._requests.close()
        host, seen = KeeperHost(directory, loop, resume=True), Seen()
        host.adopt_program("uid/c", seen.output, seen.exited)
        await until(lambda: seen.code is not None)
        assert (seen.printed[-4:], seen.code) == (b"end\n", 6)
        assert len(seen.printed) <= SIZE_LIMIT
        host.close()

    in_loop(first)
    in_loop(second)


def test_what_nobody_takes_after_a_resume_is_bounded(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = directory / "flag"

    async def first(loop: asyncio.AbstractEventLoop) -> None:
        host = KeeperHost(directory, loop)
        wait = f"while [ ! -e {flag} ]; do sleep 0.01; done"
        launch(host, Seen(), f"{wait}; head -c 2000000 /dev/zero; echo end; exit 6")
        host.close()

    async def second(loop: asyncio.AbstractEventLoop) -> None:
        monkeypatch.setattr(kept, "SIZE_LIMIT", 1_000_000)
        host, seen = KeeperHost(directory, loop, resume=True), Seen()
        flag.touch()
        while host.ask("state")["programs"]:
            await asyncio.sleep(0.01)
        host.adopt_program("uid/c", seen.output, seen.exited)
        await until(lambda: seen.code is not None)
        assert (seen.printed[-4:], seen.code) == (b"end\n", 6)
        assert len(seen.printed) < 1_000_000
        host.close()

    in_loop(first)
    in_loop(second)


def test_a_program_on_a_terminal_has_its_size_and_its_input(directory: Path) -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop), Seen()
        script = "read word; stty size; echo got $word; exit 4"
        argv = [*OWN_TERMINAL, "sh", "-c", script]
        asked = Launch("uid", "c", argv, {}, "/", interactive=True, tty=True)
        program = host.launch(asked, seen.output, seen.exited)
        program.resize(100, 40)
        program.write(b"hello\n")
        program.end_input()  # whoever types may leave; the terminal stays
        await until(lambda: seen.code is not None)
        assert seen.printed == b"hello\r\n40 100\r\ngot hello\r\n"
        assert seen.code == 4
        host.close()

    in_loop(body)


def test_a_program_that_goes_on_can_be_given_input_and_ended(directory: Path) -> None:
    async def first(loop: asyncio.AbstractEventLoop) -> None:
        host = KeeperHost(directory, loop)
        launch(host, Seen(), "cat", interactive=True)
        host.close()

    async def second(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop, resume=True), Seen()
        assert host.programs["uid/c"]["environment"] == {"WORD": "hello"}
        program = host.adopt_program("uid/c", seen.output, seen.exited)
        program.write(b"back\n")
        await until(lambda: seen.printed == b"back\n")
        program.terminate()
        await until(lambda: seen.code is not None)
        assert seen.code == 128 + signal.SIGTERM
        host.close()

    in_loop(first)
    in_loop(second)


def test_a_program_that_does_not_read_takes_a_part_and_the_keeper_goes_on(directory: Path) -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop), Seen()
        program = launch(host, seen, "sleep 1000", interactive=True)
        assert 0 < program.write(bytes(300_000)) < 300_000
        assert program.write(b"more") == 0
        program.kill()
        await until(lambda: seen.code is not None)
        host.close()

    in_loop(body)


def test_input_that_a_program_has_closed_goes_nowhere(directory: Path) -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> None:
        host, seen = KeeperHost(directory, loop), Seen()
        program = launch(host, seen, "exec <&-; echo closed; sleep 1000", interactive=True)
        await until(lambda: seen.printed == b"closed\n")
        assert program.write(b"hello") == 5
        program.kill()
        await until(lambda: seen.code is not None)
        host.close()

    in_loop(body)


def test_a_keeper_that_does_not_answer_is_an_error_and_not_a_wait_for_ever(
    directory: Path, keeper: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> None:
        KeeperHost(directory, loop).close()  # it has started
        monkeypatch.setattr(kept, "PATIENCE", 1.0)
        host = KeeperHost(directory, loop)
        keeper.send_signal(signal.SIGSTOP)
        with pytest.raises(TestbedError, match="doesn't answer state"):
            host.ask("state")
        with pytest.raises(TestbedError, match=r"doesn't answer$"):
            host.ask("state")
        keeper.send_signal(signal.SIGCONT)
        await asyncio.sleep(1.1)
        assert host.ask("state") == {"echoes": {}, "programs": {}}
        host.close()

    in_loop(body)


def test_programs_of_pods_that_are_gone_are_ended(directory: Path) -> None:
    async def first(loop: asyncio.AbstractEventLoop) -> None:
        host = KeeperHost(directory, loop)
        launch(host, Seen(), "sleep 1000")
        host.close()

    async def second(loop: asyncio.AbstractEventLoop) -> None:
        host = KeeperHost(directory, loop, resume=True)
        host.drop_all_but(["another"])
        assert host.ask("state")["programs"] == {}
        host.close()

    in_loop(first)
    in_loop(second)


def test_what_cannot_be_done_is_an_error_and_the_keeper_goes_on(directory: Path) -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> None:
        host = KeeperHost(directory, loop)
        with pytest.raises(FileNotFoundError):
            host.launch(Launch("u", "c", ["true"], {}, "/no/such/place"), print, print)
        with pytest.raises(TestbedError, match="KeyError"):
            host.ask("listen", key="nobody", ports=[])
        assert host.ask("state") == {"echoes": {}, "programs": {}}
        host.close()

    in_loop(body)
