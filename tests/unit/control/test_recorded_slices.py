"""Given a recorded world's Services, Pods and Nodes, the EndpointSlices come out as recorded."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from testbed.api.documents import Document, load_file
from testbed.clock import ManualClock
from testbed.control.controllers.base import Manager
from testbed.control.controllers.endpointslice import MANAGER, EndpointSliceController
from tests.unit.control.world import PlainApi

GOLDEN = Path(__file__).parents[2] / "golden" / "rules"
RESOURCES = {"Service": "services", "Pod": "pods", "Node": "nodes", "Namespace": "namespaces"}


def of_the_controller(slices: list[Document]) -> list[Document]:
    label = "endpointslice.kubernetes.io/managed-by"
    return [s for s in slices if (s["metadata"].get("labels") or {}).get(label) == MANAGER]


def essence(slice_: Document) -> str:
    """A slice without its name, uids, owner and the order of its endpoints (that of a Go map)."""
    plain = copy.deepcopy(slice_)
    meta = {k: v for k, v in plain["metadata"].items() if k in ("namespace", "labels")}
    endpoints = plain.get("endpoints") or []
    for endpoint in endpoints:
        (endpoint.get("targetRef") or {}).pop("uid", None)
    endpoints.sort(key=lambda endpoint: endpoint["addresses"])
    ports = plain.get("ports") or []
    return json.dumps([meta, plain["addressType"], ports, endpoints], sort_keys=True)


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_slices_are_those_that_kubernetes_made(case: str) -> None:
    recorded = load_file(GOLDEN / case / "objects.yaml")
    api = PlainApi(ManualClock())
    for document in recorded:
        if resource := RESOURCES.get(document["kind"]):
            api.store.create(resource, document)
    manager = Manager(api.store, api.clock)
    controller = EndpointSliceController(api)
    manager.add(controller)
    manager.run()
    made = of_the_controller(api.store.list("endpointslices"))
    wanted = of_the_controller([d for d in recorded if d["kind"] == "EndpointSlice"])
    assert sorted(map(essence, made)) == sorted(map(essence, wanted))
