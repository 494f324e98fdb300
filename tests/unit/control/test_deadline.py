"""spec.activeDeadlineSeconds: when a Pod's time on its node is over."""

from __future__ import annotations

from testbed.control.kubelet import Kubelet
from tests.unit.control.world import World, pod

ONE_NODE = [("w1", "a")]
MESSAGE = "Pod was active on the node longer than the specified deadline"
EXCEEDED = ("Normal", "DeadlineExceeded", MESSAGE)


def ended(world: World) -> tuple[str, str, str]:
    status = world.pod("web-0")["status"]
    return status["phase"], status.get("reason", ""), status.get("message", "")


def test_a_pod_fails_when_its_deadline_has_passed_and_is_not_restarted() -> None:
    world = World(nodes=ONE_NODE)
    world.create("pods", pod("web-0", activeDeadlineSeconds=20))
    world.advance(19)
    assert ended(world) == ("Running", "", "")
    world.advance(1)
    assert ended(world) == ("Failed", "DeadlineExceeded", MESSAGE)
    assert world.api.events.count(EXCEEDED) == 1
    assert ("Normal", "Killing", "Stopping container c") in world.api.events
    assert world.runtime.sandboxes == {}
    world.advance(600)
    assert world.runtime.calls == ["start c", "stop c"]


def test_a_program_that_goes_on_gets_its_grace_period_before_the_pod_has_failed() -> None:
    world = World(nodes=ONE_NODE)
    world.runtime.stubborn.add("c")
    spec = {"activeDeadlineSeconds": 20, "terminationGracePeriodSeconds": 7}
    world.create("pods", pod("web-0", **spec))
    world.advance(20)
    assert ended(world) == ("Running", "", "")
    world.advance(6)
    assert "kill c" not in world.runtime.calls
    world.advance(1)
    assert ended(world)[:2] == ("Failed", "DeadlineExceeded")
    assert world.api.events.count(EXCEEDED) == 1


def test_a_deadline_that_is_set_later_counts_from_the_start_of_the_pod() -> None:
    world = World(nodes=ONE_NODE)
    world.create("pods", pod("web-0"))
    world.advance(30)
    world.change("pods", "web-0", activeDeadlineSeconds=40)
    assert ended(world)[0] == "Running"
    world.advance(10)
    assert ended(world)[:2] == ("Failed", "DeadlineExceeded")


def test_a_pod_that_waits_for_a_volume_fails_at_its_deadline_too() -> None:
    world = World(nodes=ONE_NODE)
    volume = {"name": "v", "configMap": {"name": "missing"}}
    world.create("pods", pod("web-0", activeDeadlineSeconds=20, volumes=[volume]))
    world.advance(20)
    assert ended(world) == ("Failed", "DeadlineExceeded", MESSAGE)
    assert world.api.events.count(EXCEEDED) == 1
    world.create("configmaps", {"metadata": {"name": "missing", "namespace": "default"}})
    assert world.runtime.calls == []


def successor(world: World) -> Kubelet:
    """A kubelet that finds the Pod web-0 running."""
    uid = world.pod("web-0")["metadata"]["uid"]
    world.runtime.left_standing, world.runtime.left_running = {uid}, {uid: {"c"}}
    again = Kubelet(world.api, world.runtime)
    world.runtime.exited = again.exited
    return again


def test_a_kubelet_that_starts_anew_knows_the_deadline_of_what_still_runs() -> None:
    world = World(nodes=ONE_NODE)
    world.create("pods", pod("web-0", activeDeadlineSeconds=20))
    world.clock.advance(5)
    (retry,) = successor(world).reconcile_all([("default", "web-0")]).values()
    assert retry.after == 15


def test_a_kubelet_that_starts_after_the_deadline_ends_what_still_runs() -> None:
    world = World(nodes=ONE_NODE)
    world.create("pods", pod("web-0", activeDeadlineSeconds=20))
    world.clock.advance(45)
    successor(world).reconcile_all([("default", "web-0")])
    assert ended(world) == ("Failed", "DeadlineExceeded", MESSAGE)
    assert world.runtime.calls == ["start c", "stop c"]
