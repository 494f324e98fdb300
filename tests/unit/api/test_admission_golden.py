"""160 recorded answers of a Kubernetes 1.36.2 API server."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from testbed.api.admission import Admission
from testbed.api.documents import Document
from testbed.api.resources import RESOURCES
from testbed.api.service_strategy import ip_addresses
from testbed.api.status import StatusError

GOLDEN = Path(__file__).parents[2] / "golden" / "admission.json"
CASES: list[Document] = json.loads(GOLDEN.read_text())
RESOURCE_OF = {entry.kind: entry.resource for entry in RESOURCES}
#: The Service that the API server makes for itself: it has the first address.
KUBERNETES: Document = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "kubernetes", "namespace": "default"},
    "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]},
}


def case_id(index: int) -> str:
    case = CASES[index]
    return f"{index:03}-{case['kind']}-{case['code']}"


def admission() -> Admission:
    made = Admission(rng=random.Random(1))
    made.restore([KUBERNETES])
    return made


def ask(case: Document) -> tuple[int, Document]:
    """Code and stored object, or code and Status."""
    # The recording client asked for strict validation.
    try:
        admitted = admission().create(
            RESOURCE_OF[case["kind"]],
            copy.deepcopy(case["object"]),
            namespace="default",
            field_validation="Strict",
        )
    except StatusError as error:
        return error.code, error.document()
    return 201, admitted.document


def masked(stored: Document, given: Document) -> Document:
    """`stored` with `<allocated>` where the server chose a value at random."""
    out = copy.deepcopy(stored)
    asked: Document = given.get("spec") or {}
    spec: dict[str, Any] = out.get("spec") or {}
    if out["kind"] == "Service" and spec.get("clusterIP", "None") != "None":
        if not asked.get("clusterIP"):
            assert len(spec["clusterIPs"]) == len(ip_addresses(out))
            spec["clusterIP"] = "<allocated>"
            spec["clusterIPs"] = ["<allocated>" for _ in spec["clusterIPs"]]
        if spec.get("healthCheckNodePort") and not asked.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = "<allocated>"
        for port, request in zip(spec.get("ports", ()), asked.get("ports", ()), strict=True):
            if port.get("nodePort") and not request.get("nodePort"):
                port["nodePort"] = "<allocated>"
    return out


@pytest.mark.parametrize("index", range(len(CASES)), ids=case_id)
def test_answer_is_the_api_servers(index: int) -> None:
    case = CASES[index]
    code, answer = ask(case)
    assert code == case["code"], answer
    if "stored" in case:
        assert masked(answer, case["object"]) == masked(case["stored"], case["object"])
        return
    assert answer["reason"] == case["reason"]
    assert answer["message"] == case["message"]
    assert answer.get("details", {}).get("causes") == case["causes"]
