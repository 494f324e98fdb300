"""StatefulSets: names that stay, order of making, removing and replacing."""

from __future__ import annotations

import copy
from typing import Any

from testbed.api.documents import Document
from testbed.control.controllers.statefulset import StatefulSetController, max_unavailable
from tests.unit.control.world import Bench, World, container


def stateful_set(replicas: int = 3, **spec: Any) -> Document:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [container()]},
            },
            **spec,
        },
    }


def with_image(world: World, image: str, **spec: Any) -> None:
    template = copy.deepcopy(world.store.get("statefulsets", "default", "db")["spec"]["template"])
    template["spec"]["containers"][0]["image"] = image
    world.change("statefulsets", "db", template=template, **spec)


def images(world: World) -> dict[str, str]:
    return {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in world.pods()}


def status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.store.get("statefulsets", "default", "db")["status"]
    return found


def test_pods_have_numbers_and_the_hostnames_of_a_headless_service() -> None:
    world = World()
    world.create("statefulsets", stateful_set())
    assert sorted(images(world)) == ["db-0", "db-1", "db-2"]
    pod = world.pod("db-1")
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
    labels = pod["metadata"]["labels"]
    assert labels["statefulset.kubernetes.io/pod-name"] == "db-1"
    assert labels["apps.kubernetes.io/pod-index"] == "1"
    assert labels["controller-revision-hash"] == status(world)["updateRevision"]
    assert (status(world)["readyReplicas"], status(world)["currentReplicas"]) == (3, 3)


def test_the_next_pod_waits_until_the_one_before_is_ready() -> None:
    world = World()
    world.runtime.problems["db-1"] = "refused"
    document = stateful_set()
    probe = {"tcpSocket": {"port": 1}, "periodSeconds": 1}
    document["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe
    world.create("statefulsets", document)
    assert sorted(images(world)) == ["db-0", "db-1"]
    del world.runtime.problems["db-1"]
    world.advance(2)
    assert sorted(images(world)) == ["db-0", "db-1", "db-2"]


def test_a_parallel_set_waits_for_nobody() -> None:
    world = World()
    for name in ("db-0", "db-1", "db-2"):
        world.runtime.problems[name] = "refused"
    document = stateful_set(podManagementPolicy="Parallel")
    document["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = {"exec": {}}
    world.create("statefulsets", document)
    assert len(world.pods()) == 3


def test_scaling_down_removes_the_last_first() -> None:
    world = World()
    world.create("statefulsets", stateful_set())
    world.change("statefulsets", "db", replicas=1)
    deleted = [m.split(" ")[2] for _, r, m in world.api.events if r == "SuccessfulDelete"]
    assert deleted == ["db-2", "db-1"]
    assert sorted(images(world)) == ["db-0"]


def test_a_deleted_pod_comes_back_under_its_name() -> None:
    world = World()
    world.create("statefulsets", stateful_set())
    before = world.pod("db-1")["metadata"]["uid"]
    world.delete("pods", "db-1")
    assert world.pod("db-1")["metadata"]["uid"] != before


def test_a_new_template_replaces_pods_from_the_last_to_the_first() -> None:
    world = World()
    world.create("statefulsets", stateful_set())
    world.api.events.clear()
    with_image(world, "web:2")
    deleted = [m.split(" ")[2] for _, r, m in world.api.events if r == "SuccessfulDelete"]
    assert deleted == ["db-2", "db-1", "db-0"]
    assert set(images(world).values()) == {"web:2"}
    assert status(world)["currentRevision"] == status(world)["updateRevision"]
    assert len(world.store.list("controllerrevisions")) == 2


def test_a_partition_holds_the_lower_numbers_back_also_when_they_are_made_again() -> None:
    world = World()
    world.create("statefulsets", stateful_set())
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    with_image(world, "web:2", updateStrategy=strategy)
    assert images(world) == {"db-0": "web", "db-1": "web", "db-2": "web:2"}
    world.delete("pods", "db-0")
    assert images(world)["db-0"] == "web"
    assert status(world)["updatedReplicas"] == 1
    assert status(world)["currentRevision"] != status(world)["updateRevision"]


def test_on_delete_replaces_only_what_the_user_deletes() -> None:
    world = World()
    world.create("statefulsets", stateful_set(updateStrategy={"type": "OnDelete"}))
    with_image(world, "web:2")
    assert set(images(world).values()) == {"web"}
    world.delete("pods", "db-1")
    assert images(world) == {"db-0": "web", "db-1": "web:2", "db-2": "web"}


def test_numbers_can_start_elsewhere() -> None:
    world = World()
    world.create("statefulsets", stateful_set(replicas=2, ordinals={"start": 5}))
    assert sorted(images(world)) == ["db-5", "db-6"]


def test_going_back_to_an_old_template_makes_its_revision_the_newest() -> None:
    world = World()
    world.create("statefulsets", stateful_set())
    first = status(world)["updateRevision"]
    with_image(world, "web:2")
    with_image(world, "web")
    assert status(world)["updateRevision"] == first
    assert max(r["revision"] for r in world.store.list("controllerrevisions")) == 3


def test_deleting_a_set_takes_pods_and_revisions() -> None:
    world = World()
    world.create("statefulsets", stateful_set())
    world.delete("statefulsets", "db")
    assert world.pods() == []
    assert world.store.list("controllerrevisions") == []


def test_revisions_that_were_orphaned_are_adopted_by_the_next_set() -> None:
    world = World()
    world.create("statefulsets", stateful_set())
    revision = copy.deepcopy(world.store.list("controllerrevisions")[0])
    del revision["metadata"]["ownerReferences"]
    world.store.update("controllerrevisions", revision)
    world.store.delete("statefulsets", "default", "db")
    again = world.create("statefulsets", stateful_set())
    found = world.store.list("controllerrevisions")
    assert [r["metadata"]["name"] for r in found] == [revision["metadata"]["name"]]
    assert found[0]["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]


def test_more_pods_may_be_replaced_at_a_time() -> None:
    world = World()
    rolling = {"partition": 0, "maxUnavailable": 2}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    world.create("statefulsets", stateful_set(replicas=4, updateStrategy=strategy))
    world.runtime.missing_images.add("broken")
    with_image(world, "broken")
    # Both last ones are gone at once; the first of them doesn't come up, so the other isn't made.
    assert images(world) == {"db-0": "web", "db-1": "web", "db-2": "broken"}


def test_a_share_of_the_pods_is_rounded_down_to_at_least_one() -> None:
    def allowed(value: int | str, replicas: int) -> int:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": value}}
        return max_unavailable(stateful_set(replicas=replicas, updateStrategy=rolling))

    assert [allowed("34%", 10), allowed("5%", 10), allowed(4, 10)] == [3, 1, 4]
    assert max_unavailable(stateful_set()) == 1


def test_an_ordered_set_waits_for_an_unavailable_pod_before_it_removes_another() -> None:
    bench = Bench(StatefulSetController)
    bench.create("statefulsets", stateful_set(replicas=3))
    for name in ("db-0", "db-1", "db-2"):
        bench.set_status(name)
    for name in ("db-1", "db-2"):
        bench.set_status(name, ready=False)
    smaller = copy.deepcopy(bench.store.get("statefulsets", "default", "db"))
    smaller["spec"]["replicas"] = 1
    bench.store.update("statefulsets", smaller)
    bench.run()
    assert bench.pods() == ["db-0", "db-1", "db-2"]
    bench.set_status("db-2")
    assert bench.pods() == ["db-0"]


def test_on_delete_never_calls_the_new_revision_the_current_one() -> None:
    world = World()
    world.create("statefulsets", stateful_set(1, updateStrategy={"type": "OnDelete"}))
    with_image(world, "web:2")
    world.delete("pods", "db-0")
    found = status(world)
    assert found["updatedReplicas"] == found["readyReplicas"] == 1
    assert found["currentRevision"] != found["updateRevision"]


def test_a_revision_has_its_own_label_and_the_sets_annotations() -> None:
    world = World()
    document = stateful_set()
    document["metadata"]["annotations"] = {"team": "a"}
    world.create("statefulsets", document)
    (revision,) = world.store.list("controllerrevisions")
    labels = revision["metadata"]["labels"]
    assert set(labels) == {"app", "controller.kubernetes.io/hash"}
    assert revision["metadata"]["name"] == f"db-{labels['controller.kubernetes.io/hash']}"
    assert revision["metadata"]["annotations"] == {"team": "a"}
