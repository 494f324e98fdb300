"""What is kept of the past, and how watches are woken."""

from __future__ import annotations

import asyncio

import pytest

from testbed.clock import ManualClock
from testbed.control.apiserver import history as module
from testbed.control.apiserver.encoding import Encoder
from testbed.control.apiserver.history import ExpiredError, History
from testbed.control.store import Store


def filled(count: int) -> tuple[Store, History]:
    store = Store(ManualClock(0.0))
    history = History(store.version, Encoder())
    store.watch("services", history.add)
    for number in range(count):
        store.create("services", {"metadata": {"namespace": "n", "name": f"s{number}"}})
    return store, history


def test_events_after_a_version_are_told_in_order() -> None:
    _, history = filled(5)
    assert [entry.event.version for entry in history.since(3)] == [4, 5]
    assert history.since(5) == []


def test_a_version_older_than_what_is_kept_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    _, history = filled(7)
    assert [entry.event.version for entry in history.since(3)] == [4, 5, 6, 7]
    with pytest.raises(ExpiredError):
        history.since(2)


def test_a_burst_wakes_a_watch_once() -> None:
    async def burst() -> int:
        store, history = filled(0)
        woken = 0

        async def watch() -> None:
            nonlocal woken
            while True:
                await history.changed(60)
                woken += 1

        task = asyncio.create_task(watch())
        await asyncio.sleep(0)
        for number in range(100):
            store.create("services", {"metadata": {"namespace": "n", "name": f"s{number}"}})
        await asyncio.sleep(0.05)
        task.cancel()
        return woken

    assert asyncio.run(burst()) == 1


def test_waiting_ends_by_itself_and_leaves_nothing() -> None:
    async def wait() -> int:
        _, history = filled(0)
        await history.changed(0.01)
        return len(history._waiting)

    assert asyncio.run(wait()) == 0
