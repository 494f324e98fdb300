"""What the field manager of Kubernetes 1.36 made of applies and updates in random sequences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.api.bodies import typed
from testbed.api.encoding import encode
from testbed.api.resources import by_kind
from testbed.api.schema import kind_struct
from testbed.control.apiserver.patch.apply import ApplyConflictError, apply, record_update
from testbed.control.apiserver.patch.managers import Manager
from testbed.control.apiserver.patch.shape import shape_of
from testbed.control.apiserver.patch.typed import TypedError
from testbed.control.storing import reset_fields

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "golden" / "apply.json").read_text()
)


def stored(document: Any, case: dict[str, Any]) -> Any:
    """A document as the store has it, without what the recording left out; [] is null there."""
    resource = by_kind(case["apiVersion"], case["kind"])
    definition = kind_struct(case["apiVersion"], case["kind"])
    assert resource is not None
    assert definition is not None
    encoded = encode(typed(document, resource, "Ignore")[0], definition)
    encoded["metadata"].pop("managedFields", None)
    return encoded


@pytest.mark.parametrize("case", RECORDED, ids=[str(i) for i in range(len(RECORDED))])
def test_write_leaves_the_recorded_object_and_managers(case: dict[str, Any]) -> None:
    resource = by_kind(case["apiVersion"], case["kind"])
    assert resource is not None
    shape = shape_of(case["apiVersion"], case["kind"])
    reset = reset_fields(resource, case["subresource"])
    operation = "Apply" if case["operation"] == "apply" else "Update"
    writer = Manager(
        case["manager"],
        operation,
        case["apiVersion"],
        case["subresource"],
        case["time"],
        frozenset(),
    )
    answer: dict[str, Any] = {}
    try:
        if operation == "Apply":
            new = apply(case["live"], case["sent"], writer, shape, force=case["force"], reset=reset)
            answer["object"] = stored(new, case)
        else:
            new = {**case["sent"], "metadata": dict(case["sent"]["metadata"])}
            record_update(case["live"], case["sent"], new, writer, shape, reset)
        answer["managed"] = new["metadata"].get("managedFields", [])
    except TypedError as error:
        answer["error"] = str(error)
    except ApplyConflictError as error:
        answer["error"] = str(error)
        answer["causes"] = sorted([c["message"], c["field"]] for c in error.causes())
    expected = {k: case[k] for k in ("object", "managed", "error", "causes") if k in case}
    if "object" in expected:
        expected["object"] = stored(expected["object"], case)
    assert answer == expected
