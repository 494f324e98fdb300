"""ServiceCIDRs: ready when made, held while the only range of an address in use."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from tests.unit.control.world import World


def cidr(name: str, *ranges: str) -> Document:
    return {"metadata": {"name": name}, "spec": {"cidrs": list(ranges)}}


def address(name: str) -> Document:
    return {"metadata": {"name": name}, "spec": {}}


def ready(world: World, name: str) -> dict[str, Any]:
    (condition,) = world.store.get("servicecidrs", "", name)["status"]["conditions"]
    return dict(condition)


def delete(world: World, resource: str, name: str) -> None:
    world.store.delete(resource, "", name)
    world.run()


def test_a_new_range_is_ready_and_held() -> None:
    world = World()
    world.create("servicecidrs", cidr("extra", "203.0.113.0/24"))
    assert ready(world, "extra")["status"] == "True"
    finalizers = world.store.get("servicecidrs", "", "extra")["metadata"]["finalizers"]
    assert finalizers == ["networking.k8s.io/service-cidr-finalizer"]


def test_an_unused_range_goes_at_once() -> None:
    world = World()
    world.create("servicecidrs", cidr("extra", "203.0.113.0/24"))
    delete(world, "servicecidrs", "extra")
    assert world.store.list("servicecidrs") == []


def test_a_range_in_use_stays_until_its_last_address_goes() -> None:
    world = World()
    world.create("servicecidrs", cidr("extra", "203.0.113.0/24"))
    world.create("ipaddresses", address("203.0.113.10"))
    delete(world, "servicecidrs", "extra")
    assert (ready(world, "extra")["status"], ready(world, "extra")["reason"]) == (
        "False",
        "Terminating",
    )
    delete(world, "ipaddresses", "203.0.113.10")
    assert world.store.list("servicecidrs") == []


def test_a_range_that_another_one_covers_may_go() -> None:
    world = World()
    world.create("servicecidrs", cidr("narrow", "203.0.113.0/25"))
    world.create("ipaddresses", address("203.0.113.10"))
    delete(world, "servicecidrs", "narrow")
    assert len(world.store.list("servicecidrs")) == 1
    world.create("servicecidrs", cidr("wide", "203.0.113.0/24"))
    assert [c["metadata"]["name"] for c in world.store.list("servicecidrs")] == ["wide"]
