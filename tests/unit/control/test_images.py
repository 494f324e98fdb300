"""A running Pod's containers when their images change."""

from __future__ import annotations

from typing import Any

from testbed.control.kubelet import Kubelet
from tests.unit.control.world import World, container, pod

ONE_NODE = [("w1", "a")]
KILLING = ("Normal", "Killing", "Container c definition changed, will be restarted")


def status(world: World, index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = world.pod("web-0")["status"]["containerStatuses"][index]
    return found


def set_image(world: World, image: str) -> None:
    world.change("pods", "web-0", containers=[container(image=image)])


def test_a_changed_image_restarts_the_container_at_once() -> None:
    world = World(nodes=ONE_NODE)
    world.create("pods", pod("web-0"))
    set_image(world, "other")
    assert KILLING in world.api.events
    assert world.runtime.calls == ["start c", "stop c", "start c"]
    assert (status(world)["image"], status(world)["restartCount"]) == ("other", 1)
    assert world.pod("web-0")["status"]["phase"] == "Running"
    set_image(world, "third")
    assert (status(world)["image"], status(world)["restartCount"]) == ("third", 2)


def test_only_the_container_with_another_image_is_restarted() -> None:
    world = World(nodes=ONE_NODE)
    world.create("pods", pod("web-0", containers=[container(), container("d")]))
    world.change("pods", "web-0", containers=[container(), container("d", "other")])
    assert [status(world, index)["restartCount"] for index in (0, 1)] == [0, 1]


def test_the_old_program_runs_until_it_has_ended() -> None:
    world = World(nodes=ONE_NODE)
    world.runtime.stubborn.add("c")
    world.create("pods", pod("web-0", terminationGracePeriodSeconds=5))
    set_image(world, "other")
    assert (status(world)["image"], status(world)["restartCount"]) == ("web", 0)
    world.advance(5)
    assert (status(world)["image"], status(world)["restartCount"]) == ("other", 1)
    assert world.api.events.count(KILLING) == 1


def test_a_changed_image_restarts_a_container_that_would_not_be_restarted_otherwise() -> None:
    world = World(nodes=ONE_NODE)
    world.create("pods", pod("web-0", restartPolicy="Never"))
    set_image(world, "other")
    assert (status(world)["image"], status(world)["restartCount"]) == ("other", 1)
    assert world.pod("web-0")["status"]["phase"] == "Running"
    world.exit("web-0", 0)
    assert world.pod("web-0")["status"]["phase"] == "Succeeded"


def test_another_image_mends_a_container_that_could_not_be_pulled() -> None:
    world = World(nodes=ONE_NODE)
    world.runtime.missing_images.add("web")
    world.create("pods", pod("web-0"))
    assert status(world)["state"]["waiting"]["reason"] == "ImagePullBackOff"
    set_image(world, "other")
    assert "running" in status(world)["state"]
    assert status(world)["restartCount"] == 0


def test_another_image_of_a_crashing_container_is_started_without_back_off() -> None:
    world = World(nodes=ONE_NODE)
    world.create("pods", pod("web-0"))
    for _ in range(2):
        world.exit("web-0", 1)
    assert status(world)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    set_image(world, "other")
    assert "running" in status(world)["state"]


def test_an_init_container_that_runs_is_left_alone_and_a_sidecar_is_not() -> None:
    world = World(nodes=ONE_NODE)
    sidecar = {**container("s"), "restartPolicy": "Always"}
    world.create("pods", pod("web-0", initContainers=[sidecar, container("i")]))
    assert world.runtime.calls == ["start s", "start i"]
    others = [{**sidecar, "image": "other"}, container("i", "other")]
    world.change("pods", "web-0", initContainers=others)
    assert world.runtime.calls == ["start s", "start i", "stop s", "start s"]
    assert ("Normal", "Killing", "Init container s definition changed") in world.api.events


def test_a_kubelet_that_starts_anew_sees_that_the_image_has_changed_meanwhile() -> None:
    world = World(nodes=ONE_NODE)
    uid = world.create("pods", pod("web-0"))["metadata"]["uid"]
    changed = world.pod("web-0")
    spec = {**changed["spec"], "containers": [container(image="other")]}
    world.store.update("pods", {**changed, "spec": spec})
    world.runtime.left_standing, world.runtime.left_running = {uid}, {uid: {"c"}}
    again = Kubelet(world.api, world.runtime)
    world.runtime.exited = again.exited
    for _ in range(2):
        again.reconcile_all([("default", "web-0")])
    assert (status(world)["image"], status(world)["restartCount"]) == ("other", 1)
