"""Sets of fields of an object, as managedFields records them.

A set is a set of paths; a path is a tuple of steps as FieldsV1 spells them: `f:name` a field,
`k:{"port":80}` an item of a list by its keys, `v:"a"` an item of a set by its value.
Source: structured-merge-diff v6 fieldpath, typed/tofieldset.go, typed/compare.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from testbed.control.apiserver.patch.shape import Shape

Path: TypeAlias = tuple[str, ...]
FieldSet: TypeAlias = frozenset[Path]

#: A field that isn't there, which is not the same as a null.
MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING"})()

_METADATA = ("f:metadata",)
#: Fields that nobody manages. Source: managedfields/internal/stripmeta.go.
_UNMANAGED: FieldSet = frozenset(
    {
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
)


@dataclass(slots=True)
class Comparison:
    """What changed between two states of an object: fields set or changed, and fields gone."""

    changed: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    def without(self, fields: Iterable[Path]) -> Comparison:
        """The same without `fields` and all below them."""
        return Comparison(outside(self.changed, fields), outside(self.removed, fields))


def outside(paths: Iterable[Path], fields: Iterable[Path]) -> set[Path]:
    """Of `paths`, those that are neither in `fields` nor below one of them."""
    roots = tuple(fields)
    return {path for path in paths if not any(path[: len(root)] == root for root in roots)}


def managed(paths: Iterable[Path]) -> FieldSet:
    """`paths` without those that nobody manages."""
    return frozenset(paths) - _UNMANAGED


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


def item_step(item: Any, shape: Shape) -> str:
    """The step to an item of a list: its keys (with their defaults) or its value."""
    if shape.list_type == "set" or not isinstance(item, dict):
        return "v:" + compact(item)
    defaults = shape.item().key_defaults
    keys = {}
    for key in sorted(shape.list_keys):
        if key in item:
            keys[key] = item[key]
        elif key in defaults:
            keys[key] = defaults[key]
    return "k:" + compact(keys)


def field_set(value: Any, shape: Shape) -> set[Path]:
    """Every field that `value` sets.

    A map or list with parts isn't one of them, as its other parts may be someone else's; an item
    of a list is. Source: typed/tofieldset.go.
    """
    found: set[Path] = set()
    _collect(value, shape, (), found)
    return found


def _collect(value: Any, shape: Shape, path: Path, found: set[Path]) -> None:
    if not granular(value, shape):
        if path:
            found.add(path)
        return
    if isinstance(value, dict):
        for name, item in value.items():
            inner = (*path, f"f:{name}")
            _collect(item, shape.field(name), inner, found)
            if item is None or item == {} or not shape.declares(name):
                found.add(inner)
        return
    items = grouped(value, shape)
    for step, entries in items.items():
        inner = (*path, step)
        found.add(inner)
        if len(entries) == 1:
            _collect(entries[0], shape.item(), inner, found)


def grouped(items: list[Any], shape: Shape) -> dict[str, list[Any]]:
    """The items of a granular list by their steps; a step that stands twice has two."""
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(item_step(item, shape), []).append(item)
    return found


def compare(old: Any, new: Any, shape: Shape) -> Comparison:
    """What changed from `old` to `new`. Source: typed/compare.go."""
    found = Comparison()
    _compare(old, new, shape, (), found)
    return found


def _compare(old: Any, new: Any, shape: Shape, path: Path, found: Comparison) -> None:
    if old is not MISSING and old == new and type(old) is type(new):
        return
    kind = new if old is MISSING or old is None else old
    if new is not MISSING and new is not None:
        kind = new
    leaf = not granular(kind, shape) or (_empty(old) and _empty(new))
    if not leaf:
        if isinstance(kind, dict):
            _compare_maps(old, new, shape, path, found)
        else:
            _compare_lists(old, new, shape, path, found)
    if old is MISSING:
        found.changed.add(path)
    elif new is MISSING:
        found.removed.add(path)
    elif leaf:
        found.changed.add(path)


def _empty(value: Any) -> bool:
    return value is MISSING or not isinstance(value, dict | list) or not value


def _compare_maps(old: Any, new: Any, shape: Shape, path: Path, found: Comparison) -> None:
    before = old if isinstance(old, dict) else {}
    after = new if isinstance(new, dict) else {}
    for name in before.keys() | after.keys():
        _compare(
            before.get(name, MISSING),
            after.get(name, MISSING),
            shape.field(name),
            (*path, f"f:{name}"),
            found,
        )


def _compare_lists(old: Any, new: Any, shape: Shape, path: Path, found: Comparison) -> None:
    before = grouped(old if isinstance(old, list) else [], shape)
    after = grouped(new if isinstance(new, list) else [], shape)
    for step in before.keys() | after.keys():
        left, right = before.get(step, []), after.get(step, [])
        inner = (*path, step)
        if len(left) <= 1 and len(right) <= 1:
            first, second = (left or [MISSING])[0], (right or [MISSING])[0]
            _compare(first, second, shape.item(), inner, found)
        elif len(left) > 1 and len(right) > 1:
            if left != right:
                found.changed.add(inner)
        elif len(left) > 1:
            if right:
                _compare(MISSING, right[0], shape.item(), inner, found)
            found.removed.add(inner)
        else:
            if left:
                _compare(left[0], MISSING, shape.item(), inner, found)
            found.changed.add(inner)


def encode(paths: Iterable[Path]) -> dict[str, Any]:
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


def ordered(paths: Iterable[Path]) -> list[Path]:
    """`paths` as Go goes through a set: the members of a level before what is below them."""
    below: dict[str, list[Path]] = {}
    members = set()
    for path in paths:
        if len(path) == 1:
            members.add(path[0])
        elif path:
            below.setdefault(path[0], []).append(path[1:])
    result: list[Path] = [(step,) for step in sorted(members)]
    for step in sorted(below):
        result += [(step, *rest) for rest in ordered(below[step])]
    return result


def path_text(path: Path) -> str:
    """A path as messages print it: `.spec.ports[port=80,protocol="TCP"].targetPort`."""
    return "".join(step_text(step) for step in path)


def step_text(step: str) -> str:
    """One step of a path as messages print it."""
    kind, rest = step[0], step[2:]
    if kind == "f":
        return "." + rest
    if kind == "v":
        return f"[={rest}]"
    keys = json.loads(rest)
    return "[" + ",".join(f"{key}={compact(value)}" for key, value in sorted(keys.items())) + "]"


def compact(value: Any) -> str:
    """`value` as JSON without blanks."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
