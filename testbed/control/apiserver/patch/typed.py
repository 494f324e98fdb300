"""What server-side apply does with a typed value: checks it, merges another in, takes fields out.

Source: structured-merge-diff v6 typed/{validate,merge,remove,helpers}.go, fieldpath/set.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from testbed.control.apiserver.patch.fields import (
    MISSING,
    Path,
    compact,
    granular,
    grouped,
    item_step,
    parts,
    step_text,
)
from testbed.control.apiserver.patch.shape import Shape


class TypedError(ValueError):
    """A value that doesn't fit its type; the message is Go's."""


def check(value: Any, shape: Shape) -> None:
    """Raises TypedError for what an applied configuration can't hold."""
    errors = _errors(value, shape)
    if len(errors) == 1:
        raise TypedError(errors[0])
    if errors:
        raise TypedError("\n".join(["errors:", *(f"  {error}" for error in errors)]))


def _errors(value: Any, shape: Shape) -> list[str]:
    kind = shape.kind
    if value is None:
        return []
    if kind == "map" or (not kind and isinstance(value, dict)):
        return _map_errors(value, shape)
    if kind == "list" or (not kind and isinstance(value, list)):
        return _list_errors(value, shape)
    wrong = _scalar_error(value, kind)
    return [wrong] if wrong else []


def _map_errors(value: Any, shape: Shape) -> list[str]:
    if not isinstance(value, dict):
        return [f"expected map, got {_shown(value)}"]
    found = []
    for name, item in value.items():
        if not shape.allows(name):
            found.append(f".{name}: field not declared in schema")
            break
        found += [_under(f".{name}", error) for error in _errors(item, shape.field(name))]
    return found


def _list_errors(value: Any, shape: Shape) -> list[str]:
    if not isinstance(value, list):
        return [f"expected list, got {_shown(value)}"]
    found: list[str] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        place = f"[{index}]"
        if shape.list_type in ("map", "set"):
            if wrong := _item_error(item, shape):
                return [*found, f"element {index}: {wrong}"]
            step = item_step(item, shape)
            place = step_text(step)
            if step in seen:
                found.append(f"duplicate entries for key {place}")
            seen.add(step)
        found += [_under(place, error) for error in _errors(item, shape.item())]
    return found


def _item_error(item: Any, shape: Shape) -> str:
    if shape.list_type == "set":
        if isinstance(item, dict):
            return "associative list without keys has an element that's a map type"
        if isinstance(item, list):
            return "not supported: associative list with lists as elements"
        if item is None:
            return "associative list without keys has an element that's an explicit null"
        return ""
    if item is None:
        return "associative list with keys may not have a null element"
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    if item_step(item, shape) == "k:{}":
        keys = " ".join(compact(key) for key in shape.list_keys)
        return (
            f"associative list with keys has an element that omits all key fields [{keys}] "
            "(and doesn't have default values for any key fields)"
        )
    return ""


def _scalar_error(value: Any, kind: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "numeric" and not number:
        return f"expected numeric (int or float), got {_go_type(value)}"
    if kind == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
    if kind == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got {_shown(value)}"
    if kind == "untyped" and isinstance(value, dict | list):
        return f"expected any scalar, got {_shown(value)}"
    return ""


def _under(place: str, error: str) -> str:
    return place + error if error[:1] in ".[" else f"{place}: {error}"


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "map[string]interface {}" if isinstance(value, dict) else "[]interface {}"


def _go_syntax(value: Any) -> str:
    """`value` as fmt's %#v prints it."""
    if isinstance(value, dict):
        inner = ", ".join(f"{compact(k)}:{_go_syntax(v)}" for k, v in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go_syntax, value))}}}"
    return "interface {}(nil)" if value is None else compact(value)


def _shown(value: Any) -> str:
    """`value` as fmt's %v prints the value that wraps it."""
    return f"&{{{plain(value)}}}"


def plain(value: Any) -> str:
    """`value` as fmt's %v prints it."""
    if isinstance(value, dict):
        inner = " ".join(f"{key}:{plain(item)}" for key, item in sorted(value.items()))
        return f"map[{inner}]"
    if isinstance(value, list):
        return f"[{' '.join(map(plain, value))}]"
    if value is None:
        return "<nil>"
    return value if isinstance(value, str) else compact(value)


def merge(live: Any, applied: Any, shape: Shape) -> Any:
    """`live` with `applied` laid over it, list items matched by their keys.

    Either may be MISSING. Raises TypedError for an applied list with an item that stands twice.
    """
    kind = applied if applied is not MISSING and applied is not None else live
    if not granular(kind, shape) or (_empty(live) and _empty(applied)):
        return live if applied is MISSING else applied
    if isinstance(kind, dict):
        return _merge_maps(live, applied, shape)
    return _merge_lists(
        live if isinstance(live, list) else [], applied if isinstance(applied, list) else [], shape
    )


def _empty(value: Any) -> bool:
    return value is MISSING or not isinstance(value, dict | list) or not value


def _merge_maps(live: Any, applied: Any, shape: Shape) -> dict[str, Any]:
    left = live if isinstance(live, dict) else {}
    right = applied if isinstance(applied, dict) else {}
    return {
        name: merge(left.get(name, MISSING), right.get(name, MISSING), shape.field(name))
        for name in (*left, *(name for name in right if name not in left))
    }


def _merge_lists(live: list[Any], applied: list[Any], shape: Shape) -> list[Any]:
    """Applied items in their order, the others where they stood before.

    Source: typed/merge.go visitListItems.
    """
    left, right = grouped(live, shape), grouped(applied, shape)
    for step, items in right.items():
        if len(items) > 1:
            raise TypedError(f"duplicate entries for key {step_text(step)}")
    before = [item_step(item, shape) for item in live]
    wanted = list(right)
    shared = [step for step in wanted if step in left]
    merged: set[str] = set()
    out: list[Any] = []

    def take(step: str, mine: Any) -> None:
        alone = left.get(step, [MISSING])
        theirs = alone[0] if len(alone) == 1 else MISSING
        if mine is MISSING:
            out.append(theirs)
        else:
            merged.add(step)
            out.append(merge(theirs, mine, shape.item()))

    at = index = 0
    while at < len(before) or index < len(wanted):
        if at < len(before) and index < len(wanted):
            step = before[at]
            if step == wanted[index]:
                take(step, right[step][0])
                at, index, shared = at + 1, index + 1, shared[1:]
                continue
            if step in right and shared and shared[0] != step:
                at += 1  # a shared item, but another one is wanted first
                continue
        if at < len(before):
            step = before[at]
            if step not in right:
                out.append(live[at])
                at += 1
                continue
            if step in merged:
                at += 1
        if index < len(wanted):
            step = wanted[index]
            take(step, right[step][0])
            index += 1
            if shared and shared[0] == step:
                shared = shared[1:]
    return out


def remove(value: Any, paths: Iterable[Path], shape: Shape) -> Any:
    """`value` without the fields at `paths`; a map or list that they leave empty becomes null."""
    here: set[str] = set()
    below: dict[str, list[Path]] = {}
    for path in paths:
        if len(path) == 1:
            here.add(path[0])
        elif path:
            below.setdefault(path[0], []).append(path[1:])
    if not isinstance(value, dict | list) or not value:
        return None if isinstance(value, dict | list) else value
    if not granular(value, shape):
        return None
    kept: list[tuple[str, Any]] = []
    for step, item, item_shape in parts(value, shape):
        if step in here:
            continue
        inner = below.get(step)
        kept.append((step, remove(item, inner, item_shape) if inner else item))
    if not kept:
        return None
    return {s[2:]: i for s, i in kept} if isinstance(value, dict) else [i for _, i in kept]


def with_named_fields(paths: Iterable[Path], shape: Shape) -> set[Path]:
    """`paths` and, of what they lead through, the fields that the type names.

    Source: fieldpath/set.go EnsureNamedFieldsAreMembers.
    """
    found: set[Path] = set()
    for path in paths:
        found.add(path)
        current = shape
        for end, step in enumerate(path[:-1], start=1):
            if step[0] == "f":
                if current.declares(step[2:]):
                    found.add(path[:end])
                current = current.field(step[2:])
            else:
                current = current.item()
    return found
