"""Health checks that really run: HTTP from the balancer's namespace, on the lab's clock.

A target that has never answered is asked often and admitted by its first success, so that a new
load balancer serves as soon as it can. From then on it changes sides after `threshold` answers in a
row that say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.api.objects import IPV6, NamespacedName, family_of
from testbed.clock import Clock, Timer

log = logging.getLogger(__name__)

#: Opens a socket in the balancer's namespace: (family, kind) → socket.
SocketOpener: TypeAlias = Callable[[int, int], socket.socket]


@dataclass(frozen=True, slots=True, order=True)
class Check:
    """What is asked: http://address:port/healthz."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Seconds between checks and to wait for an answer; answers in a row that change a state.

    `interval` and `first` run on the lab's clock; `timeout` is real, as the network is.
    """

    interval: float = 2.0
    timeout: float = 1.0
    threshold: int = 2
    first: float = 0.05


@dataclass(slots=True)
class _State:
    owners: set[NamespacedName] = field(default_factory=set)
    healthy: bool = False
    admitted: bool = False
    against: int = 0
    asked: int = 0
    timer: Timer | None = None
    task: asyncio.Task[None] | None = None


class HealthChecker:
    """Runs the checks that load balancers want; one that several want runs once.

    `changed` is called with a load balancer's key when the health of one of its targets changed.
    The checks run on `loop`, or on the loop that runs when they are asked for.
    """

    def __init__(
        self,
        clock: Clock,
        open_socket: SocketOpener,
        changed: Callable[[NamespacedName], None],
        settings: HealthSettings | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._clock = clock
        self._open = open_socket
        self._changed = changed
        self.settings = settings or HealthSettings()
        self._loop = loop
        self._states: dict[Check, _State] = {}
        self._wanted: dict[NamespacedName, frozenset[Check]] = {}

    def want(self, owner: NamespacedName, checks: Iterable[Check]) -> None:
        """Run exactly `checks` for `owner`; none ends them."""
        wanted = frozenset(checks)
        before = self._wanted.pop(owner, frozenset())
        if wanted:
            self._wanted[owner] = wanted
        for check in wanted - before:
            state = self._states.get(check)
            if state is None:
                state = self._states[check] = _State()
                self._start(check, state)
            state.owners.add(owner)
        for check in before - wanted:
            self._states[check].owners.discard(owner)
            if not self._states[check].owners:
                self._end(check)

    def healthy(self, check: Check) -> bool:
        """The check's state; what hasn't answered yet isn't healthy."""
        state = self._states.get(check)
        return state is not None and state.healthy

    async def settled(self) -> None:
        """Wait for the checks that are under way, then ask those never admitted once more.

        So a target that answers by now has its traffic when this returns.
        """
        await self._answered()
        for check, state in list(self._states.items()):
            if not state.admitted and state.task is None:
                if state.timer is not None:
                    state.timer.cancel()
                self._start(check, state)
        await self._answered()

    async def _answered(self) -> None:
        while tasks := [s.task for s in self._states.values() if s.task is not None]:
            await asyncio.wait(tasks)

    def close(self) -> None:
        """End all checks."""
        for owner in list(self._wanted):
            self.want(owner, ())

    def _end(self, check: Check) -> None:
        state = self._states.pop(check)
        if state.timer is not None:
            state.timer.cancel()
        if state.task is not None:
            state.task.cancel()

    def _start(self, check: Check, state: _State) -> None:
        state.timer = None
        if state.task is None:
            loop = self._loop or asyncio.get_running_loop()
            state.task = loop.create_task(self._run(check, state))

    async def _run(self, check: Check, state: _State) -> None:
        passed = await self._ask(check)
        state.task = None
        if self._states.get(check) is not state:
            return
        state.asked += 1
        wait = self.settings.interval
        if not state.admitted and not passed:
            wait = min(wait, self.settings.first * 2 ** min(state.asked - 1, 16))
        state.timer = self._clock.call_later(wait, lambda: self._start(check, state))
        self._count(check, state, passed)

    def _count(self, check: Check, state: _State, passed: bool) -> None:
        if passed == state.healthy:
            state.against = 0
            return
        state.against += 1
        if state.admitted and state.against < self.settings.threshold:
            return
        state.healthy = passed
        state.admitted = True
        state.against = 0
        log.info("%s:%d is %s", check.address, check.port, "healthy" if passed else "unhealthy")
        for owner in tuple(state.owners):
            self._changed(owner)

    async def _ask(self, check: Check) -> bool:
        """Whether the node answers 200 in time."""
        family = socket.AF_INET6 if family_of(check.address) == IPV6 else socket.AF_INET
        sock = self._open(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._get(sock, check)
        except (OSError, TimeoutError):
            return False
        finally:
            with contextlib.suppress(OSError):
                sock.close()

    async def _get(self, sock: socket.socket, check: Check) -> bool:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (check.address, check.port))
        host = f"[{check.address}]" if ":" in check.address else check.address
        request = f"GET /healthz HTTP/1.1\r\nHost: {host}:{check.port}\r\nConnection: close\r\n\r\n"
        await loop.sock_sendall(sock, request.encode())
        answer = b""
        while b"\r\n" not in answer and len(answer) < 256:
            part = await loop.sock_recv(sock, 256)
            if not part:
                break
            answer += part
        status = answer.split(b"\r\n", 1)[0].split(b" ")
        return len(status) > 1 and status[0].startswith(b"HTTP/1.") and status[1] == b"200"
