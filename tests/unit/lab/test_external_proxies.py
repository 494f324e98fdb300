"""When external proxies have caught up: what they must have been told first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from testbed.clock import ManualClock
from testbed.control.store import Store
from testbed.errors import TestbedError
from testbed.lab import external
from testbed.lab.external import ExternalProxies
from testbed.lab.options import LabOptions

ALL = {"services", "endpointslices", "nodes"}


class Proxy:
    """A program that is healthy and whose rules don't change."""

    problem = ""

    def __init__(self, *, taken_over: bool = False, broken: bool = False) -> None:
        self.taken_over = taken_over
        self._broken = broken

    def start(self) -> None:
        pass

    async def ready(self) -> None:
        if self._broken:
            raise TestbedError("w1: proxy command ended with status 1: no")

    def generation(self) -> int:
        return 7


class Watches:
    """What the server says of a proxy's watches: one answer after the other, the last one again."""

    def __init__(self, answers: Iterable[set[str]]) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self) -> set[str]:
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def settle(proxy: Any, watches: Watches, changes: int = 1) -> ExternalProxies:
    """Settle a proxy, `changes` times over."""

    async def run() -> ExternalProxies:
        options = LabOptions(proxy_command="proxy", proxy_quiet=0.01, api=True)
        store = Store(ManualClock())
        loop = asyncio.get_running_loop()
        proxies = ExternalProxies(store, loop, options, lambda *_: None, lambda: None)
        proxies.add("w1", proxy, watches)
        await proxies.settled()
        for index in range(1, changes):
            store.create("services", {"metadata": {"name": f"s{index}", "namespace": "default"}})
            await proxies.settled()
        assert proxies.idle
        return proxies

    return asyncio.run(run())


def test_a_new_program_is_known_by_its_rules_alone() -> None:
    watches = Watches([set()])
    settle(Proxy(), watches)
    assert watches.asked == 1


def test_one_that_has_watched_is_waited_for_until_it_knows_all_of_it() -> None:
    watches = Watches([ALL, {"services"}, {"services", "nodes"}, ALL])
    settle(Proxy(), watches, changes=2)
    assert watches.asked == 4


@pytest.mark.parametrize("endpoints", ["endpointslices", "endpoints"])
def test_one_from_before_a_resume_is_waited_for_until_it_watches_again(endpoints: str) -> None:
    watches = Watches([set(), {"services"}, {endpoints}, {"services", endpoints}])
    settle(Proxy(taken_over=True), watches)
    assert watches.asked == 4


def test_one_that_only_asks_now_and_then_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "WATCH_PATIENCE", 0.02)
    watches = Watches([set()])
    settle(Proxy(taken_over=True), watches)
    assert watches.asked > 1


def test_one_that_cannot_run_is_an_error() -> None:
    with pytest.raises(TestbedError, match="ended with status 1"):
        settle(Proxy(broken=True), Watches([ALL]))
