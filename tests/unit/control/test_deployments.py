"""Deployments: sizes, revisions, conditions and Events, as pkg/controller/deployment has them."""

from __future__ import annotations

import copy
from typing import Any

from testbed.api.documents import Document
from testbed.api.status import forbidden
from testbed.control.controllers import rollout
from testbed.control.controllers.rollout import HISTORY_LIMIT, REVISION, REVISION_HISTORY
from tests.unit.control.world import World, deployment


def get(world: World) -> Document:
    return world.store.get("deployments", "default", "web")


def sets(world: World) -> list[Document]:
    return sorted(world.store.list("replicasets"), key=rollout.revision)


def conditions(world: World) -> dict[str, tuple[str, str, str]]:
    return {
        c["type"]: (c["status"], c["reason"], c["message"])
        for c in get(world)["status"]["conditions"]
    }


def image(world: World, name: str) -> None:
    template = copy.deepcopy(get(world)["spec"]["template"])
    template["spec"]["containers"][0]["image"] = name
    world.change("deployments", "web", template=template)


def told(world: World, reason: str) -> list[str]:
    return [message for _, name, message in world.api.events if name == reason]


def annotate(world: World, resource: str, name: str, **annotations: str | None) -> None:
    changed = copy.deepcopy(world.store.get(resource, "default", name))
    have = changed["metadata"].setdefault("annotations", {})
    for key, value in annotations.items():
        have.pop(key, None)
        if value is not None:
            have[key] = value
    world.store.update(resource, changed)
    world.run()


def replica_set(size: int, made: str, most: int | None = None, **spec: Any) -> Document:
    annotations = {} if most is None else {rollout.MAXIMUM: str(most)}
    meta = {"name": made, "creationTimestamp": made, "annotations": annotations}
    return {"metadata": meta, "spec": {"replicas": size, **spec}, "status": {}}


def shares(replicas: int, surge: int, *everyone: Document) -> dict[str, int]:
    owner = deployment(replicas=replicas, maxSurge=surge, maxUnavailable=0)
    return {
        rs["metadata"]["name"]: size for rs, size in rollout.proportional_sizes(owner, everyone)
    }


def test_a_new_deployment_stays_at_its_first_generation() -> None:
    world = World()
    world.create("deployments", deployment())
    found = get(world)
    assert found["metadata"]["generation"] == found["status"]["observedGeneration"] == 1
    assert found["metadata"]["annotations"] == {REVISION: "1"}


def test_a_revision_that_was_removed_comes_back() -> None:
    world = World()
    world.create("deployments", deployment())
    image(world, "web:2")
    annotate(world, "deployments", "web", **{REVISION: None})
    assert get(world)["metadata"]["annotations"] == {REVISION: "2"}
    current = sets(world)[-1]["metadata"]["name"]
    annotate(world, "replicasets", current, **{REVISION: None})
    annotations = world.store.get("replicasets", "default", current)["metadata"]["annotations"]
    assert annotations[REVISION] == "2"
    assert REVISION_HISTORY not in annotations


def test_a_set_that_comes_back_remembers_its_revisions_as_far_as_there_is_room() -> None:
    owner = deployment()
    have = {REVISION: "3", REVISION_HISTORY: "1"}
    assert rollout.current_annotations(owner, have, 7) == {REVISION: "8", REVISION_HISTORY: "1,3"}
    long = ",".join(["9" * 10] * (HISTORY_LIMIT // 11))
    kept = rollout.current_annotations(owner, {REVISION: "44", REVISION_HISTORY: long}, 50)
    assert len(kept[REVISION_HISTORY]) <= HISTORY_LIMIT
    assert kept[REVISION_HISTORY].endswith(",44")


def test_annotations_that_are_not_the_sets_business_are_not_copied() -> None:
    owner = deployment()
    owner["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "deprecated.deployment.rollback.to": "1",
        "team": "a",
    }
    assert rollout.current_annotations(owner, {}, 0) == {"team": "a", REVISION: "1"}


def test_scaling_amid_a_roll_is_shared_in_proportion() -> None:
    # The cases of upstream's TestScale.
    assert shares(12, 0, replica_set(10, "a", 10)) == {"a": 12}
    assert shares(20, 0, replica_set(5, "b", 10), replica_set(5, "a", 10)) == {"b": 10, "a": 10}
    assert shares(12, 0, *(replica_set(n, m, 10) for n, m in ((2, "c"), (8, "b")))) == {
        "b": 10,
        "c": 2,
    }
    assert shares(15, 3, replica_set(8, "b", 13), replica_set(5, "a", 13)) == {"b": 11, "a": 7}
    assert shares(0, 2, replica_set(5, "b", 8), replica_set(3, "a", 8)) == {"b": 0, "a": 0}


def test_of_equal_sets_the_newer_grows_first_and_the_older_shrinks_first() -> None:
    assert shares(6, 0, replica_set(2, "a", 5), replica_set(2, "b", 5)) == {"b": 4, "a": 2}
    assert shares(3, 0, replica_set(2, "a", 4), replica_set(2, "b", 4)) == {"a": 1, "b": 2}


def test_an_unannotated_set_is_no_reason_to_scale() -> None:
    world = World()
    world.create("deployments", deployment(replicas=2))
    current = sets(world)[0]["metadata"]["name"]
    before = len(world.api.events)
    annotate(world, "replicasets", current, **{rollout.DESIRED: None})
    assert world.api.events[before:] == []


def test_pausing_and_resuming_are_told_in_a_condition() -> None:
    world = World()
    world.create("deployments", deployment())
    world.change("deployments", "web", paused=True)
    assert conditions(world)["Progressing"] == (
        "Unknown",
        "DeploymentPaused",
        "Deployment is paused",
    )
    image(world, "web:2")
    assert len(sets(world)) == 1
    world.change("deployments", "web", paused=False)
    assert conditions(world)["Progressing"][1] == "NewReplicaSetAvailable"
    assert len(sets(world)) == 2


def test_without_a_deadline_nothing_is_said_about_progress() -> None:
    world = World()
    document = deployment()
    document["spec"]["progressDeadlineSeconds"] = 2**31 - 1
    world.create("deployments", document)
    assert list(conditions(world)) == ["Available"]


def test_the_condition_that_changed_last_is_the_last_one() -> None:
    world = World()
    world.runtime.missing_images.add("web")
    world.create("deployments", deployment())
    assert list(conditions(world)) == ["Available", "Progressing"]
    world.advance(700)
    assert conditions(world)["Progressing"] == (
        "False",
        "ProgressDeadlineExceeded",
        f'ReplicaSet "{sets(world)[0]["metadata"]["name"]}" has timed out progressing.',
    )


def test_an_adopted_set_of_the_template_is_found() -> None:
    world = World()
    world.create("deployments", deployment())
    orphaned = copy.deepcopy(sets(world)[0])
    del orphaned["metadata"]["ownerReferences"]
    world.store.update("replicasets", orphaned)
    world.store.delete("deployments", "default", "web")
    world.run()
    seen: list[str] = []

    def note(event: Any) -> None:
        for entry in (event.object.get("status") or {}).get("conditions") or ():
            seen.append(entry["message"])

    world.store.watch("deployments", note)
    world.create("deployments", deployment())
    assert f'Found new replica set "{orphaned["metadata"]["name"]}"' in seen


def test_pods_that_are_refused_are_told_by_set_and_deployment() -> None:
    world = World()
    refusal = forbidden("pods", "", "", "exceeded quota: q")
    create = world.api.create

    def refuse(resource: str, document: Document) -> Document:
        if resource == "pods":
            raise refusal
        return create(resource, document)

    world.api.create = refuse  # type: ignore[method-assign]
    world.create("deployments", deployment(replicas=5))
    assert set(told(world, "FailedCreate")) == {f"Error creating: {refusal}"}
    failure = ("True", "FailedCreate", str(refusal))
    assert conditions(world)["ReplicaFailure"] == failure
    world.api.create = create  # type: ignore[method-assign]
    world.advance(5)
    assert len(world.pods()) == 5
    assert "ReplicaFailure" not in conditions(world)
    assert "conditions" not in sets(world)[0]["status"]


def test_a_replica_set_that_is_refused_is_told() -> None:
    world = World()
    refusal = forbidden("replicasets", "web", "apps", "no")
    create = world.api.create

    def refuse(resource: str, document: Document) -> Document:
        if resource == "replicasets":
            raise refusal
        return create(resource, document)

    world.api.create = refuse  # type: ignore[method-assign]
    world.create("deployments", deployment())
    (message,) = set(told(world, "ReplicaSetCreateError"))
    assert message.startswith('Failed to create new replica set "web-')
    assert message.endswith(f'": {refusal}')
    assert conditions(world)["Progressing"] == ("False", "ReplicaSetCreateError", message)


def test_pods_that_are_ending_are_counted() -> None:
    world = World()
    world.runtime.stubborn.add("c")
    world.create("deployments", deployment(replicas=2))
    assert get(world)["status"]["terminatingReplicas"] == 0
    world.change("deployments", "web", replicas=1)
    assert sets(world)[0]["status"]["terminatingReplicas"] == 1
    assert get(world)["status"]["terminatingReplicas"] == 1


def test_events_tell_every_change_of_a_sets_size() -> None:
    world = World(nodes=[("w1", "a")])
    world.create("deployments", deployment(replicas=2, maxSurge=1, maxUnavailable=0))
    image(world, "web:2")
    first, second = (rs["metadata"]["name"] for rs in sets(world))
    assert told(world, "ScalingReplicaSet") == [
        f"Scaled up replica set {first} from 0 to 2",
        f"Scaled up replica set {second} from 0 to 1",
        f"Scaled down replica set {first} from 2 to 1",
        f"Scaled up replica set {second} from 1 to 2",
        f"Scaled down replica set {first} from 1 to 0",
    ]


def test_min_ready_seconds_reach_the_set_that_is_there() -> None:
    world = World()
    world.create("deployments", deployment())
    world.change("deployments", "web", minReadySeconds=7)
    assert sets(world)[0]["spec"]["minReadySeconds"] == 7
    world.change("deployments", "web", minReadySeconds=0)
    assert "minReadySeconds" not in sets(world)[0]["spec"]


def test_the_history_is_kept_to_its_limit_by_revision() -> None:
    world = World()
    document = deployment()
    document["spec"]["revisionHistoryLimit"] = 1
    world.create("deployments", document)
    for name in ("web:2", "web:3", "web:4"):
        image(world, name)
    assert [rollout.revision(rs) for rs in sets(world)] == [3, 4]
