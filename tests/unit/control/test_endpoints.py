"""Endpoints, their mirrors, and topology-aware hints."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.control.controllers.hints import NoHintsError, zones_for
from tests.unit.control.world import World, container, pod, service


def subsets(world: World, name: str = "web") -> list[Document]:
    found: list[Document] = world.store.get("endpoints", "default", name).get("subsets") or []
    return found


def ips(subset: Document, name: str = "addresses") -> list[str]:
    return [address["ip"] for address in subset.get(name) or ()]


def test_ready_and_unready_pods_are_listed_apart() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("services", service())
    world.runtime.problems["web-1"] = "refused"
    for name in ("web-0", "web-1"):
        document = pod(name)
        document["spec"]["containers"][0]["readinessProbe"] = {"exec": {}}
        world.create("pods", document)
    (subset,) = subsets(world)
    assert (len(ips(subset)), len(ips(subset, "notReadyAddresses"))) == (1, 1)
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert subset["addresses"][0]["targetRef"]["name"] == "web-0"


def test_without_pods_the_object_is_empty_and_it_goes_with_the_service() -> None:
    world = World()
    world.create("services", service())
    assert subsets(world) == []
    labels = world.store.get("endpoints", "default", "web")["metadata"]["labels"]
    assert labels == {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}


def test_terminating_pods_are_left_out() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("services", service())
    world.runtime.stubborn.add("c")
    world.create("pods", pod("web-0"))
    world.delete("pods", "web-0")
    assert subsets(world) == []


def test_pods_with_other_port_numbers_are_in_another_subset() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("services", service(target="http"))
    for name, number in (("a", 8080), ("b", 9090)):
        each = pod(name)
        each["spec"]["containers"] = [
            container(ports=[{"name": "http", "containerPort": number, "protocol": "TCP"}])
        ]
        world.create("pods", each)
    assert [s["ports"][0]["port"] for s in subsets(world)] == [8080, 9090]


def endpoints(name: str = "web", **meta: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": name, "namespace": "default", **meta},
        "subsets": [
            {
                "addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::3"}],
                "notReadyAddresses": [{"ip": "10.1.2.4"}],
                "ports": [{"name": "p", "port": 80, "protocol": "TCP"}],
            }
        ],
    }


def bare() -> Document:
    document = service()
    del document["spec"]["selector"]
    return document


def test_hand_made_endpoints_are_mirrored_family_by_family() -> None:
    world = World()
    world.create("services", bare())
    world.create("endpoints", endpoints(annotations={"team": "a"}))
    found = {s["addressType"]: s for s in world.slices("web")}
    conditions = {e["addresses"][0]: e["conditions"] for e in found["IPv4"]["endpoints"]}
    assert conditions == {"10.1.2.3": {"ready": True}, "10.1.2.4": {"ready": False}}
    assert found["IPv6"]["endpoints"][0]["addresses"] == ["fd00::3"]
    meta = found["IPv4"]["metadata"]
    assert meta["annotations"] == {"team": "a"}
    manager = "endpointslicemirroring-controller.k8s.io"
    assert meta["labels"]["endpointslice.kubernetes.io/managed-by"] == manager
    assert meta["ownerReferences"][0]["kind"] == "Endpoints"


def test_mirrors_follow_changes_and_go_with_their_endpoints() -> None:
    world = World()
    world.create("services", bare())
    made = copy.deepcopy(world.create("endpoints", endpoints()))
    made["subsets"] = [{"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 81}]}]
    world.store.update("endpoints", made)
    world.run()
    (slice_,) = world.slices("web")
    assert slice_["endpoints"][0]["addresses"] == ["10.9.9.9"]
    world.delete("endpoints", "web")
    assert world.slices("web") == []


def test_what_asks_not_to_be_mirrored_is_not() -> None:
    skip = {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}
    leader = {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}
    for meta in (skip, leader):
        world = World()
        world.create("services", bare())
        world.create("endpoints", endpoints(**meta))
        assert world.slices("web") == []


def test_one_address_in_two_subsets_is_in_two_slices() -> None:
    world = World()
    world.create("services", bare())
    document = endpoints()
    document["subsets"] = [
        {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": n, "port": p, "protocol": "TCP"}]}
        for n, p in (("a", 8090), ("b", 9090))
    ]
    world.create("endpoints", document)
    assert sorted(s["ports"][0]["port"] for s in world.slices("web")) == [8090, 9090]


def test_invalid_addresses_are_passed_over_with_an_event() -> None:
    world = World()
    world.create("services", bare())
    document = endpoints()
    document["subsets"][0]["addresses"][0]["ip"] = "not-an-address"
    world.create("endpoints", document)
    assert any(reason == "InvalidIPAddress" for _, reason, _ in world.api.events)
    assert len(world.slices("web")) == 2


AUTO = {"service.kubernetes.io/topology-mode": "Auto"}


def hinted(world: World) -> list[tuple[str, str]]:
    return [
        (e["zone"], e["hints"]["forZones"][0]["name"])
        for e in world.endpoints("web")
        if e.get("hints")
    ]


def ready_node(world: World, name: str, cpu: str = "4") -> None:
    changed = copy.deepcopy(world.store.get("nodes", "", name))
    changed["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    changed["status"]["allocatable"] = {"cpu": cpu}
    world.store.update("nodes", changed)
    world.run()


def test_auto_gives_each_zone_its_own_endpoints_and_says_so() -> None:
    world = World(nodes=[("w1", "a"), ("w2", "b")])
    document = service()
    document["metadata"]["annotations"] = AUTO
    world.create("services", document)
    for index in range(4):
        world.create("pods", pod(f"web-{index}"))
    assert hinted(world) == []
    for name in ("w1", "w2"):
        ready_node(world, name)
    assert Counter(hinted(world)) == {("a", "a"): 2, ("b", "b"): 2}
    assert any(reason == "TopologyAwareHintsEnabled" for _, reason, _ in world.api.events)


def test_auto_takes_hints_away_when_there_are_fewer_endpoints_than_zones() -> None:
    world = World(nodes=[("w1", "a"), ("w2", "b")])
    document = service()
    document["metadata"]["annotations"] = AUTO
    world.create("services", document)
    for name in ("w1", "w2"):
        ready_node(world, name)
        world.create("pods", pod(f"web-{name}"))
    assert len(hinted(world)) == 2
    world.delete("pods", "web-w1")
    assert hinted(world) == []
    reasons = [reason for _, reason, _ in world.api.events if reason.startswith("Topology")]
    assert reasons[-1] == "TopologyAwareHintsDisabled"


def zones(**counts: int) -> list[Document]:
    return [{"zone": zone} for zone, count in counts.items() for _ in range(count)]


def test_a_zone_with_too_many_endpoints_gives_some_away() -> None:
    chosen = zones_for(zones(a=8, b=1), {"a": 0.5, "b": 0.5})
    assert Counter(chosen) in (Counter(a=5, b=4), Counter(a=4, b=5))


def test_no_hints_where_a_zone_would_be_overloaded() -> None:
    with pytest.raises(NoHintsError, match="Minimum allocation exceeds overload threshold"):
        zones_for(zones(a=1, b=1, c=1), {"a": 0.45, "b": 0.45, "c": 0.1})
