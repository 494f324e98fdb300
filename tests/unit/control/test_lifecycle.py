"""What goes when its owner goes, and what happens when a node falls silent."""

from __future__ import annotations

from tests.unit.control.world import World, deployment, pod, service

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
    assert node["status"]["conditions"][0]["status"] == "True"
    assert not node["spec"].get("taints")
    assert len(world.pods()) == 3
