"""The manager: existing objects are seen, refusals are survived, retries come on the clock."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from testbed.api import status
from testbed.clock import ManualClock
from testbed.control.controllers import base
from testbed.control.controllers.base import (
    BURST,
    BURST_AFTER_PAUSE,
    FIRST_PAUSE,
    SLICE,
    Controller,
    Key,
    Manager,
    RetryError,
)
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


class Feeder(Recorder):
    """Queues its own key again at every look, as a Deployment on a node that evicts it does."""

    feeding = True

    def reconcile(self, key: Key) -> None:
        super().reconcile(key)
        if self.feeding:
            self.requeue(key)


def test_a_key_that_feeds_itself_is_put_off_and_others_go_on() -> None:
    clock = ManualClock()
    api = PlainApi(clock)
    manager = Manager(api.store, clock)
    feeder, other = Feeder(api), Recorder(api)
    manager.add(feeder, other)
    api.create("pods", pod("one"))
    manager.run()
    assert len(feeder.seen) == BURST
    assert len(other.seen) == 1
    for pause in (FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE):
        before = len(feeder.seen)
        clock.advance(pause / 2)
        manager.run()
        assert len(feeder.seen) == before
        clock.advance(pause / 2)
        manager.run()
        assert len(feeder.seen) == before + BURST_AFTER_PAUSE


def test_a_key_that_has_come_to_rest_has_all_its_looks_again() -> None:
    clock = ManualClock()
    api = PlainApi(clock)
    manager = Manager(api.store, clock)
    feeder = Feeder(api)
    manager.add(feeder)
    api.create("pods", pod("one"))
    manager.run()
    feeder.feeding = False
    clock.advance(FIRST_PAUSE)
    manager.run()
    feeder.feeding = True
    before = len(feeder.seen)
    feeder.requeue(("default", "one"))
    manager.run()
    assert len(feeder.seen) == before + BURST


def test_a_long_run_lets_others_have_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(base.time, "monotonic", lambda: next(ticks) * SLICE / 20)
    api = PlainApi(ManualClock())
    manager = Manager(api.store, api.clock)
    manager.add(Feeder(api))
    api.create("pods", pod("one"))
    assert sum(1 for _ in manager.slices()) == BURST // 20
