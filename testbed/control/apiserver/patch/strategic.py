"""Strategic merge patch: a merge patch that knows which lists merge, and by which key.

Source: apimachinery pkg/util/strategicpatch/patch.go, pkg/util/mergepatch/errors.go.
"""

from __future__ import annotations

from typing import Any

from testbed.api.documents import copy_value
from testbed.control.apiserver.patch.json import PatchError
from testbed.control.apiserver.patch.shape import Shape
from testbed.control.apiserver.patch.typed import plain

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_SCALARS = "$deleteFromPrimitiveList/"
ELEMENT_ORDER = "$setElementOrder/"

_BAD_ORDER = "invalid patch format of setElementOrder list"
_BAD_RETAIN_KEYS = "invalid patch format of retainKeys"
_LIST_OF_LISTS = "lists of lists are not supported"


class UnexpectedPatchError(PatchError):
    """A mistake that the API server doesn't expect: it answers 500 with these words."""


def strategic_merge_patch(target: Any, patch: object, shape: Shape) -> Any:
    """`target` with `patch` merged in as `shape` says; raises PatchError."""
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch is an object", malformed=True)
    return _merge_map(copy_value(target), copy_value(patch), shape)


def _merge_map(original: Any, patch: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """`patch` merged into `original`; both are used up."""
    if DIRECTIVE in patch:
        directive = patch[DIRECTIVE]
        if directive == "replace":
            return {name: value for name, value in patch.items() if name != DIRECTIVE}
        if directive == "delete":
            return {}
        raise _unknown_directive(directive, patch)
    merged: dict[str, Any] = original or {}
    _retain_keys(merged, patch)
    for name in [name for name in patch if name.startswith(ELEMENT_ORDER)]:
        _merge_ordered(merged, patch, name, shape)
    for name, value in patch.items():
        deletes = name.startswith(DELETE_SCALARS)
        _merge_field(merged, name.removeprefix(DELETE_SCALARS), value, shape, deletes=deletes)
    return merged


def _merge_field(
    merged: dict[str, Any], name: str, value: Any, shape: Shape, *, deletes: bool
) -> None:
    if value is None:
        merged.pop(name, None)
        return
    before = merged.get(name)
    if name not in merged or type(before) is not type(value):
        if not deletes:
            _put(merged, name, _without_nulls(value))
        return
    field = shape.field(name)
    if isinstance(value, dict):
        whole = _strategy(field) == "replace"
        merged[name] = value if whole else _merge_map(before, value, field)
    elif isinstance(value, list):
        merged[name] = _merge_slice(list(before or ()), value, field, deletes=deletes)
    else:
        merged[name] = value


def _put(merged: dict[str, Any], name: str, value: Any) -> None:
    kept, value = _without_directives(value)
    if kept:
        merged[name] = value
    else:
        merged.pop(name, None)


def _strategy(shape: Shape) -> str:
    return next(iter(shape.patch_strategy - {"retainKeys"}), "")


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    if RETAIN_KEYS not in patch:
        return
    kept = patch.pop(RETAIN_KEYS)
    if not isinstance(kept, list):
        raise PatchError(_BAD_RETAIN_KEYS, malformed=True)
    for name, value in patch.items():
        directed = name.startswith((DELETE_SCALARS, ELEMENT_ORDER))
        if value is not None and not directed and name not in kept:
            raise PatchError(_BAD_RETAIN_KEYS, malformed=True)
    for name in [name for name in original if name not in kept]:
        del original[name]


def _merge_ordered(
    original: dict[str, Any], patch: dict[str, Any], directive: str, shape: Shape
) -> None:
    """Merge a list whose order the patch gives, and take it out of the patch."""
    order = patch.pop(directive)
    name = directive.removeprefix(ELEMENT_ORDER)
    field = shape.field(name)
    key = field.merge_key
    before, items = original.get(name), patch.get(name)
    for value in (order, before, items):
        if value is not None and not isinstance(value, list):
            raise UnexpectedPatchError(f"expected a []interface {{}}, but received a {_go(value)}")
    if (name in original and before is None) or (name in patch and items is None):
        raise UnexpectedPatchError("expected a []interface {}, but received a %!s(<nil>)")
    _check_order(items or [], order, key)
    if before is None and items is None:
        return
    if items is None:
        merged = list(before or [])
    elif before is None:
        merged = _without_directives(items)[1]
    else:
        merged = _merge_slice(list(before), items, field, deletes=False)
    mine, theirs = _partition(merged, order, key)
    is_map = _element_is_map(before or [], items or [])
    stood = _left_in_place(before or [], items or [], key if is_map else "")
    original[name] = _normalized(mine, theirs, order, stood, key if is_map else "")
    patch.pop(name, None)


def _left_in_place(before: list[Any], items: list[Any], key: str) -> list[Any]:
    """The server's order of a list after its merge.

    Go deletes and appends in the memory of the list that it looks the order up in: where items
    were deleted, new ones take the room.
    """
    if not key or any(item.get(DIRECTIVE) == "replace" for item in items):
        return before
    gone = {_hashable(item.get(key)) for item in items if item.get(DIRECTIVE) == "delete"}
    left = [item for item in before if _identity(item, key) not in gone]
    known = {_identity(item, key) for item in left}
    new = [i for i in items if DIRECTIVE not in i and _identity(i, key) not in known]
    return [*left, *new][: len(before)]


def _check_order(items: list[Any], order: list[Any], key: str) -> None:
    """Every item of the patch stands in `order`, in this order."""
    if not order or not items:
        return
    listed = items
    if key:
        for item in items:
            _need_map(item)
        listed = [item for item in items if item.get(DIRECTIVE) != "delete"]
    at = place = 0
    while at < len(listed) and place < len(order):
        item = listed[at]
        if isinstance(item, dict) and DIRECTIVE in item:
            at += 1
            continue
        if _same(item, order[place], key):
            at += 1
        place += 1
    if at < len(listed):
        raise UnexpectedPatchError(
            f"The order in patch list:\n{plain(items)}\n doesn't match $setElementOrder list:\n"
            f"{plain(order)}\n"
        )


def _same(left: Any, right: Any, key: str) -> bool:
    if not key:
        return bool(left == right)
    for item in (left, right):
        _need_map(item)
        if key not in item:
            raise _no_merge_key(item, key)
    return bool(left[key] == right[key])


def _merge_slice(
    original: list[Any], patch: list[Any], shape: Shape, *, deletes: bool
) -> list[Any]:
    if _strategy(shape) != "merge" and not deletes:
        return patch
    if not original and not patch:
        return original
    key = shape.merge_key
    if not _element_is_map(original, patch):
        if deletes:
            return [item for item in original if item not in patch]
        merged = []
        for item in (*original, *patch):
            if item not in merged:
                merged.append(item)
    else:
        if not key:
            raise UnexpectedPatchError("cannot merge lists without merge key")
        original, patch = _special_items(original, patch, key)
        merged = _merge_items(original, patch, key, shape)
    mine, theirs = _partition(merged, patch, key)
    return _normalized(mine, theirs, patch, original, key)


def _special_items(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """The list without what the patch deletes, and the patch's items that say no more than that."""
    items, replaced = [], False
    for item in patch:
        if DIRECTIVE not in item:
            items.append(item)
            continue
        directive = item[DIRECTIVE]
        if directive == "delete":
            if key not in item:
                raise _no_merge_key(item, key)
            for entry in original:
                _need_map(entry)
            original = [e for e in original if key not in e or e[key] != item[key]]
        elif directive == "replace":
            replaced = True
        elif directive == "merge":
            raise UnexpectedPatchError("merging lists cannot yet be specified in the patch")
        else:
            raise _unknown_directive(directive, item)
    return (items, []) if replaced else (original, items)


def _merge_items(original: list[Any], patch: list[Any], key: str, shape: Shape) -> list[Any]:
    merged = list(original)
    places = {}
    for index, entry in reversed(list(enumerate(merged))):
        if key in entry:
            places[_hashable(entry[key])] = index
    for item in patch:
        if key not in item:
            raise _no_merge_key(item, key)
        place = _hashable(item[key])
        if place in places:
            merged[places[place]] = _merge_map(merged[places[place]], item, shape.item())
        else:
            places[place] = len(merged)
            merged.append(item)
    return merged


def _hashable(value: Any) -> Any:
    if isinstance(value, dict | list):
        raise UnexpectedPatchError(f"a merge key holds {plain(value)}")
    return type(value), value


def _partition(merged: list[Any], listed: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Of `merged`, the items that are `listed` and the others."""
    if not key:
        return [i for i in merged if i in listed], [i for i in merged if i not in listed]
    wanted = set()
    for item in listed:
        if not isinstance(item, dict):
            raise UnexpectedPatchError("value for key 0 is not a map")
        if key in item:
            wanted.add(_hashable(item[key]))
    mine: list[Any] = []
    theirs: list[Any] = []
    for item in merged:
        _need_map(item)
        if key not in item:
            raise _no_merge_key(item, key)
        (mine if _hashable(item[key]) in wanted else theirs).append(item)
    return mine, theirs


def _normalized(
    mine: list[Any], theirs: list[Any], order: list[Any], server: list[Any], key: str
) -> list[Any]:
    """Items in the order of the patch, those of the server in between where they stood."""
    wanted, stood = _places(order, key), _places(server, key)
    left, right = _sorted(theirs, stood, key), _sorted(mine, wanted, key)
    result: list[Any] = []
    while left and right:
        first, second = stood.get(_identity(left[0], key)), stood.get(_identity(right[0], key))
        before = first is not None and second is not None and first < second
        result.append((left if before else right).pop(0))
    return result + left + right


def _identity(item: Any, key: str) -> Any:
    if not key and isinstance(item, dict):
        raise _no_merge_key(item, key)
    return _hashable(item.get(key) if key and isinstance(item, dict) else item)


def _places(items: list[Any], key: str) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for index, item in enumerate(items):
        found.setdefault(_identity(item, key), index)
    return found


def _sorted(items: list[Any], places: dict[Any, int], key: str) -> list[Any]:
    """As Go's insertion sort leaves them: an item without a place goes before all others."""
    known = [places.get(_identity(item, key)) for item in items]
    out: list[tuple[int | None, Any]] = []
    for place, item in zip(known, items, strict=True):
        at = len(out)
        while at and (place is None or out[at - 1][0] is None or place < (out[at - 1][0] or 0)):
            at -= 1
        out.insert(at, (place, item))
    return [item for _, item in out]


def _element_is_map(*lists: list[Any]) -> bool:
    """Whether the lists hold objects; raises PatchError where they hold this and that."""
    kinds = {_go(item) for items in lists for item in items}
    if "[]interface {}" in kinds:
        raise PatchError(_LIST_OF_LISTS)
    if len(kinds) > 1:
        raise UnexpectedPatchError(f"list element types are not identical: {plain(list(lists))}")
    if not kinds:
        raise UnexpectedPatchError("no elements in any of the given slices")
    return "map[string]interface {}" in kinds


def _without_nulls(value: Any) -> Any:
    """`value` without null members; what stands in lists keeps its own nulls."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _without_directives(value: Any) -> tuple[bool, Any]:
    """Whether `value` stays, and what stays of it."""
    if isinstance(value, dict):
        if DIRECTIVE in value:
            return False, None
        kept = {name: _without_directives(item) for name, item in value.items()}
        return True, {name: item for name, (stays, item) in kept.items() if stays}
    if isinstance(value, list):
        items = [_without_directives(item) for item in value]
        return True, [item for stays, item in items if stays]
    return True, value


def _need_map(item: Any) -> None:
    if not isinstance(item, dict):
        raise UnexpectedPatchError(
            f"expected a map[string]interface {{}}, but received a {_go(item)}"
        )


def _go(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    if isinstance(value, str):
        return "string"
    return "float64" if isinstance(value, float) else "int64"


def _no_merge_key(item: Any, key: str) -> PatchError:
    return UnexpectedPatchError(f"map: {plain(item)} does not contain declared merge key: {key}")


def _unknown_directive(directive: Any, patch: Any) -> PatchError:
    return UnexpectedPatchError(f"unknown patch type: {directive} in map: {plain(patch)}")
