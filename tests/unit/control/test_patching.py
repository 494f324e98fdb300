"""Patches that don't fit their object: which status, which words."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.resources import by_name
from testbed.api.status import StatusError
from testbed.control.patching import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, patched

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"ports": [{"port": 80, "name": "http"}]},
}


def patch(kind: str, body: Any, validation: str = "Strict") -> tuple[Any, list[str]]:
    resource = by_name("services")
    assert resource is not None
    return patched(SERVICE, kind, body, resource, validation)


REFUSED = [
    (
        STRATEGIC_PATCH,
        {"spec": {"ports": [{"port": 80, "name": True}]}},
        422,
        ' "" is invalid: patch: Invalid value: "map[spec:map[ports:[map[name:true port:80]]]]": '
        "unrecognized type: string",
    ),
    (
        STRATEGIC_PATCH,
        {"spec": {"type": 5}},
        422,
        ' "" is invalid: patch: Invalid value: "map[spec:map[type:5]]": '
        "cannot convert int64 to v1.ServiceType",
    ),
    (
        STRATEGIC_PATCH,
        {"spec": {"foo": 1}},
        422,
        ' "" is invalid: patch: Invalid value: "map[spec:map[foo:1]]": '
        'strict decoding error: unknown field "spec.foo"',
    ),
    (
        STRATEGIC_PATCH,
        {"spec": {"ports": [{"name": "x"}]}},
        500,
        "map: map[name:x] does not contain declared merge key: port",
    ),
    (
        STRATEGIC_PATCH,
        {"spec": {"$retainKeys": ["type"], "ports": []}},
        400,
        "invalid patch format of retainKeys",
    ),
    (
        STRATEGIC_PATCH,
        [],
        400,
        "json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    (
        MERGE_PATCH,
        5,
        400,
        "error decoding patch: json: cannot unmarshal number into Go value of type "
        "map[string]interface {}",
    ),
    (
        JSON_PATCH,
        [{"op": "remove", "path": "/spec/nothing"}],
        422,
        "the server rejected our request due to an error in our request",
    ),
    (
        JSON_PATCH,
        [{"op": 1}],
        400,
        "error decoding patch: json: cannot unmarshal number into Go struct field "
        "jsonPatchOp.op of type string",
    ),
]


@pytest.mark.parametrize(("kind", "body", "code", "message"), REFUSED)
def test_patch_is_refused(kind: str, body: Any, code: int, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        patch(kind, body)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_a_mistyped_field_of_a_merged_object_is_refused_with_the_object() -> None:
    with pytest.raises(StatusError) as caught:
        patch(MERGE_PATCH, {"spec": {"ports": "x"}})
    assert caught.value.code == 422
    assert '\\"ports\\":\\"x\\"' in caught.value.message
    assert caught.value.message.endswith(
        "json: cannot unmarshal string into Go struct field ServiceSpec.spec.ports "
        "of type []v1.ServicePort"
    )


def test_unknown_fields_are_warnings_where_they_are_not_errors() -> None:
    body = [{"op": "add", "path": "/spec/foo", "value": 1, "more": 2}]
    document, warnings = patch(JSON_PATCH, body, "Warn")
    assert "foo" not in document["spec"]
    assert warnings == ['json patch unknown field "[0].more"', 'unknown field "spec.foo"']
    assert patch(JSON_PATCH, body, "Ignore")[1] == []


def test_a_strategic_patch_may_say_anything_of_kind_and_version() -> None:
    document, _ = patch(STRATEGIC_PATCH, {"apiVersion": "v2", "kind": "Pod"})
    assert (document["apiVersion"], document["kind"]) == ("v1", "Service")


def test_a_whole_number_may_be_written_as_a_fraction_in_a_strategic_patch() -> None:
    document, _ = patch(STRATEGIC_PATCH, {"spec": {"ports": [{"port": 80, "nodePort": 30080.0}]}})
    assert document["spec"]["ports"] == [{"port": 80, "name": "http", "nodePort": 30080}]
