"""A store that can't be written gives back what the write had been allocated."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from testbed.api.admission import Admission
from testbed.api.documents import Document
from testbed.api.resources import by_name
from testbed.clock import ManualClock
from testbed.control.journal import Journal
from testbed.control.registry import Registry
from testbed.control.store import Store
from tests.unit.control.apiserver.live import live_server

SERVICES = by_name("services")
NAMESPACES = by_name("namespaces")
assert SERVICES is not None
assert NAMESPACES is not None


class FullDisk(Journal):
    """Fails from `full` on."""

    full = False

    def write(
        self, version: int, resource: str, key: tuple[str, str], document: Document | None
    ) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(version, resource, key, document)


def service(name: str, kind: str) -> Document:
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}}


def test_addresses_and_ports_are_free_again(tmp_path: Path) -> None:
    clock, journal = ManualClock(0.0), FullDisk(tmp_path)
    admission = Admission(rng=random.Random(1))
    registry = Registry(Store(clock, journal), admission, clock)
    assert NAMESPACES is not None
    registry.create(NAMESPACES, {"metadata": {"name": "default"}})
    assert SERVICES is not None
    stored = registry.create(SERVICES, service("a", "ClusterIP"), namespace="default").document

    def held() -> tuple[object, object]:
        return set(admission.addresses.held()), set(admission.ports.held())

    before = held()
    journal.full = True
    with pytest.raises(OSError, match="No space"):
        registry.create(SERVICES, service("b", "NodePort"), namespace="default")
    assert held() == before
    changed = {**stored, "spec": {**stored["spec"], "type": "NodePort"}}
    with pytest.raises(OSError, match="No space"):
        registry.update(SERVICES, "default", "a", changed)
    assert held() == before
    journal.full = False
    assert registry.create(SERVICES, service("b", "NodePort"), namespace="default").created


class NoRoomForSnapshots(Journal):
    """Is always long, and can't be made shorter."""

    is_long = True  # type: ignore[assignment]

    def compact(self, *_: object) -> None:
        raise OSError(28, "No space left on device")


def test_a_change_that_fits_is_stored_though_a_snapshot_would_not(tmp_path: Path) -> None:
    store = Store(ManualClock(0.0), NoRoomForSnapshots(tmp_path))
    store.create("services", {"metadata": {"namespace": "n", "name": "a"}})
    again = Store(ManualClock(0.0), Journal(tmp_path))
    assert again.find("services", "n", "a") is not None


def test_a_client_is_told_with_a_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with live_server(tmp_path) as live:
        monkeypatch.setattr(live.registry.store, "_note", fail)
        path = "/api/v1/namespaces/default/services"
        reply = live.call("POST", path, service("b", "NodePort"))
    assert (reply.code, reply.document["reason"]) == (500, "InternalError")
    assert "No space left on device" in reply.document["message"]
