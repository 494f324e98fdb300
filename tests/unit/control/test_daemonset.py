"""DaemonSets: one Pod on every fitting node, replaced a few nodes at a time."""

from __future__ import annotations

import copy
from typing import Any

from testbed.api.documents import Document
from testbed.control.controllers.daemonset import DaemonSetController
from tests.unit.control.world import Bench, World, container, node


def daemon_set(rolling: Document | None = None, **spec: Any) -> Document:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": rolling or {"maxUnavailable": 1, "maxSurge": 0},
            },
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [container()], **spec},
            },
        },
    }


def with_image(world: World, image: str) -> None:
    template = copy.deepcopy(world.store.get("daemonsets", "default", "agent")["spec"]["template"])
    template["spec"]["containers"][0]["image"] = image
    world.change("daemonsets", "agent", template=template)


def placed(world: World) -> list[str]:
    return sorted(p["spec"].get("nodeName") or "" for p in world.pods())


def status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.store.get("daemonsets", "default", "agent")["status"]
    return found


def test_every_node_has_one_also_one_that_comes_later() -> None:
    world = World()
    world.create("daemonsets", daemon_set())
    assert placed(world) == ["w1", "w2", "w3"]
    world.store.create("nodes", node("w4", "b", 4))
    world.run()
    assert placed(world) == ["w1", "w2", "w3", "w4"]
    wanted = {"desiredNumberScheduled": 4, "currentNumberScheduled": 4, "numberReady": 4}
    assert wanted.items() <= status(world).items()


def test_a_tainted_node_has_none_unless_the_taint_is_tolerated() -> None:
    world = World(nodes=[("w1", "a")])
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    world.store.create("nodes", node("w2", "a", 2, taints=[taint]))
    world.create("daemonsets", daemon_set())
    assert placed(world) == ["w1"]
    world.delete("daemonsets", "agent")
    tolerant = [{"key": "dedicated", "operator": "Exists"}]
    world.create("daemonsets", daemon_set(tolerations=tolerant))
    assert placed(world) == ["w1", "w2"]


def test_a_cordoned_node_keeps_its_daemon_and_gets_new_ones() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("daemonsets", daemon_set())
    cordoned = copy.deepcopy(world.store.get("nodes", "", "w1"))
    cordoned["spec"]["unschedulable"] = True
    cordoned["spec"]["taints"] = [
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    ]
    world.store.update("nodes", cordoned)
    (name,) = (p["metadata"]["name"] for p in world.pods())
    world.delete("pods", name)
    assert placed(world) == ["w1"]


def test_a_node_selector_that_stops_matching_removes_the_daemon() -> None:
    world = World()
    world.create("daemonsets", daemon_set(nodeSelector={"topology.kubernetes.io/zone": "a"}))
    assert placed(world) == ["w1", "w2"]
    moved = copy.deepcopy(world.store.get("nodes", "", "w2"))
    moved["metadata"]["labels"]["topology.kubernetes.io/zone"] = "b"
    world.store.update("nodes", moved)
    world.run()
    assert placed(world) == ["w1"]


def test_a_new_template_never_takes_more_nodes_than_allowed() -> None:
    world = World()
    world.create("daemonsets", daemon_set())
    fewest: list[int] = []

    def look(event: object) -> None:
        ready = [
            p
            for p in world.pods()
            if not p["metadata"].get("deletionTimestamp")
            and any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in (p.get("status") or {}).get("conditions") or ()
            )
        ]
        fewest.append(len(ready))

    world.store.watch("pods", look)
    with_image(world, "web:2")
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"web:2"}
    assert min(fewest) == 2
    assert status(world)["updatedNumberScheduled"] == 3


def test_a_broken_template_stops_after_the_allowed_number() -> None:
    world = World()
    world.create("daemonsets", daemon_set())
    world.runtime.missing_images.add("broken")
    with_image(world, "broken")
    images = sorted(p["spec"]["containers"][0]["image"] for p in world.pods())
    assert images == ["broken", "web", "web"]
    with_image(world, "web:3")
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"web:3"}


def test_with_a_surge_the_new_daemon_is_ready_before_the_old_one_goes() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("daemonsets", daemon_set({"maxUnavailable": 0, "maxSurge": 1}))
    world.runtime.missing_images.add("broken")
    with_image(world, "broken")
    images = sorted(p["spec"]["containers"][0]["image"] for p in world.pods())
    assert images == ["broken", "web"]
    with_image(world, "web:3")
    world.advance(1)
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"web:3"}


def daemons(world: World) -> list[str]:
    return [p["metadata"]["name"] for p in world.pods()]


def test_a_daemon_that_failed_is_replaced_and_told_later_each_time() -> None:
    bench = Bench(DaemonSetController)
    bench.create("daemonsets", daemon_set())
    (first,) = bench.pods()
    bench.set_status(first, "Failed")
    (second,) = bench.pods()
    assert second != first
    message = f"Found failed daemon pod default/{first} on node w1, will try to kill it"
    assert ("Warning", "FailedDaemonPod", message) in bench.api.events
    bench.set_status(second, "Failed")
    assert bench.pods() == [second]
    bench.run(1)
    assert bench.pods() != [second]


def test_a_daemon_that_succeeded_is_replaced_and_told() -> None:
    bench = Bench(DaemonSetController)
    bench.create("daemonsets", daemon_set())
    (first,) = bench.pods()
    bench.set_status(first, "Succeeded")
    assert bench.pods() != [first]
    message = f"Found succeeded daemon pod default/{first} on node w1, will try to delete it"
    assert ("Normal", "SucceededDaemonPod", message) in bench.api.events


def test_daemons_tell_the_generation_of_their_template() -> None:
    world = World(nodes=[("w1", "a")])
    document = daemon_set()
    document["metadata"]["annotations"] = {"deprecated.daemonset.template.generation": "3"}
    world.create("daemonsets", document)
    (pod,) = world.pods()
    assert pod["metadata"]["labels"]["pod-template-generation"] == "3"
    (revision,) = world.store.list("controllerrevisions")
    assert revision["metadata"]["annotations"] == document["metadata"]["annotations"]


def test_a_daemon_that_is_going_counts_as_scheduled_until_it_is_gone() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("daemonsets", daemon_set())
    world.runtime.stubborn.add("c")
    world.delete("pods", daemons(world)[0])
    found = status(world)
    assert (found["currentNumberScheduled"], found["desiredNumberScheduled"]) == (1, 1)
    assert len(daemons(world)) == 1


def test_a_placed_daemon_of_a_node_that_is_gone_is_left_to_the_garbage_collector() -> None:
    world = World(nodes=[("w1", "a"), ("w2", "a")])
    world.create("daemonsets", daemon_set())
    world.store.delete("nodes", "", "w2")
    world.run()
    assert len(daemons(world)) == 2
    world.advance(41)
    assert len(daemons(world)) == 1


def test_without_a_surge_or_unavailable_nodes_one_may_be_unavailable() -> None:
    world = World(nodes=[("w1", "a"), ("w2", "a")])
    world.create("daemonsets", daemon_set({"maxUnavailable": 0, "maxSurge": 0}))
    with_image(world, "web:2")
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"web:2"}
