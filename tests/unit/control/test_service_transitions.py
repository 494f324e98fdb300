"""Nothing leaks and nothing is given out twice: every change of type, restarts, and many writers.

The whole way of a write is used: registry, store and allocators.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from testbed.api.admission import Admission, Settings
from testbed.api.documents import Document
from testbed.api.resources import ResourceType, by_name
from testbed.api.status import StatusError
from testbed.clock import ManualClock
from testbed.control.envelope import WriteOptions
from testbed.control.journal import Journal
from testbed.control.registry import Registry
from testbed.control.restore import restore
from testbed.control.store import Store

SETTINGS = Settings(service_cidrs=("10.0.0.0/28", "fd00::/124"), node_ports=(30000, 30019))
TWO = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
SHARED = [{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}]
FIXED = [{"name": "a", "port": 80, "nodePort": 30007}]

#: Every kind of Service as a user writes it.
FORMS: dict[str, Document] = {
    "cluster-ip": {"ports": TWO},
    "fixed-ip": {"ports": TWO, "clusterIP": "10.0.0.9"},
    "dual": {"ports": TWO, "ipFamilyPolicy": "RequireDualStack"},
    "second-first": {"ports": TWO, "ipFamilies": ["IPv6"]},
    "preferred": {"ports": TWO, "ipFamilyPolicy": "PreferDualStack"},
    "headless": {"ports": TWO, "clusterIP": "None"},
    "node-port": {"ports": TWO, "type": "NodePort"},
    "shared-port": {"ports": SHARED, "type": "NodePort"},
    "fixed-port": {"ports": FIXED, "type": "NodePort"},
    "balancer": {"ports": TWO, "type": "LoadBalancer"},
    "bare-balancer": {"ports": TWO, "type": "LoadBalancer",
                      "allocateLoadBalancerNodePorts": False},
    "local-balancer": {"ports": TWO, "type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    "fixed-check": {"ports": FIXED, "type": "LoadBalancer", "externalTrafficPolicy": "Local",
                    "healthCheckNodePort": 30008},
    "name": {"type": "ExternalName", "externalName": "a.b"},
    "name-with-port": {"type": "ExternalName", "externalName": "a.b", "ports": FIXED},
    "bad": {"ports": [{"port": 0}], "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "ipFamilyPolicy": "RequireDualStack"},
}  # fmt: skip


def kind(name: str) -> ResourceType:
    found = by_name(name)
    assert found is not None
    return found


SERVICES, RANGES = kind("services"), kind("servicecidrs")


class Plane:
    """Registry, store and allocators; `restart` starts them again on the same files."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.directory = directory
        self.clock = ManualClock(1_700_000_000.0)
        self.restart(seed)
        self.registry.create(kind("namespaces"), {"metadata": {"name": "default"}})

    def restart(self, seed: int = 2) -> None:
        self.objects = Store(self.clock, Journal(self.directory))
        self.admission = Admission(SETTINGS, rng=random.Random(seed))
        restore(self.objects, self.admission)
        self.registry = Registry(self.objects, self.admission, self.clock, random.Random(seed))

    def create(self, name: str, spec: Document, *, dry_run: bool = False) -> bool:
        document = {"metadata": {"name": name}, "spec": spec}
        options = WriteOptions(dry_run=dry_run)
        return self._try(
            self.registry.create, SERVICES, document, namespace="default", options=options
        )

    def put(self, name: str, spec: Document, *, dry_run: bool = False) -> bool:
        document = {"metadata": {"name": name}, "spec": spec}
        options = WriteOptions(dry_run=dry_run)
        return self._try(self.registry.update, SERVICES, "default", name, document, options=options)

    def delete(self, name: str) -> None:
        self.registry.delete(SERVICES, "default", name)

    @staticmethod
    def _try(call: Any, *args: Any, **options: Any) -> bool:
        try:
            call(*args, **options)
        except StatusError:
            return False
        return True

    def check(self) -> None:
        """The allocators hold what the Services in the store need, each thing once."""
        addresses: list[str] = []
        ports: list[int] = []
        for service in self.objects.list("services"):
            spec = service["spec"]
            addresses += [ip for ip in spec.get("clusterIPs", ()) if ip != "None"]
            if spec["type"] in ("NodePort", "LoadBalancer"):
                given = [port.get("nodePort", 0) for port in spec["ports"]]
                ports += {*given, spec.get("healthCheckNodePort", 0)} - {0}
        assert len(addresses) == len(set(addresses))
        assert len(ports) == len(set(ports))
        assert {str(ip) for ip in self.admission.addresses.held()} == set(addresses)
        assert self.admission.ports.held() == set(ports)
        stand_ins = {d["metadata"]["name"] for d in self.objects.list("ipaddresses")}
        assert stand_ins == set(addresses)


@pytest.mark.parametrize("first", FORMS)
def test_every_change_of_form_keeps_allocations_in_step(first: str, tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    for second in FORMS:
        if not plane.create("web", FORMS[first]):
            assert first == "bad"
            plane.check()
            continue
        plane.create("other", FORMS["fixed-port"], dry_run=True)
        plane.put("web", FORMS[second], dry_run=True)
        plane.check()
        plane.put("web", FORMS[second])
        plane.check()
        plane.restart()
        plane.check()
        plane.put("web", FORMS[first])
        plane.check()
        plane.delete("web")
        plane.check()
    assert not plane.admission.addresses.held()
    assert not plane.admission.ports.held()


def test_an_external_name_holds_no_port_that_it_names(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    assert plane.create("name", FORMS["name-with-port"])
    assert plane.create("web", FORMS["fixed-port"])
    plane.check()
    assert not plane.put("name", {**FORMS["fixed-port"]})  # the port is the other's
    plane.check()
    plane.restart()
    plane.delete("name")
    plane.check()
    assert not plane.create("more", FORMS["fixed-port"])


@pytest.mark.parametrize("seed", range(12))
def test_many_writers_share_what_there_is(seed: int, tmp_path: Path) -> None:
    """Far more is asked for than there is; what isn't given leaves nothing behind."""
    source = random.Random(seed)
    plane = Plane(tmp_path, seed)
    names = [f"s{number}" for number in range(24)]
    for step in range(160):
        name, spec = source.choice(names), FORMS[source.choice(list(FORMS))]
        action = source.choices(["create", "put", "delete", "restart"], [5, 5, 3, 0.3])[0]
        there = plane.objects.find("services", "default", name) is not None
        dry_run = source.random() < 0.15
        if action == "create":
            plane.create(name, spec, dry_run=dry_run)
        elif action == "put":
            plane.put(name, spec, dry_run=dry_run)
        elif action == "restart":
            plane.restart(step)
        elif there:
            plane.delete(name)
        plane.check()


def test_a_full_range_is_full_until_something_goes(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    made = list(itertools.takewhile(lambda n: plane.create(f"s{n}", {"ports": TWO}), range(99)))
    assert len(made) == 14
    plane.delete("s3")
    plane.restart()
    assert plane.create("again", {"ports": TWO})
    assert not plane.create("more", {"ports": TWO})
    plane.check()


def test_a_range_that_goes_or_is_not_ready_gives_nothing_out(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    given = {
        "metadata": {"name": "more", "finalizers": ["a/b"]},
        "spec": {"cidrs": ["10.9.0.0/28"]},
    }
    plane.registry.create(RANGES, given)
    assert plane.create("a", {"ports": TWO, "clusterIP": "10.9.0.1"})
    for value, accepted in (("False", False), ("Unknown", False), ("True", True)):
        stored = plane.objects.get("servicecidrs", "", "more")
        condition = {"type": "Ready", "status": value, "reason": "x", "message": "",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        changed = {**stored, "status": {"conditions": [condition]}}
        plane.objects.update("servicecidrs", changed, status=True)
        assert plane.create("b", {"ports": TWO, "clusterIP": "10.9.0.2"}) == accepted, value
    plane.registry.delete(RANGES, "", "more")
    assert not plane.create("c", {"ports": TWO, "clusterIP": "10.9.0.3"})
    plane.delete("b")
    plane.check()
