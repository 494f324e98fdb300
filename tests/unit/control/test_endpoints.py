"""Endpoints, their mirrors, and topology-aware hints."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.control.controllers.endpoints import truncate
from testbed.control.controllers.hints import NoHintsError, allocations, zones_for
from testbed.control.controllers.triggers import TRIGGER_TIME
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
    assert sorted(s["ports"][0]["port"] for s in subsets(world)) == [8080, 9090]


def test_a_port_is_in_one_subset_with_everyone_who_serves_it() -> None:
    world = World(nodes=[("w1", "a")])
    document = service()
    document["spec"]["ports"] = [
        {"name": name, "port": port, "protocol": "TCP", "targetPort": name}
        for name, port in (("http", 80), ("metrics", 9100))
    ]
    world.create("services", document)
    for pod_name, names in (("a", ("http", "metrics")), ("b", ("http",))):
        each = pod(pod_name)
        ports = [{"name": n, "containerPort": 8080, "protocol": "TCP"} for n in names]
        each["spec"]["containers"] = [container(ports=ports)]
        world.create("pods", each)
    found = {s["ports"][0]["name"]: len(ips(s)) for s in subsets(world)}
    assert found == {"http": 2, "metrics": 1}


def many(ready: int, unready: int, port: int) -> Document:
    first = {True: f"10.{port}.", False: f"10.1{port}."}
    return {
        name: [{"ip": f"{first[state]}{i // 250}.{i % 250 + 1}"} for i in range(count)]
        for name, state, count in (
            ("addresses", True, ready),
            ("notReadyAddresses", False, unready),
        )
        if count
    } | {"ports": [{"port": port, "protocol": "TCP"}]}


def sizes(subsets: list[Document]) -> dict[int, tuple[int, int]]:
    return {s["ports"][0]["port"]: (len(ips(s)), len(ips(s, "notReadyAddresses"))) for s in subsets}


def test_too_many_addresses_are_cut_in_proportion_the_unready_first() -> None:
    kept, cut = truncate([many(400, 300, 1), many(400, 900, 2)])
    assert cut
    assert sizes(kept) == {1: (400, 50), 2: (400, 150)}
    kept, _ = truncate([many(900, 5, 1), many(300, 0, 2)])
    assert sizes(kept) == {1: (750, 0), 2: (250, 0)}
    assert truncate([many(600, 400, 1)])[1] is False


def test_endpoints_say_when_their_change_began() -> None:
    world = World(nodes=[("w1", "a")])
    made = world.create("services", service())
    world.advance(60)
    world.create("pods", pod("web-0"))
    annotations = world.store.get("endpoints", "default", "web")["metadata"]["annotations"]
    ready = next(c for c in world.pod("web-0")["status"]["conditions"] if c["type"] == "Ready")
    assert annotations == {TRIGGER_TIME: ready["lastTransitionTime"]}
    assert ready["lastTransitionTime"] > made["metadata"]["creationTimestamp"]


def test_endpoints_go_with_their_service_and_others_stay() -> None:
    world = World()
    world.create("endpoints", endpoints("other"))
    world.create("services", service())
    world.delete("services", "web")
    assert [e["metadata"]["name"] for e in world.store.list("endpoints")] == ["other"]


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


def test_one_address_in_two_subsets_is_in_one_slice_with_both_ports() -> None:
    world = World()
    world.create("services", bare())
    document = endpoints()
    document["subsets"] = [
        {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": n, "port": p, "protocol": "TCP"}]}
        for n, p in (("a", 8090), ("b", 9090))
    ]
    world.create("endpoints", document)
    (slice_,) = world.slices("web")
    assert sorted(port["port"] for port in slice_["ports"]) == [8090, 9090]


def test_mirrored_addresses_are_written_as_go_prints_them() -> None:
    world = World()
    world.create("services", bare())
    document = endpoints()
    document["subsets"][0]["addresses"] = [{"ip": "FD00:0:0::9"}, {"ip": "::ffff:10.1.2.9"}]
    world.create("endpoints", document)
    found = {s["addressType"]: s["endpoints"] for s in world.slices("web")}
    assert [e["addresses"] for e in found["IPv6"]] == [["fd00::9"]]
    assert sorted(e["addresses"] for e in found["IPv4"]) == [["10.1.2.4"], ["10.1.2.9"]]


def test_what_is_over_a_thousand_is_not_mirrored() -> None:
    world = World()
    world.create("services", bare())
    document = endpoints()
    document["subsets"] = [many(1001, 1, 7)]
    document["subsets"][0]["addresses"][0]["ip"] = "nonsense"
    world.create("endpoints", document)
    (slice_,) = world.slices("web")
    assert len(slice_["endpoints"]) == 1000
    texts = [message for _, reason, message in world.api.events if "Mirror" in reason]
    assert texts == [
        "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. "
        "2 addresses were skipped"
    ]


def test_a_mirror_takes_the_slice_of_a_set_of_ports_that_is_gone() -> None:
    world = World()
    world.create("services", bare())
    made = copy.deepcopy(world.create("endpoints", endpoints()))
    before = {s["metadata"]["name"] for s in world.slices("web")}
    made["subsets"][0]["ports"][0]["port"] = 81
    world.store.update("endpoints", made)
    world.run()
    assert {s["metadata"]["name"] for s in world.slices("web")} == before
    assert {s["ports"][0]["port"] for s in world.slices("web")} == {81}


def test_a_selector_that_comes_later_ends_the_mirror() -> None:
    world = World()
    world.create("services", bare())
    world.create("endpoints", endpoints())
    world.change("services", "web", selector={"app": "web"})
    (slice_,) = world.slices("web")
    assert slice_["metadata"]["ownerReferences"][0]["kind"] == "Service"


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


def test_a_slice_that_is_not_written_keeps_the_zones_of_its_endpoints() -> None:
    shares = allocations(4, {"a": 0.5, "b": 0.5})
    assert zones_for(["a", "a"], shares, {"b": 2}) == ["a", "a"]
    assert Counter(zones_for(["a", "a"], shares, {"a": 2})) == {"b": 2}


def test_losing_the_annotation_takes_the_hints_away_and_says_so() -> None:
    world = World(nodes=[("w1", "a"), ("w2", "b")])
    document = service()
    document["metadata"]["annotations"] = AUTO
    world.create("services", document)
    for name in ("w1", "w2"):
        ready_node(world, name)
        world.create("pods", pod(f"web-{name}"))
    assert len(hinted(world)) == 2
    changed = copy.deepcopy(world.store.get("services", "default", "web"))
    del changed["metadata"]["annotations"]
    world.store.update("services", changed)
    world.run()
    assert hinted(world) == []
    disabled = "Topology Aware Hints has been disabled, addressType: IPv4"
    assert ("Warning", "TopologyAwareHintsDisabled", disabled) in world.api.events


def test_a_zone_with_too_many_endpoints_gives_some_away() -> None:
    shares = allocations(9, {"a": 0.5, "b": 0.5})
    chosen = zones_for(["a"] * 8 + ["b"], shares, {})
    assert Counter(chosen) in (Counter(a=5, b=4), Counter(a=4, b=5))


def test_no_hints_where_a_zone_would_be_overloaded() -> None:
    with pytest.raises(NoHintsError) as problem:
        allocations(4, {"a": 0.45, "b": 0.45, "c": 0.1})
    assert str(problem.value) == (
        "Unable to allocate minimum required endpoints to each zone without exceeding overload "
        "threshold (4 endpoints, 3 zones)"
    )
