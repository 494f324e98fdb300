"""The client of controllers: Events say who speaks, repeat in place and sort by time."""

from __future__ import annotations

import random

from testbed.api.admission import Admission, Settings
from testbed.clock import ManualClock
from testbed.control.client import RegistryClient
from testbed.control.registry import Registry
from testbed.control.store import Store
from tests.unit.control.world import pod


def client(clock: ManualClock) -> RegistryClient:
    store, source = Store(clock), random.Random(1)
    return RegistryClient(
        Registry(store, Admission(Settings(), rng=source), clock, source=source), clock
    )


def test_events_name_their_component_and_sort_by_time() -> None:
    clock = ManualClock(wall=1_800_000_000)
    everyone = client(clock)
    kubelet = everyone.acting_as("kubelet")
    involved = pod("web-0")
    for reason in ("Zeroth", "First", "Another"):
        kubelet.event(involved, "Normal", reason, "told")
    clock.advance(1)
    everyone.acting_as("default-scheduler").event(involved, "Normal", "Last", "told")
    found = sorted(everyone.store.list("events"), key=lambda e: str(e["metadata"]["name"]))
    assert [event["reason"] for event in found] == ["Zeroth", "First", "Another", "Last"]
    assert [e["source"]["component"] for e in found] == [*["kubelet"] * 3, "default-scheduler"]


def test_an_event_that_repeats_is_counted_and_one_that_was_deleted_begins_again() -> None:
    clock = ManualClock(wall=1_800_000_000)
    kubelet = client(clock).acting_as("kubelet")
    for _ in range(2):
        kubelet.event(pod("web-0"), "Normal", "Pulled", "told")
        clock.advance(1)
    (event,) = kubelet.store.list("events")
    assert event["count"] == 2
    kubelet.store.delete("events", "default", event["metadata"]["name"])
    kubelet.event(pod("web-0"), "Normal", "Pulled", "told")
    assert [event["count"] for event in kubelet.store.list("events")] == [1]


def test_events_of_what_runs_on_every_node_name_the_node() -> None:
    everyone = client(ManualClock(wall=1_800_000_000))
    everyone.acting_as("kubelet").event(pod("web-0", nodeName="w1"), "Normal", "Pulled", "told")
    everyone.acting_as("default-scheduler").event(
        pod("web-0", nodeName="w1"), "Normal", "No", "told"
    )
    sources = [event["source"] for event in everyone.store.list("events")]
    assert {"component": "kubelet", "host": "w1"} in sources
    assert {"component": "default-scheduler"} in sources
