"""Deployments, ReplicaSets, the scheduler and the kubelet, without a kernel."""

from __future__ import annotations

import copy

from testbed.control import names
from tests.unit.control.world import World, container, deployment, node, pod, service


def ready_pods(world: World) -> list[str]:
    return [
        p["metadata"]["name"]
        for p in world.pods()
        if any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in p.get("status", {}).get("conditions", ())
        )
    ]


def test_a_deployment_runs_one_pod_on_each_of_three_nodes() -> None:
    world = World()
    world.create("deployments", deployment())
    assert sorted(p["spec"]["nodeName"] for p in world.pods()) == ["w1", "w2", "w3"]
    assert len(ready_pods(world)) == 3
    status = world.store.get("deployments", "default", "web")["status"]
    assert (status["replicas"], status["availableReplicas"]) == (3, 3)
    assert {c["type"]: c["reason"] for c in status["conditions"]} == {
        "Available": "MinimumReplicasAvailable",
        "Progressing": "NewReplicaSetAvailable",
    }


def test_pods_get_an_address_of_each_range_of_their_node() -> None:
    world = World()
    world.create("deployments", deployment())
    for each in world.pods():
        index = each["spec"]["nodeName"][1]
        v4, v6 = (entry["ip"] for entry in each["status"]["podIPs"])
        assert v4.startswith(f"10.244.{index}.")
        assert v6.startswith(f"fd00:10:244:{index}::")


def test_scaling_down_deletes_pods_and_frees_their_addresses() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("deployments", deployment(replicas=3))
    world.change("deployments", "web", replicas=1)
    assert len(world.pods()) == 1
    assert len(world.runtime.sandboxes) == 1


def test_a_new_template_rolls_and_keeps_the_minimum_available() -> None:
    world = World()
    world.create("deployments", deployment(replicas=4, maxSurge=1, maxUnavailable=0))
    before = {p["metadata"]["name"] for p in world.pods()}
    lowest: list[int] = []
    world.store.watch("pods", lambda event: lowest.append(len(ready_pods(world))))
    template = copy.deepcopy(world.store.get("deployments", "default", "web")["spec"]["template"])
    template["spec"]["containers"][0]["image"] = "web:2"
    world.change("deployments", "web", template=template)
    after = {p["metadata"]["name"] for p in world.pods()}
    assert len(after) == 4
    assert not before & after
    assert min(lowest) >= 4
    revision = world.store.get("deployments", "default", "web")["metadata"]["annotations"]
    assert revision["deployment.kubernetes.io/revision"] == "2"


def test_going_back_to_the_old_template_reuses_its_replica_set() -> None:
    world = World()
    world.create("deployments", deployment())
    first = copy.deepcopy(world.store.get("deployments", "default", "web")["spec"]["template"])
    second = copy.deepcopy(first)
    second["spec"]["containers"][0]["image"] = "web:2"
    world.change("deployments", "web", template=second)
    world.change("deployments", "web", template=first)
    sets = world.store.list("replicasets")
    assert sorted(s["spec"]["replicas"] for s in sets) == [0, 3]
    annotations = world.store.get("deployments", "default", "web")["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "3"


def test_recreate_waits_for_the_old_pods_to_be_gone() -> None:
    world = World()
    document = deployment()
    document["spec"]["strategy"] = {"type": "Recreate"}
    document["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = {
        "preStop": {"sleep": {"seconds": 5}}
    }
    world.create("deployments", document)
    template = copy.deepcopy(document["spec"]["template"])
    template["spec"]["containers"][0]["image"] = "web:2"
    world.change("deployments", "web", template=template)
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"web"}
    world.advance(6)
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"web:2"}
    assert len(ready_pods(world)) == 3


def test_an_image_that_cannot_start_stops_the_roll_and_exceeds_the_deadline() -> None:
    world = World()
    world.create("deployments", deployment())
    world.runtime.missing_images.add("broken")
    template = copy.deepcopy(world.store.get("deployments", "default", "web")["spec"]["template"])
    template["spec"]["containers"][0]["image"] = "broken"
    world.change("deployments", "web", template=template)
    assert len(ready_pods(world)) == 3
    world.advance(601)
    conditions = world.store.get("deployments", "default", "web")["status"]["conditions"]
    progressing = next(c for c in conditions if c["type"] == "Progressing")
    assert progressing["reason"] == "ProgressDeadlineExceeded"


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    world = World()
    world.create("deployments", deployment())
    template = copy.deepcopy(world.store.get("deployments", "default", "web")["spec"]["template"])
    template["spec"]["containers"][0]["image"] = "web:2"
    world.change("deployments", "web", template=template, paused=True, replicas=5)
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"web"}
    assert len(world.pods()) == 5
    world.change("deployments", "web", paused=False)
    assert {p["spec"]["containers"][0]["image"] for p in world.pods()} == {"web:2"}


def test_a_replica_set_adopts_a_matching_orphan() -> None:
    world = World()
    world.create("pods", pod("orphan", {"app": "web"}))
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container()]}}
    world.create(
        "replicasets",
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template,
            },
        },
    )
    assert len(world.pods()) == 2
    assert all(p["metadata"]["ownerReferences"][0]["name"] == "web" for p in world.pods())


def test_a_pod_that_loses_owner_and_labels_at_once_is_replaced() -> None:
    world = World()
    world.create("deployments", deployment())
    gone = copy.deepcopy(world.pods()[0])
    del gone["metadata"]["ownerReferences"]
    gone["metadata"]["labels"] = {"app": "mine"}
    world.store.update("pods", gone)
    world.run()
    assert len(world.pods()) == 4


def test_a_pod_on_its_way_out_is_not_released() -> None:
    world = World()
    world.runtime.stubborn.add("c")
    world.create("deployments", deployment())
    name = world.pods()[0]["metadata"]["name"]
    world.api.delete("pods", "default", name)
    world.run()
    going = copy.deepcopy(world.pod(name))
    going["metadata"]["labels"] = {"app": "mine"}
    world.store.update("pods", going)
    world.run()
    assert world.pod(name)["metadata"]["ownerReferences"]


def test_an_unschedulable_pod_says_why_and_is_placed_when_a_node_fits() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", pod("picky", nodeSelector={"disk": "ssd"}))
    condition = world.pods()[0]["status"]["conditions"][0]
    assert condition["message"] == (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new "
        "claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful "
        "for scheduling."
    )
    fitting = node("w2", "a", 2)
    fitting["metadata"]["labels"]["disk"] = "ssd"
    world.store.create("nodes", fitting)
    world.run()
    assert world.pods()[0]["spec"]["nodeName"] == "w2"


def test_a_taint_keeps_pods_away_unless_tolerated() -> None:
    world = World(nodes=[])
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    world.store.create("nodes", node("w1", "a", 1, taints=[taint]))
    world.create("pods", pod("plain"))
    world.create("pods", pod("tolerant", tolerations=[{"key": "dedicated", "operator": "Exists"}]))
    placed = {p["metadata"]["name"]: p["spec"].get("nodeName") for p in world.pods()}
    assert placed == {"plain": None, "tolerant": "w1"}


def test_two_pods_with_one_host_port_land_on_two_nodes() -> None:
    world = World()
    for name in ("a", "b", "c", "d"):
        spec = pod(name)
        spec["spec"]["containers"] = [container(ports=[{"containerPort": 80, "hostPort": 80}])]
        world.create("pods", spec)
    nodes = [p["spec"].get("nodeName") for p in world.pods()]
    assert sorted(n for n in nodes if n) == ["w1", "w2", "w3"]
    assert nodes.count(None) == 1


def test_a_terminating_pod_serves_through_its_pre_stop_sleep() -> None:
    world = World()
    world.create("services", service())
    slow = pod("slow", terminationGracePeriodSeconds=60)
    slow["spec"]["containers"][0]["lifecycle"] = {"preStop": {"sleep": {"seconds": 20}}}
    world.create("pods", slow)
    world.delete("pods", "slow")
    (endpoint,) = world.endpoints("web")
    assert endpoint["conditions"] == {"ready": False, "serving": True, "terminating": True}
    world.advance(21)
    assert world.endpoints("web") == []
    assert world.pods() == []
    assert world.runtime.sandboxes == {}


def test_a_forced_deletion_removes_the_sandbox_at_once() -> None:
    world = World()
    world.create("pods", pod("web-0"))
    world.delete("pods", "web-0", grace=0)
    assert world.runtime.sandboxes == {}


def test_the_echo_application_follows_container_ports_and_target_ports() -> None:
    world = World()
    spec = pod("web-0")
    spec["spec"]["containers"] = [container(ports=[{"containerPort": 9090, "name": "http"}])]
    world.create("pods", spec)
    (uid,) = world.runtime.sandboxes
    assert world.runtime.ports[uid] == {("TCP", 9090)}
    world.create("services", service(target=8080))
    world.create("services", service("named", target="http"))
    assert world.runtime.ports[uid] == {("TCP", 9090), ("TCP", 8080)}
    world.delete("services", "web")
    assert world.runtime.ports[uid] == {("TCP", 9090)}


def test_a_host_network_pod_has_its_nodes_addresses() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("pods", pod("agent", hostNetwork=True))
    ips = [entry["ip"] for entry in world.pods()[0]["status"]["podIPs"]]
    assert ips == ["172.18.0.11", "fd00:172:18::b"]


def test_a_hash_is_spelled_by_the_codes_of_its_digits() -> None:
    # Code 48 of digit 0 is 21 modulo 27: that letter is 4, and 6 is the letter b again.
    assert set(names.template_hash({})) <= set("456789bcdf")


def test_replica_sets_that_were_orphaned_are_adopted_by_the_next_deployment() -> None:
    world = World()
    world.create("deployments", deployment())
    before = {p["metadata"]["uid"] for p in world.pods()}
    replica_set = orphan(world, "replicasets")
    world.store.delete("deployments", "default", "web")
    world.run()
    again = world.create("deployments", deployment())
    owned = world.store.get("replicasets", "default", replica_set)
    assert owned["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]
    assert {p["metadata"]["uid"] for p in world.pods()} == before


def test_a_name_that_a_stranger_has_gives_another_hash() -> None:
    world = World()
    world.create("deployments", deployment())
    name = orphan(world, "replicasets")
    world.store.delete("deployments", "default", "web")
    stranger = copy.deepcopy(world.store.get("replicasets", "default", name))
    stranger["metadata"]["labels"] = {}
    world.store.update("replicasets", stranger)
    world.create("deployments", deployment())
    assert world.store.get("deployments", "default", "web")["status"]["collisionCount"] == 1
    assert len(world.store.list("replicasets")) == 2
    world.change("deployments", "web", replicas=4)
    assert world.store.get("deployments", "default", "web")["status"]["readyReplicas"] == 4


def orphan(world: World, resource: str) -> str:
    """Take the owner away from the only object of a resource; returns its name."""
    found = copy.deepcopy(world.store.list(resource)[0])
    del found["metadata"]["ownerReferences"]
    world.store.update(resource, found)
    return str(found["metadata"]["name"])


def test_annotations_of_a_deployment_reach_its_current_replica_set() -> None:
    world = World()
    world.create("deployments", deployment())
    changed = copy.deepcopy(world.store.get("deployments", "default", "web"))
    changed["metadata"]["annotations"] = {"kubernetes.io/change-cause": "why"}
    world.store.update("deployments", changed)
    world.run()
    replica_set = world.store.list("replicasets")[0]
    assert replica_set["metadata"]["annotations"]["kubernetes.io/change-cause"] == "why"
    annotations = world.store.get("deployments", "default", "web")["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "1"
