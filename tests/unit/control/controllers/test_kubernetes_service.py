"""Service default/kubernetes comes back, with its address and its endpoint."""

from __future__ import annotations

import pytest

from testbed.clock import ManualClock
from testbed.control.controllers.base import Manager
from testbed.control.controllers.endpoints import EndpointsController
from testbed.control.controllers.kubernetes_service import KEY, KubernetesServiceController
from tests.unit.control.world import PlainApi

SERVER = "172.18.0.1"


@pytest.fixture
def api() -> PlainApi:
    return PlainApi(ManualClock())


@pytest.fixture
def manager(api: PlainApi) -> Manager:
    manager = Manager(api.store, api.clock)
    manager.add(
        EndpointsController(api),
        controller := KubernetesServiceController(api, "10.96.0.1", SERVER),
    )
    controller.reconcile(KEY)
    manager.run()
    return manager


@pytest.mark.parametrize("resource", ["services", "endpoints", "endpointslices"])
def test_what_is_deleted_comes_back(api: PlainApi, manager: Manager, resource: str) -> None:
    api.delete(resource, *KEY)
    manager.run()
    found = api.store.get(resource, *KEY)
    assert found["metadata"]["uid"]
    assert api.store.get("services", *KEY)["spec"]["clusterIP"] == "10.96.0.1"
    assert api.store.get("endpointslices", *KEY)["endpoints"][0]["addresses"] == [SERVER]
    assert api.store.get("endpoints", *KEY)["subsets"][0]["addresses"] == [{"ip": SERVER}]


def test_a_changed_endpoint_is_set_right_and_its_labels_stay(
    api: PlainApi, manager: Manager
) -> None:
    found = api.store.get("endpointslices", *KEY)
    labels = {**found["metadata"]["labels"], "mine": "yes"}
    changed = {**found, "metadata": {**found["metadata"], "labels": labels}, "endpoints": []}
    api.update("endpointslices", changed)
    manager.run()
    after = api.store.get("endpointslices", *KEY)
    assert after["endpoints"][0]["addresses"] == [SERVER]
    assert after["metadata"]["labels"]["mine"] == "yes"


def test_at_rest_nothing_is_written(api: PlainApi, manager: Manager) -> None:
    version = api.store.version
    manager.run()
    assert api.store.version == version
