"""How a program ends when nobody waits for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.fabric.fabric import Fabric
from testbed.runtime import checker, programs
from testbed.runtime.checker import Checker
from testbed.runtime.programs import Program, launch
from testbed.runtime.sandbox import Sandbox


def test_one_that_does_not_die_is_not_waited_for_and_its_end_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "_PATIENCE", 0.05)

    async def body() -> None:
        told: list[int] = []
        loop = asyncio.get_running_loop()
        program = launch(["sleep", "1000"], loop, lambda data: None, told.append)
        with monkeypatch.context() as patch:
            patch.setattr(Program, "kill", lambda self: None)  # as in the middle of a system call
            program.end()
        assert program.code is None
        program.kill()
        async with asyncio.timeout(20):
            while program.code is None:
                await asyncio.sleep(0.005)
        assert (program.code, told) == (137, [])

    asyncio.run(body())


def test_a_cancelled_check_leaves_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Program] = []

    def launched(*args: Any, **options: Any) -> Program:
        started.append(launch(*args, **options))
        return started[-1]

    monkeypatch.setattr(checker, "launch", launched)
    sandbox = SimpleNamespace(
        request=SimpleNamespace(node="n", addresses=["10.0.0.1"]),
        inside=lambda container, command: command,
        environment_of=lambda container: {},
    )
    fabric = SimpleNamespace(namespace=lambda name: SimpleNamespace(socket=None))

    async def body() -> None:
        checks = Checker(cast(Fabric, fabric), asyncio.get_running_loop())
        action = {"exec": {"command": ["sleep", "1000"]}}
        check = asyncio.create_task(
            checks.check(cast(Sandbox, sandbox), {"name": "c"}, action, 1000.0)
        )
        while not started:
            await asyncio.sleep(0)
        check.cancel()
        await asyncio.gather(check, return_exceptions=True)
        assert started[0].code == 137

    asyncio.run(body())
