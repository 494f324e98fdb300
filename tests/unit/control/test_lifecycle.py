"""What goes when its owner goes, and what happens when a node falls silent."""

from __future__ import annotations

import copy

from testbed.api.documents import Document, name_of
from testbed.control.controllers.base import set_condition
from tests.unit.control.world import World, deployment, node, pod, service

TOLERATIONS = [
    {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
]


def test_deleting_a_deployment_takes_its_replica_sets_and_pods() -> None:
    world = World()
    world.create("deployments", deployment())
    world.delete("deployments", "web")
    assert world.store.list("replicasets") == []
    assert world.pods() == []
    assert world.runtime.sandboxes == {}


def test_deleting_a_service_takes_its_slices() -> None:
    world = World()
    world.create("services", service())
    world.create("pods", pod("web-0"))
    world.delete("services", "web")
    assert world.slices("web") == []


def test_orphaned_pods_stay() -> None:
    world = World()
    world.create("deployments", deployment())
    (replica_set,) = world.store.list("replicasets")
    world.store.delete(
        "replicasets", "default", replica_set["metadata"]["name"], finalizers=("orphan",)
    )
    world.change("deployments", "web", paused=True, replicas=0)
    assert len(world.pods()) == 3
    assert all(not p["metadata"].get("ownerReferences") for p in world.pods())


def test_a_silent_node_keeps_its_endpoints_for_the_grace_period() -> None:
    world = World()
    world.create("services", service())
    world.create("deployments", deployment())
    world.stop_node("w3")
    world.advance(49)
    assert all(e["conditions"]["ready"] for e in world.endpoints("web"))
    world.advance(2)
    ready = {e["nodeName"]: e["conditions"]["ready"] for e in world.endpoints("web")}
    assert ready == {"w1": True, "w2": True, "w3": False}


def test_pods_of_a_silent_node_are_replaced_after_their_toleration() -> None:
    world = World()
    world.create("services", service())
    document = deployment()
    document["spec"]["template"]["spec"]["tolerations"] = TOLERATIONS
    world.create("deployments", document)
    world.stop_node("w3")
    world.advance(51)
    assert len(world.pods()) == 3
    world.advance(301)
    alive = [p for p in world.pods() if not p["metadata"].get("deletionTimestamp")]
    assert len(alive) == 3
    assert {p["spec"]["nodeName"] for p in alive} == {"w1", "w2"}


def test_a_node_that_comes_back_is_ready_and_drops_deleted_pods() -> None:
    world = World()
    document = deployment()
    document["spec"]["template"]["spec"]["tolerations"] = TOLERATIONS
    world.create("deployments", document)
    world.stop_node("w3")
    world.advance(400)
    world.start_node("w3")
    node = world.store.get("nodes", "", "w3")
    found = {c["type"]: c["status"] for c in node["status"]["conditions"]}
    pressures = dict.fromkeys(("MemoryPressure", "DiskPressure", "PIDPressure"), "False")
    assert found == {**pressures, "Ready": "True"}
    assert not node["spec"].get("taints")
    assert len(world.pods()) == 3


def test_a_deleted_node_loses_its_pods_and_harms_nobody_else() -> None:
    world = World()
    world.create("deployments", deployment())
    lost = next(p for p in world.pods() if p["spec"]["nodeName"] == "w3")
    world.api.delete("nodes", "", "w3")
    world.create("pods", pod("other", nodeName="w1"))
    world.kubelet.requeue(("default", lost["metadata"]["name"]))
    world.run()
    assert world.pod("other")["status"]["phase"] == "Running"
    world.advance(41)
    assert {p["spec"]["nodeName"] for p in world.pods()} == {"w1", "w2"}
    assert len([p for p in world.pods() if p["metadata"].get("ownerReferences")]) == 3
    assert lost["metadata"]["uid"] not in world.runtime.sandboxes


def test_a_node_that_is_deleted_and_comes_back_in_time_keeps_its_pods() -> None:
    world = World()
    world.create("deployments", deployment())
    before = {p["metadata"]["uid"] for p in world.pods()}
    world.api.delete("nodes", "", "w3")
    world.advance(20)
    world.store.create("nodes", node("w3", "b", 3))
    world.advance(60)
    assert {p["metadata"]["uid"] for p in world.pods()} == before


def taint(world: World, name: str, *taints: Document) -> None:
    found = copy.deepcopy(world.store.get("nodes", "", name))
    found["spec"]["taints"] = list(taints)
    world.store.update("nodes", found)
    world.run()


NO_EXECUTE = {"key": "x", "value": "y", "effect": "NoExecute"}


def on_w3(world: World) -> set[str]:
    return {name_of(p) for p in world.pods() if not p["metadata"].get("deletionTimestamp")}


def test_a_no_execute_taint_evicts_who_does_not_tolerate_it() -> None:
    world = World()
    mine = {"key": "x", "operator": "Equal", "value": "y"}
    other = {"key": "x", "operator": "Equal", "value": "z"}
    world.create("pods", pod("plain", nodeName="w3"))
    world.create("pods", pod("other", nodeName="w3", tolerations=[other]))
    world.create("pods", pod("for-ever", nodeName="w3", tolerations=[mine]))
    world.create(
        "pods", pod("a-while", nodeName="w3", tolerations=[{**mine, "tolerationSeconds": 60}])
    )
    taint(world, "w3", {**NO_EXECUTE, "effect": "NoSchedule"})
    assert on_w3(world) == {"plain", "other", "for-ever", "a-while"}
    taint(world, "w3", NO_EXECUTE)
    assert on_w3(world) == {"for-ever", "a-while"}
    world.advance(59)
    assert on_w3(world) == {"for-ever", "a-while"}
    world.advance(2)
    assert on_w3(world) == {"for-ever"}


def test_a_taint_that_goes_in_time_evicts_nobody() -> None:
    world = World()
    bears = {"key": "x", "operator": "Exists", "tolerationSeconds": 60}
    world.create("pods", pod("a-while", nodeName="w3", tolerations=[bears]))
    taint(world, "w3", NO_EXECUTE)
    world.advance(50)
    taint(world, "w3")
    world.advance(50)
    taint(world, "w3", NO_EXECUTE)
    world.advance(50)
    assert on_w3(world) == {"a-while"}


def taints(world: World, name: str) -> list[tuple[str, str]]:
    found = world.store.get("nodes", "", name)["spec"].get("taints") or []
    return [(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in found]


def say(world: World, name: str, kind: str, value: str) -> None:
    """What a node's kubelet says in a condition."""
    found = copy.deepcopy(world.store.get("nodes", "", name))
    set_condition(found["status"], {"type": kind, "status": value}, world.store.timestamp())
    world.store.update("nodes", found, status=True)
    world.run()


def test_a_cordoned_node_is_tainted_until_it_is_uncordoned() -> None:
    world = World()
    world.store.update(
        "nodes", {**world.store.get("nodes", "", "w1"), "spec": {"unschedulable": True}}
    )
    world.run()
    assert taints(world, "w1") == [("unschedulable", "NoSchedule")]
    assert world.store.get("nodes", "", "w1")["spec"]["taints"][0]["timeAdded"]
    found = copy.deepcopy(world.store.get("nodes", "", "w1"))
    del found["spec"]["unschedulable"]
    world.store.update("nodes", found)
    world.run()
    assert taints(world, "w1") == []


def test_conditions_are_taints_beside_those_of_the_user() -> None:
    world = World()
    taint(world, "w1", {"key": "mine", "effect": "NoSchedule"})
    say(world, "w1", "MemoryPressure", "True")
    assert taints(world, "w1") == [("mine", "NoSchedule"), ("memory-pressure", "NoSchedule")]
    say(world, "w1", "MemoryPressure", "False")
    assert taints(world, "w1") == [("mine", "NoSchedule")]


def test_a_node_that_says_it_is_not_ready_is_tainted_so() -> None:
    world = World()
    say(world, "w1", "Ready", "True")
    say(world, "w1", "Ready", "False")
    assert taints(world, "w1") == [("not-ready", "NoSchedule"), ("not-ready", "NoExecute")]
    say(world, "w1", "Ready", "True")
    assert taints(world, "w1") == []


def test_where_every_node_is_silent_nobody_is_evicted() -> None:
    world = World(nodes=[("w1", "a"), ("w2", "b")])
    world.create("pods", pod("p", nodeName="w1"))
    world.stop_node("w1")
    world.stop_node("w2")
    world.advance(51)
    world.advance(600)
    assert taints(world, "w1") == [("unreachable", "NoSchedule")]
    assert not world.pod("p")["metadata"].get("deletionTimestamp")
    world.start_node("w2")
    assert taints(world, "w1") == [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
    assert world.pod("p")["metadata"].get("deletionTimestamp")


def test_where_most_of_a_zone_is_silent_no_more_pods_are_evicted() -> None:
    world = World(nodes=[(f"w{index}", "a") for index in range(1, 6)])
    for name in ("w1", "w2", "w3"):
        world.stop_node(name)
    world.advance(51)
    evicting = [
        name for name in ("w1", "w2", "w3") if ("unreachable", "NoExecute") in taints(world, name)
    ]
    assert evicting == []


def test_nodes_that_come_and_go_are_told_of() -> None:
    world = World(nodes=[("w1", "a")])
    world.api.delete("nodes", "", "w1")
    world.run()
    told = [
        (reason, message)
        for _, reason, message in world.api.events
        if "ing" in reason or "Reg" in reason
    ]
    assert told == [
        ("RegisteredNode", "Node w1 event: Registered Node w1 in Controller"),
        ("RemovingNode", "Node w1 event: Removing Node w1 from Controller"),
    ]


def test_an_eviction_that_is_called_off_is_told() -> None:
    world = World()
    bears = {"key": "x", "operator": "Exists", "tolerationSeconds": 60}
    world.create("pods", pod("a-while", nodeName="w3", tolerations=[bears]))
    taint(world, "w3", NO_EXECUTE)
    taint(world, "w3")
    message = "Cancelling deletion of Pod default/a-while"
    assert ("Normal", "TaintManagerEviction", message) in world.api.events


def test_a_pod_that_goes_before_its_eviction_is_told_of() -> None:
    world = World()
    bears = {"key": "x", "operator": "Exists", "tolerationSeconds": 60}
    world.create("pods", pod("a-while", nodeName="w3", tolerations=[bears]))
    taint(world, "w3", NO_EXECUTE)
    world.api.delete("pods", "default", "a-while")
    world.run()
    told = [each for each in world.api.events if each[1] == "TaintManagerEviction"]
    assert [message for _, _, message in told] == ["Cancelling deletion of Pod default/a-while"]


def test_a_taint_that_comes_later_does_not_change_when_a_pod_goes() -> None:
    world = World()
    bears = [
        {"key": key, "operator": "Exists", "tolerationSeconds": seconds}
        for key, seconds in (("x", 60), ("short", 10))
    ]
    world.create("pods", pod("a-while", nodeName="w3", tolerations=bears))
    taint(world, "w3", NO_EXECUTE)
    world.advance(5)
    taint(world, "w3", NO_EXECUTE, {"key": "short", "effect": "NoExecute"})
    world.advance(50)
    assert on_w3(world) == {"a-while"}
    world.advance(6)
    assert on_w3(world) == set()


def test_an_evicted_pod_says_what_took_it() -> None:
    world = World()
    world.runtime.stubborn.add("c")
    world.create("pods", pod("plain", nodeName="w3"))
    taint(world, "w3", NO_EXECUTE)
    (condition,) = [
        c for c in world.pod("plain")["status"]["conditions"] if c["type"] == "DisruptionTarget"
    ]
    assert (condition["status"], condition["reason"], condition["message"]) == (
        "True",
        "DeletionByTaintManager",
        "Taint manager: deleting due to NoExecute taint",
    )


def test_a_kubelet_that_never_spoke_is_told_from_one_that_stopped() -> None:
    world = World()
    say(world, "w2", "Ready", "True")
    for name in ("w1", "w2"):
        world.stop_node(name)
    world.advance(51)
    reasons = {
        name: {
            c["type"]: c["reason"]
            for c in world.store.get("nodes", "", name)["status"]["conditions"]
        }
        for name in ("w1", "w2")
    }
    assert reasons["w1"]["Ready"] == reasons["w1"]["DiskPressure"] == "NodeStatusNeverUpdated"
    assert reasons["w2"] == {"Ready": "NodeStatusUnknown"}
