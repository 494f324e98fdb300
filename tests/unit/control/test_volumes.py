"""What kubelet puts into volumes, and when it tells why it can't."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from testbed.api.volumes import File, Files
from testbed.control.kubelet.environment import PodFacts, resource_value
from testbed.control.kubelet.volumes import (
    TOKEN_PLACE,
    TOKEN_VOLUME,
    ApiAccess,
    quoted,
    with_api_access,
)
from tests.unit.control.world import World, container, pod


def with_volume(volume: dict[str, Any], **spec: Any) -> dict[str, Any]:
    mounted = {**container(), "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    return pod("web-0", containers=[mounted], volumes=[{"name": "v", **volume}], **spec)


def config(**data: str) -> dict[str, Any]:
    meta = {"name": "config", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def texts(world: World, name: str = "v") -> dict[str, bytes]:
    volume = world.runtime.volumes["web-0"][name]
    assert isinstance(volume, Files)
    return {k: f.data if isinstance(f.data, bytes) else f.data() for k, f in volume.entries.items()}


def test_a_map_that_comes_later_lets_the_pod_start() -> None:
    world = World()
    world.create("pods", with_volume({"configMap": {"name": "config"}}))
    assert not world.runtime.sandboxes
    message = 'MountVolume.SetUp failed for volume "v" : configmap "config" not found'
    assert ("Warning", "FailedMount", message) in world.api.events
    status = world.pod("web-0")["status"]
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert "podIP" not in status
    world.create("configmaps", config(key="value"))
    assert world.pod("web-0")["status"]["phase"] == "Running"
    assert texts(world) == {"key": b"value"}


def test_a_volume_that_fails_is_tried_again_at_growing_intervals() -> None:
    world = World()
    world.create("pods", with_volume({"configMap": {"name": "config"}}))
    told = []
    for step in range(16):
        count = sum(reason == "FailedMount" for _, reason, _ in world.api.events)
        if count > len(told):
            told.append(step * 0.5)
        world.advance(0.5)
    assert told == [0, 0.5, 1.5, 3.5, 7.5]


def test_a_changed_map_is_given_to_the_pod_and_a_lost_one_stays_as_it_was() -> None:
    world = World()
    world.create("configmaps", config(key="one"))
    world.create("pods", with_volume({"configMap": {"name": "config"}}))
    changed = copy.deepcopy(world.store.get("configmaps", "default", "config"))
    world.store.update("configmaps", {**changed, "data": {"key": "two"}})
    world.run()
    assert texts(world) == {"key": b"two"}
    world.delete("configmaps", "config")
    assert texts(world) == {"key": b"two"}
    assert any(reason == "FailedMount" for _, reason, _ in world.api.events)


def test_a_pod_may_use_one_map_twice_and_leaves_nothing() -> None:
    world = World()
    world.create("configmaps", config(key="value"))
    twice = {"projected": {"sources": [{"configMap": {"name": "config"}}] * 2}}
    world.create("pods", with_volume(twice, terminationGracePeriodSeconds=0))
    assert world.pod("web-0")["status"]["phase"] == "Running"
    world.delete("pods", "web-0", grace=0)
    assert not world.runtime.sandboxes
    assert world.store.find("pods", "default", "web-0") is None


def test_items_choose_keys_paths_and_modes() -> None:
    world = World()
    world.create("configmaps", config(a="1", b="2"))
    items = [{"key": "a", "path": "deep/a", "mode": 0o600}]
    source = {"name": "config", "items": items, "defaultMode": 0o640}
    world.create("pods", with_volume({"configMap": source}))
    volume = world.runtime.volumes["web-0"]["v"]
    assert volume == Files({"deep/a": File(b"1", 0o600)})


def test_optional_sources_may_be_missing() -> None:
    world = World()
    sources = [
        {"configMap": {"name": "none", "optional": True}},
        {"secret": {"name": "none", "optional": True}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    world.create("pods", with_volume({"projected": {"sources": sources}}))
    assert texts(world) == {"name": b"web-0"}


def test_labels_that_change_reach_the_volume() -> None:
    world = World()
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    world.create("pods", with_volume({"downwardAPI": {"items": items}}))
    assert texts(world) == {"labels": b'app="web"'}
    changed = copy.deepcopy(world.pod("web-0"))
    changed["metadata"]["labels"]["tier"] = "front"
    world.store.update("pods", changed)
    world.run()
    assert texts(world) == {"labels": b'app="web"\ntier="front"'}


def test_a_deleted_pod_that_waits_for_its_volume_goes() -> None:
    world = World()
    world.create("pods", with_volume({"secret": {"secretName": "none"}}))
    world.delete("pods", "web-0", grace=0)
    assert world.store.find("pods", "default", "web-0") is None
    world.create("configmaps", config())


def access(pod: Any, audience: str, seconds: int) -> str:
    return f"token of {pod['metadata']['name']} for {audience or 'us'}"


def test_every_container_gets_the_token_of_its_account_but_the_stored_pod_does_not() -> None:
    world = World()
    world.kubelet.volumes.access = ApiAccess("CA", access)
    meta = {"name": "default", "namespace": "default"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    world.create("pods", pod("web-0"))
    assert not world.runtime.sandboxes  # its namespace has no account yet
    world.create("serviceaccounts", account)
    assert texts(world, TOKEN_VOLUME) == {
        "token": b"token of web-0 for us",
        "ca.crt": b"CA",
        "namespace": b"default",
    }
    started = world.runtime.sandboxes[world.pod("web-0")["metadata"]["uid"]].document
    assert started["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == TOKEN_PLACE
    assert "volumes" not in world.pod("web-0")["spec"]


def test_a_pod_waits_for_its_service_account_and_says_so() -> None:
    world = World(nodes=[("w1", "a")])
    world.kubelet.volumes.access = ApiAccess("CA", access)
    world.create("pods", pod("web-0", serviceAccountName="robot"))
    told = next(message for _, reason, message in world.api.events if reason == "FailedMount")
    assert told == (
        f'MountVolume.SetUp failed for volume "{TOKEN_VOLUME}" : failed to fetch token: '
        'serviceaccounts "robot" not found'
    )
    world.create("serviceaccounts", {"metadata": {"name": "robot", "namespace": "default"}})
    assert world.pod("web-0")["status"]["phase"] == "Running"


def test_a_container_that_mounts_something_in_the_tokens_place_keeps_it() -> None:
    mount = {"name": "own", "mountPath": TOKEN_PLACE}
    document = pod("web-0", containers=[{**container(), "volumeMounts": [mount]}])
    assert with_api_access(document, lambda *key: {"metadata": {}}) is document


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "1", "4"),
        ("limits.memory", "1Gi", "8"),
        ("requests.cpu", "1m", "250"),
        ("requests.cpu", "1", "1"),
        ("requests.memory", "0", "0"),
    ],
)
def test_resources_are_rounded_up_to_the_divisor(resource: str, divisor: str, value: str) -> None:
    limited = {**container(), "resources": {"requests": {"cpu": "250m"}}}
    facts = PodFacts(pod("web-0"), (), (), {"cpu": "4", "memory": "8Gi"})
    assert resource_value({"resource": resource, "divisor": divisor}, facts, limited) == value


def test_values_are_quoted_as_go_does() -> None:
    assert quoted('a"b\\\n') == '"a\\"b\\\\\\n"'
