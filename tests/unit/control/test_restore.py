"""A control plane that starts again on a stored state: allocations, and kubelet's Pods."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from testbed.api.admission import Admission
from testbed.api.resources import by_name
from testbed.clock import ManualClock
from testbed.control.journal import Journal
from testbed.control.kubelet.recall import recall
from testbed.control.kubelet.state import containers_of
from testbed.control.registry import Registry
from testbed.control.restore import restore
from testbed.control.store import Store

Document = dict[str, Any]
SERVICES = by_name("services")


class Plane:
    """Store, allocators and registry on the files in a directory."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock, Journal(directory))
        self.admission = Admission(rng=random.Random(seed))
        restore(self.store, self.admission)
        self.registry = Registry(self.store, self.admission, self.clock)
        if self.store.find("namespaces", "", "default") is None:
            meta = {"name": "default"}
            document = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
            self.store.create("namespaces", document)

    def create(self, name: str, **spec: Any) -> Document:
        assert SERVICES is not None
        document = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"ports": [{"port": 80}], "type": "NodePort", **spec},
        }
        return self.registry.create(SERVICES, document, namespace="default").document

    def delete(self, name: str) -> None:
        assert SERVICES is not None
        self.registry.delete(SERVICES, "default", name)

    def held(self) -> tuple[frozenset[Any], frozenset[int]]:
        return self.admission.addresses.held(), self.admission.ports.held()


def test_allocators_hold_the_same_after_every_restart(tmp_path: Path) -> None:
    plane, source = Plane(tmp_path), random.Random(7)
    for step in range(60):
        name = f"s{source.randrange(12)}"
        if plane.store.find("services", "default", name) is None:
            local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
            plane.create(name, **(local if source.random() < 0.5 else {}))
        else:
            plane.delete(name)
        if step % 10 == 9:
            again = Plane(tmp_path, seed=step)
            assert again.held() == plane.held()
            plane = again
    services = plane.store.list("services")
    addresses = [a for s in services for a in s["spec"]["clusterIPs"]]
    ports = [p["nodePort"] for s in services for p in s["spec"]["ports"]]
    assert len(set(addresses)) == len(addresses) == len(plane.held()[0])
    assert len(set(ports)) == len(ports)
    assert {o["metadata"]["name"] for o in plane.store.list("ipaddresses")} == set(addresses)


def test_an_address_object_that_was_not_written_in_time_is_made_up_for(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    kept = plane.create("kept")["spec"]["clusterIP"]
    gone = plane.create("gone")["spec"]["clusterIP"]
    plane.store.delete("ipaddresses", "", kept)  # as if the process had died before it
    journal = Journal(tmp_path)
    version, _ = journal.load()
    journal.write(version + 1, "services", ("default", "gone"), None)
    again = Plane(tmp_path)
    assert [o["metadata"]["name"] for o in again.store.list("ipaddresses")] == [kept]
    assert gone not in map(str, again.held()[0])


def pod(*statuses: Document) -> Document:
    names = [status["name"] for status in statuses]
    return {
        "spec": {"containers": [{"name": name} for name in names]},
        "status": {"containerStatuses": list(statuses)},
    }


STARTED = "2026-01-01T00:00:10Z"
#: 2026-01-01T00:01:00Z is 500 on the lab's clock.
NOW = (500.0, 1767225660.0)


def test_a_container_that_still_runs_goes_on_with_its_counts_and_readiness() -> None:
    last = {"exitCode": 3, "startedAt": STARTED, "finishedAt": "2026-01-01T00:00:20Z"}
    status = {
        "name": "c",
        "state": {"running": {"startedAt": STARTED}},
        "lastState": {"terminated": last},
        "ready": True,
        "started": True,
        "restartCount": 2,
    }
    document = pod(status)
    containers = containers_of(document)
    (found,) = recall(document, containers, {"c"}, NOW, "2026-01-01T00:01:00Z")
    assert (found.restarts, found.ready, found.started_at, found.begun) == (2, True, STARTED, 450.0)
    assert found.last is not None
    assert (found.last.code, found.last.at) == (3, 460.0)


def test_a_container_that_was_lost_has_ended_as_if_killed() -> None:
    document = pod({"name": "c", "state": {"running": {"startedAt": STARTED}}, "started": True})
    containers = containers_of(document)
    assert recall(document, containers, set(), NOW, "2026-01-01T00:01:00Z") == []
    ended = containers["c"].ended
    assert ended is not None
    assert (ended.code, ended.started, containers["c"].ready) == (137, STARTED, False)


def test_a_container_whose_start_was_not_reported_runs_since_now() -> None:
    document = pod({"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}})
    containers = containers_of(document)
    (found,) = recall(document, containers, {"c"}, NOW, "2026-01-01T00:01:00Z")
    assert (found.running, found.restarts, found.begun) == (True, 0, 500.0)


def test_a_container_that_waits_to_be_restarted_counts_on() -> None:
    last = {"exitCode": 1, "startedAt": STARTED, "finishedAt": STARTED}
    status = {
        "name": "c",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": last},
        "restartCount": 4,
    }
    document = pod(status)
    containers = containers_of(document)
    assert recall(document, containers, set(), NOW, "now") == []
    containers["c"].begin(500.0, "now")
    assert containers["c"].restarts == 5
