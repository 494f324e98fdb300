"""Strategic merge patch: a merge patch that knows which lists merge, and by which key.

Source: apimachinery pkg/util/strategicpatch/patch.go.
"""

from __future__ import annotations

from typing import Any

from testbed.api.documents import copy_value
from testbed.control.apiserver.patch.json import PatchError
from testbed.control.apiserver.patch.shape import Shape

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_SCALARS = "$deleteFromPrimitiveList/"
ELEMENT_ORDER = "$setElementOrder/"


def strategic_merge_patch(target: Any, patch: object, shape: Shape) -> Any:
    """`target` with `patch` merged in as `shape` says; raises PatchError."""
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch is an object", malformed=True)
    return _merge_map(target if isinstance(target, dict) else {}, patch, shape)


def _merge_map(target: dict[str, Any], patch: dict[str, Any], shape: Shape) -> dict[str, Any]:
    directive = patch.get(DIRECTIVE)
    if directive == "delete":
        return {}
    if directive == "replace":
        rest = {name: value for name, value in patch.items() if name != DIRECTIVE}
        return _merge_map({}, rest, shape)
    if directive not in (None, "merge"):
        raise PatchError(f"unknown patch type: {directive}", malformed=True)
    merged = dict(target)
    if RETAIN_KEYS in patch:
        kept = _list(patch[RETAIN_KEYS], RETAIN_KEYS)
        merged = {name: value for name, value in merged.items() if name in kept}
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value, shape.field(name), patch, name)
    for name in _only_directed(patch):
        if isinstance(merged.get(name), list):
            merged[name] = _merge_list(merged[name], [], shape.field(name), patch, name)
    return merged


def _only_directed(patch: dict[str, Any]) -> list[str]:
    """Lists that the patch reorders or deletes from without giving items."""
    named = [
        name.removeprefix(prefix)
        for name in patch
        for prefix in (DELETE_SCALARS, ELEMENT_ORDER)
        if name.startswith(prefix)
    ]
    return [name for name in dict.fromkeys(named) if name not in patch]


def _merge(target: Any, value: Any, shape: Shape, patch: dict[str, Any], name: str) -> Any:
    if isinstance(value, dict):
        if "replace" in shape.patch_strategy or not isinstance(target, dict):
            target = {}
        return _merge_map(target, value, shape)
    if isinstance(value, list) and "merge" in shape.patch_strategy:
        return _merge_list(target if isinstance(target, list) else [], value, shape, patch, name)
    return copy_value(value)


def _merge_list(
    target: list[Any], items: list[Any], shape: Shape, patch: dict[str, Any], name: str
) -> list[Any]:
    order = patch.get(ELEMENT_ORDER + name)
    key = shape.merge_key
    if key:
        merged = _merge_objects(target, items, shape, key)
    else:
        deleted = _list(patch.get(DELETE_SCALARS + name) or [], name)
        merged = [item for item in target if item not in deleted]
        merged += [item for item in items if item not in merged]
    if order is None:
        return merged
    wanted = [_identity(item, key) for item in _list(order, ELEMENT_ORDER + name)]
    identities = [_identity(item, key) for item in merged]
    ordered = interleave(identities, wanted, [_identity(item, key) for item in target])
    return [merged[identities.index(identity)] for identity in ordered]


def _merge_objects(target: list[Any], items: list[Any], shape: Shape, key: str) -> list[Any]:
    if not all(isinstance(item, dict) for item in items):
        raise PatchError(f"a list that merges by {key} holds objects", malformed=True)
    if any(item == {DIRECTIVE: "replace"} for item in items):
        target = []
        items = [item for item in items if item != {DIRECTIVE: "replace"}]
    merged = list(target)
    for item in items:
        if key not in item:
            raise PatchError(f"map: {item} does not contain declared merge key: {key}")
        index = next(
            (
                i
                for i, old in enumerate(merged)
                if isinstance(old, dict) and old.get(key) == item[key]
            ),
            None,
        )
        if item.get(DIRECTIVE) == "delete":
            merged = [
                old for old in merged if not isinstance(old, dict) or old.get(key) != item[key]
            ]
        elif index is None:
            merged.append(_merge_map({}, item, shape.item()))
        else:
            merged[index] = _merge_map(merged[index], item, shape.item())
    return merged


def interleave(present: list[Any], wanted: list[Any], before: list[Any]) -> list[Any]:
    """`present` in the order of `wanted`, the other items where they stood `before`."""
    listed = sorted((item for item in present if item in wanted), key=wanted.index)
    others = [item for item in present if item not in wanted]
    result: list[Any] = []
    while listed and others:
        left, right = listed[0], others[0]
        stood_after = (
            left in before and right in before and before.index(right) < before.index(left)
        )
        result.append((others if stood_after else listed).pop(0))
    return result + listed + others


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if key and isinstance(item, dict) else item


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise PatchError(f"{name} is not a list", malformed=True)
    return value
