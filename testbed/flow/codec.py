"""Frozen dataclasses to JSON values and back, by their type annotations."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from functools import cache
from typing import Any, TypeVar

from testbed.flow.paths import Path

_T = TypeVar("_T")

#: Goes up when a field changes its meaning or disappears.
SCHEMA_VERSION = 1


def to_value(value: Any) -> Any:
    """`value` (dataclass, tuple, str, int, bool, None) as JSON knows it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_value(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple | list):
        return [to_value(item) for item in value]
    return value


def from_value(kind: type[_T], value: Any) -> _T:
    """The `kind` that `to_value` made `value` of; unknown keys are refused with a TypeError."""
    made: _T = _build(kind, value)
    return made


def _build(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        fields = _field_types(kind)
        unknown = sorted(set(value) - set(fields))
        if unknown:
            raise TypeError(f"{kind.__name__} has no field {unknown[0]!r}")
        return kind(**{name: _build(fields[name], item) for name, item in value.items()})
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _build(next(each for each in arguments if each is not type(None)), value)
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in value)
    return value


@cache
def _field_types(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def path_to_json(path: Path, *, indent: int | None = None) -> str:
    """The documented JSON form of a Path (docs/path-schema.md)."""
    document = {"schema": SCHEMA_VERSION, **to_value(path)}
    return json.dumps(document, indent=indent, ensure_ascii=False)


def path_from_json(text: str) -> Path:
    """The Path of its JSON form. Raises ValueError for another schema version."""
    document = json.loads(text)
    version = document.pop("schema", None)
    if version != SCHEMA_VERSION:
        raise ValueError(f"path schema {version!r} is not {SCHEMA_VERSION}")
    return from_value(Path, document)
