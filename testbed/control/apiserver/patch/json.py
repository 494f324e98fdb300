"""JSON patch (RFC 6902)."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import copy_value

#: Operations in one patch, at most. Source: apiserver patch.go maxJSONPatchOperations.
OPERATION_LIMIT = 10_000


class PatchError(ValueError):
    """The patch doesn't fit the object, or (`malformed`) no object at all."""

    def __init__(self, message: str, *, malformed: bool = False) -> None:
        super().__init__(message)
        self.malformed = malformed


def json_patch(document: Any, operations: object) -> Any:
    """`document` with `operations` applied in order; the original stays as it is."""
    if not isinstance(operations, list) or not all(isinstance(o, dict) for o in operations):
        raise PatchError("a JSON patch is a list of operations", malformed=True)
    root = [copy_value(document)]  # one level up, so that "" (the whole document) has a parent
    for operation in operations:
        _apply(root, operation)
    return root[0]


def _apply(root: list[Any], operation: dict[str, Any]) -> None:
    name, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise PatchError("an operation without a path", malformed=True)
    if name in ("add", "replace", "test") and "value" not in operation:
        raise PatchError(f"operation {name} {path}: no value", malformed=True)
    if name == "add":
        _add(root, path, copy_value(operation["value"]))
    elif name == "remove":
        _take(root, path)
    elif name == "replace":
        parent, key = _place(root, path)
        _at(parent, key, path)
        parent[key] = copy_value(operation["value"])
    elif name == "test":
        if _value(root, path) != operation["value"]:
            raise PatchError(f"testing value {path} failed")
    elif name in ("move", "copy"):
        source = operation.get("from")
        if not isinstance(source, str):
            raise PatchError(f"operation {name} {path}: no from", malformed=True)
        if name == "move" and path.startswith(source + "/"):
            raise PatchError(f"move {source} into itself")
        value = _take(root, source) if name == "move" else copy_value(_value(root, source))
        _add(root, path, value)
    else:
        raise PatchError(f"unexpected kind of operation: {name}", malformed=True)


def _steps(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise PatchError(f"path {path!r} doesn't start with /", malformed=True)
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _place(root: list[Any], path: str) -> tuple[Any, Any]:
    """The container that holds `path`, and the key in it ("-" stays as it is)."""
    parent: Any = root
    key: Any = 0
    for step in _steps(path):
        parent = _at(parent, key, path)
        key = _key(parent, step, path)
    return parent, key


def _key(parent: Any, step: str, path: str) -> Any:
    if isinstance(parent, dict):
        return step
    if isinstance(parent, list):
        if step == "-":
            return step
        if step.isdecimal() and (step == "0" or step[0] != "0"):
            return int(step)
    raise PatchError(f"no such path: {path}")


def _at(parent: Any, key: Any, path: str) -> Any:
    try:
        return parent[key]
    except (KeyError, IndexError, TypeError):
        raise PatchError(f"no such path: {path}") from None


def _value(root: list[Any], path: str) -> Any:
    return _at(*_place(root, path), path)


def _add(root: list[Any], path: str, value: Any) -> None:
    parent, key = _place(root, path)
    if parent is root or isinstance(parent, dict):
        parent[key] = value
    elif key == "-":
        parent.append(value)
    elif key <= len(parent):
        parent.insert(key, value)
    else:
        raise PatchError(f"no such path: {path}")


def _take(root: list[Any], path: str) -> Any:
    parent, key = _place(root, path)
    value = _at(parent, key, path)
    if parent is root:
        raise PatchError("the whole document can't be removed")
    del parent[key]
    return value
