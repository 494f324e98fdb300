"""The service controller against a cloud that only remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.api.objects import LoadBalancerIngress, NamespacedName, Node, Service
from testbed.clock import ManualClock
from testbed.cloud.balancer import targets
from testbed.cloud.interface import CloudError
from testbed.control.controllers.base import Manager
from testbed.control.controllers.service_lb import FINALIZER, ServiceController
from testbed.control.store import NotFoundError, Store
from tests.unit.control.world import StoreApi

WEB = NamespacedName("default", "web")


class Api(StoreApi):
    def __init__(self) -> None:
        super().__init__(ManualClock())


class Memory:
    """A cloud that writes down its calls and whether the finalizer was there first."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.known: set[NamespacedName] = set()
        self.fails = ""
        self.refused: Callable[[NamespacedName], None] = lambda key: None

    def ensure(self, service: Service, nodes: Sequence[Node]) -> tuple[LoadBalancerIngress, ...]:
        stored = self.store.get("services", service.key.namespace, service.key.name)
        assert FINALIZER in stored["metadata"]["finalizers"]
        if self.fails:
            raise CloudError(self.fails)
        self.calls.append(("ensure", tuple(t.name for t in targets(nodes))))
        self.known.add(service.key)
        return (LoadBalancerIngress("198.51.100.1", "web.lb.example.net", "VIP"),)

    def update_nodes(self, service: Service, nodes: Sequence[Node]) -> None:
        if self.fails:
            raise CloudError(self.fails)
        self.calls.append(("update", tuple(t.name for t in targets(nodes))))

    def exists(self, key: NamespacedName) -> bool:
        return key in self.known

    def delete(self, key: NamespacedName) -> None:
        self.calls.append(("delete", ()))
        self.known.discard(key)


class World:
    def __init__(self, with_cloud: bool = True) -> None:
        self.api = Api()
        self.store = self.api.store
        self.cloud = Memory(self.store)
        self.manager = Manager(self.store, self.api.clock)
        self.manager.add(ServiceController(self.api, self.cloud if with_cloud else None))
        for name in ("w1", "w2"):
            self.store.create("nodes", node(name))

    def run(self) -> None:
        self.manager.run()

    def service(self) -> Document:
        return self.store.get("services", "default", "web")

    def change(self, **spec: Any) -> None:
        old = self.service()
        self.store.update("services", {**old, "spec": {**old["spec"], **spec}})
        self.run()

    def take(self) -> list[str]:
        """The reasons of the Events since the last call."""
        reasons = [reason for _, reason, _ in self.api.events]
        self.api.events.clear()
        return reasons


def node(name: str, **labels: str) -> Document:
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"addresses": [{"type": "InternalIP", "address": f"172.18.0.{name[1:]}"}]},
    }


def service(**spec: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}], **spec},
        "status": {"loadBalancer": {}},
    }


@pytest.fixture
def world() -> World:
    made = World()
    made.store.create("services", service())
    made.run()
    return made


def test_service_gets_finalizer_status_and_events(world: World) -> None:
    made = world.service()
    assert made["metadata"]["finalizers"] == [FINALIZER]
    assert made["status"]["loadBalancer"] == {
        "ingress": [{"ip": "198.51.100.1", "ipMode": "VIP", "hostname": "web.lb.example.net"}]
    }
    assert world.take() == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]
    assert world.cloud.calls == [("ensure", ("w1", "w2"))]


def test_change_that_matters_is_ensured_and_one_that_does_not_is_left(world: World) -> None:
    world.take()
    world.change(selector={"app": "other"})
    assert world.take() == []
    world.change(externalTrafficPolicy="Local")
    assert world.take() == ["ExternalTrafficPolicy", "EnsuringLoadBalancer", "EnsuredLoadBalancer"]
    assert len(world.cloud.calls) == 2


def test_nodes_come_and_go_by_an_update_of_the_nodes_alone(world: World) -> None:
    world.take()
    world.store.create("nodes", node("w3"))
    world.run()
    assert world.cloud.calls[-1] == ("update", ("w1", "w2", "w3"))
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    world.store.update("nodes", node("w1", **{label: "true"}))
    world.run()
    assert world.cloud.calls[-1] == ("update", ("w2", "w3"))
    assert world.take() == ["UpdatedLoadBalancer", "UpdatedLoadBalancer"]


def test_node_that_turns_unready_changes_nothing(world: World) -> None:
    unready = node("w1")
    unready["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    world.store.update("nodes", unready)
    world.run()
    assert len(world.cloud.calls) == 1


def test_no_nodes_is_a_warning() -> None:
    world = World()
    for name in ("w1", "w2"):
        world.store.delete("nodes", "", name)
    world.store.create("services", service())
    world.run()
    assert "UnAvailableLoadBalancer" in world.take()


def test_deleted_service_waits_for_its_load_balancer(world: World) -> None:
    world.take()
    world.store.delete("services", "default", "web")
    assert world.service()["metadata"]["deletionTimestamp"]
    world.run()
    with pytest.raises(NotFoundError):
        world.service()
    assert world.take() == ["DeletingLoadBalancer", "DeletedLoadBalancer"]
    assert world.cloud.known == set()


def test_type_change_removes_load_balancer_status_and_finalizer(world: World) -> None:
    world.change(type="ClusterIP")
    made = world.service()
    assert "finalizers" not in made["metadata"]
    assert made["status"]["loadBalancer"] == {}
    assert world.cloud.known == set()
    world.change(type="LoadBalancer")
    assert world.service()["metadata"]["finalizers"] == [FINALIZER]


def test_others_finalizers_are_kept(world: World) -> None:
    old = world.service()
    meta = {**old["metadata"], "finalizers": ["example.com/mine", FINALIZER]}
    world.store.update("services", {**old, "metadata": meta})
    world.change(type="ClusterIP")
    assert world.service()["metadata"]["finalizers"] == ["example.com/mine"]


def test_service_of_another_class_is_left_alone() -> None:
    world = World()
    world.store.create("services", service(loadBalancerClass="example.com/internal"))
    world.run()
    assert world.cloud.calls == []
    assert "finalizers" not in world.service()["metadata"]


def test_failure_is_told_and_tried_again_later(world: World) -> None:
    world.take()
    world.cloud.fails = "the range is used up"
    world.change(externalTrafficPolicy="Local")
    assert world.api.events[-1] == (
        "Warning",
        "SyncLoadBalancerFailed",
        "Error syncing load balancer: failed to ensure load balancer: the range is used up",
    )
    world.cloud.fails = ""
    world.api.clock.advance(4.9)
    world.run()
    assert world.take()[-1] == "SyncLoadBalancerFailed"
    world.api.clock.advance(0.2)
    world.run()
    assert world.take()[-1] == "EnsuredLoadBalancer"


def test_edited_status_is_put_right(world: World) -> None:
    old = world.service()
    world.store.update("services", {**old, "status": {"loadBalancer": {}}}, status=True)
    world.run()
    assert world.service()["status"]["loadBalancer"]["ingress"][0]["ip"] == "198.51.100.1"


def test_object_gone_without_waiting_still_frees_its_load_balancer(world: World) -> None:
    old = world.service()
    meta = {k: v for k, v in old["metadata"].items() if k != "finalizers"}
    world.store.update("services", {**old, "metadata": meta})
    world.store.delete("services", "default", "web")
    world.run()
    assert world.cloud.known == set()


def test_without_a_cloud_the_service_stays_pending_and_one_event_says_why() -> None:
    world = World(with_cloud=False)
    world.store.create("services", service())
    world.run()
    world.change(externalTrafficPolicy="Local")
    assert world.take() == ["NoCloudProvider"]
    assert world.service()["status"]["loadBalancer"] == {}
    assert "finalizers" not in world.service()["metadata"]


def test_what_the_cloud_could_not_keep_is_told_again_until_it_holds(world: World) -> None:
    world.take()
    world.cloud.calls.clear()
    world.cloud.fails = "no more rules"
    world.cloud.refused(WEB)
    world.run()
    failed = ["UpdateLoadBalancerFailed"]
    message = (
        "Error updating load balancer with new hosts [w1 w2] [node names limited, total number of "
        "nodes: 2], error: no more rules"
    )
    assert world.api.events[0] == ("Warning", "UpdateLoadBalancerFailed", message)
    assert world.take() == failed
    for wait in (5, 10):
        world.api.clock.advance(wait - 1)
        world.run()
        assert world.take() == []
        world.api.clock.advance(1)
        world.run()
        assert world.take() == failed
    world.cloud.fails = ""
    world.api.clock.advance(20)
    world.run()
    assert world.take() == ["UpdatedLoadBalancer"]
    assert world.cloud.calls == [("update", ("w1", "w2"))]


def test_a_cloud_that_speaks_of_a_service_that_is_gone_is_not_heard(world: World) -> None:
    world.store.delete("services", "default", "web", grace=0)
    world.run()
    world.take()
    world.cloud.refused(WEB)
    world.run()
    assert world.take() == []


def test_a_change_of_type_is_told(world: World) -> None:
    world.take()
    world.change(type="ClusterIP")
    assert world.api.events[0] == ("Normal", "Type", "LoadBalancer -> ClusterIP")
    assert world.take() == ["Type", "DeletingLoadBalancer", "DeletedLoadBalancer"]
    world.change(type="LoadBalancer")
    assert world.api.events[0] == ("Normal", "Type", "ClusterIP -> LoadBalancer")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"loadBalancerSourceRanges": ["10.0.0.0/8", "11.0.0.0/8"]},
            "[] -> [10.0.0.0/8 11.0.0.0/8]",
        ),
        ({"loadBalancerIP": "198.51.100.9"}, " -> 198.51.100.9"),
        ({"externalIPs": ["203.0.113.7"]}, "Count: 0 -> 1"),
        ({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30090}, " -> Local"),
        ({"healthCheckNodePort": 30090}, "0 -> 30090"),
        ({"sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local"}, ""),
        ({"ports": [{"port": 81}], "loadBalancerIP": "198.51.100.9"}, ""),
    ],
)
def test_the_first_difference_is_told_if_it_has_a_name(
    world: World, spec: dict[str, Any], told: str
) -> None:
    world.api.events.clear()
    world.change(**spec)
    first = world.api.events[0][2]
    assert first == (told or "Ensuring load balancer")


def test_another_external_address_in_place_of_one_is_told(world: World) -> None:
    world.change(externalIPs=["203.0.113.7"])
    world.api.events.clear()
    world.change(externalIPs=["203.0.113.8"])
    assert world.api.events[0] == ("Normal", "ExternalIP", "Added: 203.0.113.8")


def test_a_load_balancer_that_cannot_be_deleted_keeps_its_service(world: World) -> None:
    world.take()

    def refuse(key: NamespacedName) -> None:
        raise CloudError("in use")

    world.cloud.delete = refuse  # type: ignore[method-assign]
    world.store.delete("services", "default", "web")
    world.run()
    assert world.api.events[-1] == (
        "Warning",
        "SyncLoadBalancerFailed",
        "Error syncing load balancer: failed to delete load balancer: in use",
    )
    assert world.service()["metadata"]["finalizers"] == [FINALIZER]
