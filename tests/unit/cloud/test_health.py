"""Health checks against servers on loopback, on a clock that is stepped by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from testbed.api.objects import NamespacedName
from testbed.clock import ManualClock
from testbed.cloud.health import Check, HealthChecker, HealthSettings

WEB, API = NamespacedName("default", "web"), NamespacedName("default", "api")


class Lab:
    """A node on loopback that answers with `status`, or not at all while it is None."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.changed: list[NamespacedName] = []
        self.status: int | None = 200
        self.asked = 0
        settings = HealthSettings(interval=2.0, timeout=0.2)
        self.checker = HealthChecker(self.clock, socket.socket, self.changed.append, settings)

    async def start(self) -> Check:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return Check("127.0.0.1", server.sockets[0].getsockname()[1])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:")
        if self.status is not None:
            writer.write(f"HTTP/1.1 {self.status} Words\r\n\r\n".encode())
            writer.close()
        else:
            await asyncio.sleep(1)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.checker.settled()


def play(story: Callable[[Lab], Awaitable[None]]) -> None:
    async def run() -> None:
        lab = Lab()
        await story(lab)
        lab.checker.close()

    asyncio.run(run())


def test_first_success_admits_and_the_owners_are_told() -> None:
    async def story(lab: Lab) -> None:
        check = await lab.start()
        lab.checker.want(WEB, [check])
        lab.checker.want(API, [check])
        assert not lab.checker.healthy(check)
        await lab.checker.settled()
        assert lab.checker.healthy(check)
        assert set(lab.changed) == {WEB, API}
        assert lab.asked == 1

    play(story)


def test_it_takes_two_failures_to_leave_and_two_successes_to_return() -> None:
    async def story(lab: Lab) -> None:
        check = await lab.start()
        lab.checker.want(WEB, [check])
        await lab.checker.settled()
        seen = []
        for status in (503, 200, 503, 503, 200, 503, 200, 200):
            lab.status = status
            await lab.advance(2)
            seen.append(lab.checker.healthy(check))
        assert seen == [True, True, True, False, False, False, False, True]

    play(story)


def test_silence_and_a_closed_port_are_failures() -> None:
    async def story(lab: Lab) -> None:
        check = await lab.start()
        lab.status = None
        lab.checker.want(WEB, [check, Check("127.0.0.1", 1)])
        await lab.checker.settled()
        assert not lab.checker.healthy(check)
        assert not lab.checker.healthy(Check("127.0.0.1", 1))
        assert lab.changed == []

    play(story)


def test_target_that_comes_up_late_is_admitted_when_things_settle() -> None:
    async def story(lab: Lab) -> None:
        check = await lab.start()
        lab.status = 503
        lab.checker.want(WEB, [check])
        await lab.checker.settled()
        assert not lab.checker.healthy(check)
        lab.status = 200
        await lab.checker.settled()
        assert lab.checker.healthy(check)

    play(story)


def test_checks_end_with_their_last_owner() -> None:
    async def story(lab: Lab) -> None:
        check = await lab.start()
        lab.checker.want(WEB, [check])
        lab.checker.want(API, [check])
        lab.checker.want(WEB, [])
        await lab.advance(2)
        assert lab.checker.healthy(check)
        before = lab.asked
        lab.checker.want(API, [])
        await lab.advance(10)
        assert lab.asked == before
        assert not lab.checker.healthy(check)

    play(story)
