"""Sets of fields of an object, as managedFields records them.

A set is a set of paths; a path is a tuple of steps as FieldsV1 spells them: `f:name` a field,
`k:{"port":80}` an item of a list by its keys, `v:"a"` an item of a set by its value.
Source: structured-merge-diff v6 fieldpath, typed/tofieldset.go, typed/compare.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from testbed.control.apiserver.patch.shape import Shape

Path: TypeAlias = tuple[str, ...]
FieldSet: TypeAlias = frozenset[Path]

#: Values of list keys that a configuration may leave out: ports are told apart by their protocol.
KEY_DEFAULTS = {"protocol": "TCP"}

_METADATA = ("f:metadata",)
#: Fields that nobody manages. Source: managedfields/internal/stripmeta.go.
_UNMANAGED = {
    ("f:apiVersion",),
    ("f:kind",),
    _METADATA,
    *(
        (*_METADATA, f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
}


@dataclass(slots=True)
class Comparison:
    """What changed between two states of an object: fields set or changed, and fields gone."""

    changed: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)


def field_set(value: Any, shape: Shape) -> FieldSet:
    """Every field that an applied `value` sets, without those that nobody manages.

    A map or list with parts isn't one of them, as its other parts may be someone else's; an item
    of a list is. Source: typed/tofieldset.go.
    """
    return managed(_applied(value, shape, ()))


def managed(paths: Iterator[Path] | set[Path] | FieldSet) -> FieldSet:
    """`paths` without those that nobody manages."""
    return frozenset(
        path for path in paths if path not in _UNMANAGED and path[:2] not in _UNMANAGED
    )


def granular(value: Any, shape: Shape) -> bool:
    """Whether the parts of `value` have owners of their own."""
    if isinstance(value, dict):
        return not shape.atomic_map
    return isinstance(value, list) and shape.list_type in ("map", "set")


def parts(value: Any, shape: Shape) -> Iterator[tuple[str, Any, Shape]]:
    """The parts of a granular value: step, value, shape."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"f:{name}", item, shape.field(name)
        return
    item_shape = shape.item()
    for item in value:
        yield item_step(item, shape), item, item_shape


def holds(value: Any, shape: Shape, path: Path) -> bool:
    """Whether `value` has the field at `path`."""
    for wanted in path:
        if not isinstance(value, dict | list):
            return False
        found = [(item, below) for step, item, below in parts(value, shape) if step == wanted]
        if not found:
            return False
        value, shape = found[0]
    return True


def item_step(item: Any, shape: Shape) -> str:
    """The step to an item of a list: its keys (with their defaults) or its value."""
    if shape.list_type == "set" or not isinstance(item, dict):
        return "v:" + _compact(item)
    keys = {}
    for key in sorted(shape.list_keys):
        value = item.get(key)
        keys[key] = KEY_DEFAULTS.get(key) if value is None else value
    return "k:" + _compact({key: value for key, value in keys.items() if value is not None})


def compare(old: Any, new: Any, shape: Shape) -> Comparison:
    """What changed from `old` to `new`."""
    found = Comparison()
    _compare(old, new, shape, (), found)
    return Comparison(set(managed(found.changed)), set(managed(found.removed)))


def _compare(old: Any, new: Any, shape: Shape, path: Path, found: Comparison) -> None:
    if old == new:
        return
    if not (type(old) is type(new) and granular(new, shape) and granular(old, shape)):
        if old is not None:
            found.removed.update(_walk(old, shape, path))
        if new is not None:
            found.changed.update(_walk(new, shape, path))
            found.removed -= found.changed
        return
    before = {step: (item, item_shape) for step, item, item_shape in parts(old, shape)}
    for step, item, item_shape in parts(new, shape):
        previous, _ = before.pop(step, (None, None))
        _compare(previous, item, item_shape, (*path, step), found)
    for step, (item, item_shape) in before.items():
        found.removed.update(_walk(item, item_shape, (*path, step)))


def _applied(value: Any, shape: Shape, path: Path) -> Iterator[Path]:
    empty = not value and not isinstance(value, list)
    if empty or not granular(value, shape):
        if path:
            yield path
        return
    named = shape.has_fields or isinstance(value, list)
    for step, item, item_shape in parts(value, shape):
        if step[0] != "f" or not named:
            yield (*path, step)
        yield from _applied(item, item_shape, (*path, step))


def _walk(value: Any, shape: Shape, path: Path) -> Iterator[Path]:
    if not value or not granular(value, shape):
        if path:
            yield path
        return
    if path and (isinstance(value, list) or path[-1][0] == "k" or not shape.has_fields):
        yield path
    for step, item, item_shape in parts(value, shape):
        yield from _walk(item, item_shape, (*path, step))


def encode(paths: FieldSet) -> dict[str, Any]:
    """`paths` as FieldsV1."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    return _without_leaf_dots(root)


def _without_leaf_dots(node: dict[str, Any]) -> dict[str, Any]:
    if node.keys() == {"."}:
        return {}
    return {step: _without_leaf_dots(child) if step != "." else {} for step, child in node.items()}


def decode(node: Any, path: Path = ()) -> FieldSet:
    """The set that FieldsV1 `node` holds; what isn't FieldsV1 is left out."""
    return frozenset(_decode(node, path))


def _decode(node: Any, path: Path) -> Iterator[Path]:
    if not isinstance(node, dict):
        return
    if path and (not node or "." in node):
        yield path
    for step, child in node.items():
        if step[:2] in ("f:", "k:", "v:"):
            yield from _decode(child, (*path, step))


def path_text(path: Path) -> str:
    """A path as messages print it: `.spec.ports[port=80,protocol="TCP"].targetPort`."""
    text = ""
    for step in path:
        kind, rest = step[0], step[2:]
        if kind == "f":
            text += "." + rest
        elif kind == "v":
            text += f"[={rest}]"
        else:
            keys = json.loads(rest)
            text += "[" + ",".join(f"{k}={_compact(v)}" for k, v in sorted(keys.items())) + "]"
    return text


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
