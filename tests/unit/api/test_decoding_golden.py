"""What the API server's decoder of Kubernetes 1.36 said about bodies with mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.api.bodies import read_json
from testbed.api.resources import RESOURCES, ResourceType
from testbed.api.status import StatusError

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "golden" / "decoding.json").read_text()
)
BY_KIND: dict[tuple[str, str], ResourceType] = {(r.group, r.kind): r for r in RESOURCES}


@pytest.mark.parametrize("case", RECORDED, ids=[str(i) for i in range(len(RECORDED))])
def test_body_gets_the_recorded_answer(case: dict[str, Any]) -> None:
    resource = BY_KIND[case["group"], case["kind"]]
    answer: dict[str, Any] = {}
    try:
        _, warnings = read_json(case["body"].encode(), resource, case["validation"])
        answer["warnings"] = warnings
    except StatusError as error:
        answer["error"] = error.message
    assert answer == {key: case[key] for key in ("warnings", "error") if key in case}
