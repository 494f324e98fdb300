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


class Listener:
    """Counts how often it is told."""

    def __init__(self) -> None:
        self.told = 0

    def tell(self) -> None:
        self.told += 1


def burst(events: int, pause: float = 0.0) -> list[int]:
    """How often one listener has been told after each of `events` that come `pause` apart."""

    async def run() -> list[int]:
        store, history = filled(0)
        listener = Listener()
        end = history.listen(listener)
        told = []
        for number in range(events):
            store.create("services", {"metadata": {"namespace": "n", "name": f"s{number}"}})
            if pause:
                await asyncio.sleep(pause)
            told.append(listener.told)
        await asyncio.sleep(2 * module.LATEST)
        end()
        store.create("services", {"metadata": {"namespace": "n", "name": "later"}})
        await asyncio.sleep(2 * module.LATEST)
        return [*told, listener.told]

    return asyncio.run(run())


def test_a_burst_is_told_at_once() -> None:
    assert burst(100)[-1] == 1


def test_an_event_after_a_pause_is_told_before_anything_else_runs() -> None:
    assert burst(3, 2 * module.LATEST) == [1, 2, 3, 3]


def test_a_state_of_the_past_is_what_it_was() -> None:
    store, history = filled(2)
    (first, _) = before = store.list("services")
    version = store.version
    store.update("services", {**first, "spec": {"type": "NodePort"}})
    store.delete("services", "n", "s1")
    store.create("services", {"metadata": {"namespace": "a", "name": "s0"}})
    assert history.state(version, store.list("services")) == before
    assert history.state(store.version, store.list("services")) == store.list("services")
    with pytest.raises(ExpiredError):
        history.state(-1, store.list("services"))
