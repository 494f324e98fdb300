"""Strategic merge patches, field sets and interleaving, on real schemas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.control.apiserver.patch.fields import compare, decode, encode, managed, path_text
from testbed.control.apiserver.patch.json import PatchError, json_patch
from testbed.control.apiserver.patch.merge import merge_patch
from testbed.control.apiserver.patch.shape import shape_of
from testbed.control.apiserver.patch.strategic import strategic_merge_patch

POD = shape_of("v1", "Pod")
SERVICE = shape_of("v1", "Service")


def containers(*names: str, **more: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": name, "image": "i", **more} for name in names]}}


def names(document: dict[str, Any]) -> list[str]:
    return [container["name"] for container in document["spec"]["containers"]]


def test_items_merge_by_their_key_and_new_ones_come_last() -> None:
    patch = {"spec": {"containers": [{"name": "b", "image": "new"}, {"name": "c"}]}}
    merged = strategic_merge_patch(containers("a", "b", tty=True), patch, POD)
    assert merged["spec"]["containers"] == [
        {"name": "a", "image": "i", "tty": True},
        {"name": "b", "image": "new", "tty": True},
        {"name": "c"},
    ]


def test_a_directive_deletes_an_item_or_replaces_the_list() -> None:
    delete = {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}
    assert names(strategic_merge_patch(containers("a", "b"), delete, POD)) == ["b"]
    replace = {"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}
    assert names(strategic_merge_patch(containers("a", "b"), replace, POD)) == ["z"]


def test_an_order_moves_the_patchs_items_and_leaves_the_servers() -> None:
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c"}],
        }
    }
    merged = strategic_merge_patch(containers("a", "x", "c"), patch, POD)
    assert names(merged) == ["x", "c", "a"]


def test_scalars_merge_and_are_deleted_by_value() -> None:
    target = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}
    merged = strategic_merge_patch(target, patch, POD)
    assert merged["metadata"]["finalizers"] == ["c", "b"]


def test_a_list_without_a_strategy_is_replaced() -> None:
    target = {"spec": {"externalIPs": ["1.1.1.1"]}}
    merged = strategic_merge_patch(target, {"spec": {"externalIPs": ["2.2.2.2"]}}, SERVICE)
    assert merged["spec"]["externalIPs"] == ["2.2.2.2"]


def test_retained_keys_drop_the_others() -> None:
    shape = shape_of("apps/v1", "Deployment")
    target = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    merged = strategic_merge_patch(target, patch, shape)
    assert merged["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"$patch": "twist"},
        {"spec": {"containers": ["a"]}},
        {"spec": {"containers": [{"image": "no name"}]}},
    ],
)
def test_a_malformed_strategic_patch_is_refused(patch: Any) -> None:
    with pytest.raises(PatchError):
        strategic_merge_patch({"metadata": {"finalizers": ["a"]}, **containers("a")}, patch, POD)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/a/-", "value": 9}, {"a": [1, 2, 9], "b": {"c~/": 3}}),
        ({"op": "add", "path": "/a/0", "value": 9}, {"a": [9, 1, 2], "b": {"c~/": 3}}),
        ({"op": "remove", "path": "/b/c~0~1"}, {"a": [1, 2], "b": {}}),
        ({"op": "move", "from": "/a/0", "path": "/b/d"}, {"a": [2], "b": {"c~/": 3, "d": 1}}),
        (
            {"op": "copy", "from": "/b", "path": "/e"},
            {"a": [1, 2], "b": {"c~/": 3}, "e": {"c~/": 3}},
        ),
        ({"op": "replace", "path": "", "value": [5]}, [5]),
        ({"op": "replace", "path": "/new", "value": 5}, {"a": [1, 2], "b": {"c~/": 3}, "new": 5}),
        ({"op": "remove", "path": "/a/-1"}, {"a": [1], "b": {"c~/": 3}}),
        ({"op": "test", "path": "/b/missing", "value": None}, {"a": [1, 2], "b": {"c~/": 3}}),
    ],
)
def test_json_patch_operations(operation: dict[str, Any], expected: Any) -> None:
    document = {"a": [1, 2], "b": {"c~/": 3}}
    assert json_patch(document, [operation]) == expected
    assert document == {"a": [1, 2], "b": {"c~/": 3}}


@pytest.mark.parametrize("path", ["", "/a/2", "/a/x", "/c/d", "a"])
def test_a_json_patch_of_a_path_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(PatchError):
        json_patch({"a": [1, 2]}, [{"op": "replace", "path": path, "value": 0}])


def test_a_merge_patch_deletes_with_null() -> None:
    assert merge_patch({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}) == {
        "a": {"c": 2, "d": 3}
    }


def test_a_field_set_is_written_as_kubernetes_writes_it() -> None:
    service = {
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "name": "http"}, {"port": 80, "protocol": "UDP", "name": "u"}],
        },
    }
    paths = frozenset(compare({"metadata": {}, "spec": {}}, service, SERVICE).changed)
    assert encode(managed(paths)) == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:ports": {
                ".": {},
                'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}},
                'k:{"port":80,"protocol":"UDP"}': {
                    ".": {},
                    "f:name": {},
                    "f:port": {},
                    "f:protocol": {},
                },
            },
            "f:selector": {},
            "f:type": {},
        },
    }
    assert decode(encode(paths)) == paths


def test_a_path_reads_as_in_messages() -> None:
    path = ("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}', "f:targetPort")
    assert path_text(path) == '.spec.ports[port=80,protocol="TCP"].targetPort'


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_an_order_loses_nothing_and_leaves_the_others_in_theirs(
    before: list[int], wanted: list[int]
) -> None:
    order = [{"name": str(i)} for i in wanted]
    patch = {"spec": {"$setElementOrder/containers": order}}
    if not before:
        return
    merged = strategic_merge_patch(containers(*map(str, before)), patch, POD)
    result = [int(name) for name in names(merged)]
    assert sorted(result) == sorted(before)
    assert [i for i in result if i in wanted] == [i for i in wanted if i in before]
    assert [i for i in result if i not in wanted] == [i for i in before if i not in wanted]
