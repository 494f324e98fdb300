"""JSON patch, as the API server's library applies it.

Source: evanphx/json-patch v4 patch.go; apiserver patch.go jsonPatchOp.
"""

from __future__ import annotations

import re
from typing import Any

from testbed.api.decoding import json_type
from testbed.api.documents import copy_value
from testbed.api.jsontext import number_text

#: Operations in one patch, at most. Source: apiserver patch.go maxJSONPatchOperations.
OPERATION_LIMIT = 10_000

_INDEX = re.compile(r"[+-]?[0-9]+", re.ASCII)
_FIELDS = ("op", "path", "from", "value")


class PatchError(ValueError):
    """The patch doesn't fit the object, or (`malformed`) no object at all."""

    def __init__(self, message: str, *, malformed: bool = False) -> None:
        super().__init__(message)
        self.malformed = malformed


def check_operations(operations: object) -> list[dict[str, Any]]:
    """The operations of a patch, if they are some; raises PatchError."""
    prefix = "error decoding patch: json: cannot unmarshal"
    if operations is None:
        return []
    if not isinstance(operations, list):
        kind = json_type(operations)
        words = f"{prefix} {kind} into Go value of type []handlers.jsonPatchOp"
        raise PatchError(words, malformed=True)
    found = []
    for operation in operations:
        if operation is not None and not isinstance(operation, dict):
            words = f"{prefix} {json_type(operation)} into Go value of type handlers.jsonPatchOp"
            raise PatchError(words, malformed=True)
        for name in ("op", "path", "from"):
            value = (operation or {}).get(name)
            if value is not None and not isinstance(value, str):
                raise PatchError(
                    f"{prefix} {json_type(value)} into Go struct field jsonPatchOp.{name} "
                    "of type string",
                    malformed=True,
                )
        found.append(operation or {})
    return found


def unknown_fields(operations: object) -> list[str]:
    """The strict errors of a patch's operations."""
    listed = operations if isinstance(operations, list) else []
    return [
        f'json patch unknown field "[{index}].{name}"'
        for index, operation in enumerate(listed)
        if isinstance(operation, dict)
        for name in operation
        if name not in _FIELDS
    ]


def json_patch(document: Any, operations: object) -> Any:
    """`document` with `operations` applied in order; the original stays as it is."""
    root = copy_value(document)
    for operation in check_operations(operations):
        root = _apply(root, operation)
    return root


def _apply(root: Any, operation: dict[str, Any]) -> Any:
    name = operation.get("op")
    value = copy_value(operation.get("value"))
    if name == "add":
        _add(root, _path(operation), value)
    elif name == "remove":
        _take(root, _path(operation))
    elif name == "replace":
        return _replace(root, _path(operation), value)
    elif name == "test":
        _test(root, _path(operation), operation)
    elif name == "move":
        moved = _take(root, _path(operation, "from"))
        _add(root, _path(operation), moved)
    elif name == "copy":
        copied = copy_value(_value(root, _path(operation, "from")))
        _add(root, _path(operation), copied)
    else:
        raise PatchError(f"Unexpected kind: {name or 'unknown'}")
    return root


def _path(operation: dict[str, Any], name: str = "path") -> str:
    path = operation.get(name)
    if path is None:
        raise PatchError(f"operation without {name}")
    return str(path)


def _place(root: Any, path: str) -> tuple[Any, str]:
    """The object or list that holds `path`, and the key in it."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]
    if len(steps) < 2:
        raise PatchError(f"doc is missing path: {path}")
    parent = root
    for step in steps[1:-1]:
        parent = parent.get(step) if isinstance(parent, dict) else parent[_index(parent, step)]
        if not isinstance(parent, dict | list):
            raise PatchError(f"doc is missing path: {path}")
    return parent, steps[-1]


def _index(items: list[Any], step: str, *, room: int = 0) -> int:
    """The place of an item; a negative one counts from the end."""
    if not _INDEX.fullmatch(step):
        raise PatchError(f"strconv.Atoi: parsing {step!r}: invalid syntax")
    index, size = int(step), len(items) + room
    if not -size <= index < size:
        raise PatchError(f"Unable to access invalid index: {index}")
    return index if index >= 0 else index + size


def _value(root: Any, path: str) -> Any:
    """What stands at `path`; a field that isn't there is null."""
    parent, key = _place(root, path)
    return parent.get(key) if isinstance(parent, dict) else parent[_index(parent, key)]


def _add(root: Any, path: str, value: Any) -> None:
    parent, key = _place(root, path)
    if isinstance(parent, dict):
        parent[key] = value
    elif key == "-":
        parent.append(value)
    else:
        parent.insert(_index(parent, key, room=1), value)


def _replace(root: Any, path: str, value: Any) -> Any:
    if path == "":
        if not isinstance(value, dict | list):
            raise PatchError("replace operation value must be object or array")
        return value
    parent, key = _place(root, path)
    if isinstance(parent, dict):
        parent[key] = value
    else:
        parent[_index(parent, key)] = value
    return root


def _take(root: Any, path: str) -> Any:
    parent, key = _place(root, path)
    if isinstance(parent, list):
        return parent.pop(_index(parent, key))
    if key not in parent:
        raise PatchError(f"Unable to remove nonexistent key: {key}")
    return parent.pop(key)


def _test(root: Any, path: str, operation: dict[str, Any]) -> None:
    found = root if path == "" else _value(root, path)
    if not _equal(found, operation.get("value")):
        raise PatchError(f"testing value {path} failed")


def _equal(left: Any, right: Any) -> bool:
    """Whether two values are written alike: 1 is not 1.0, nor true."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return number_text(left) == number_text(right)
    return bool(left == right)
