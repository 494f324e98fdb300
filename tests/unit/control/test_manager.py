"""The manager: existing objects are seen, refusals are survived, retries come on the clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from testbed.api import status
from testbed.clock import ManualClock
from testbed.control.controllers.base import Controller, Key, Manager, RetryError
from tests.unit.control.world import PlainApi, pod


class Recorder(Controller):
    resources = ("pods",)

    def __init__(self, api: PlainApi, *problems: Exception) -> None:
        super().__init__(api)
        self.seen: list[Key] = []
        self._problems = list(problems)

    def reconcile(self, key: Key) -> None:
        self.seen.append(key)
        if self._problems:
            raise self._problems.pop(0)


def test_what_exists_before_a_controller_is_looked_at() -> None:
    api = PlainApi(ManualClock())
    api.create("pods", pod("early"))
    manager = Manager(api.store, api.clock)
    recorder = Recorder(api)
    manager.add(recorder)
    manager.run()
    assert recorder.seen == [("default", "early")]


def test_a_refused_write_is_tried_again_and_harms_nobody_else() -> None:
    clock = ManualClock()
    api = PlainApi(clock)
    manager = Manager(api.store, clock)
    refused, other = Recorder(api, status.bad_request("no")), Recorder(api)
    manager.add(refused, other)
    api.create("pods", pod("one"))
    manager.run()
    assert len(other.seen) == 1
    clock.advance(6)
    manager.run()
    assert len(refused.seen) == 2


def test_a_retry_waits_for_its_time() -> None:
    clock = ManualClock()
    api = PlainApi(clock)
    manager = Manager(api.store, clock)
    recorder = Recorder(api, RetryError(10, "later"))
    manager.add(recorder)
    api.create("pods", pod("one"))
    manager.run()
    clock.advance(9)
    manager.run()
    assert len(recorder.seen) == 1
    clock.advance(1)
    manager.run()
    assert len(recorder.seen) == 2


def test_a_controller_can_queue_its_own_keys() -> None:
    api = PlainApi(ManualClock())
    woken: list[bool] = []
    manager = Manager(api.store, api.clock, lambda: woken.append(True))
    recorder = Recorder(api)
    manager.add(recorder)
    recorder.requeue(("default", "any"))
    assert woken == [True]
    manager.run()
    assert recorder.seen == [("default", "any")]


class Batches(Recorder):
    """One that works on its keys in a batch."""

    def reconcile_all(self, keys: Sequence[Key]) -> dict[Key, RetryError]:
        for key in keys:
            self.reconcile(key)
        return {}


def test_a_mistake_in_one_key_is_logged_and_tried_later(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    api = PlainApi(clock)
    for kind in (Recorder, Batches):
        manager = Manager(api.store, clock)
        broken = kind(api, KeyError("mistake"))
        manager.add(broken)
        broken.requeue(("default", "one"))
        broken.requeue(("default", "two"))
        manager.run()
        assert "mistake" in caplog.text
        clock.advance(6)
        manager.run()
        assert {("default", "one"), ("default", "two")} <= set(broken.seen)
        assert broken.seen.count(("default", "one")) == 2
        caplog.clear()
