"""Patched objects into their types: the API server's converter, which has words of its own.

Source: apimachinery pkg/runtime/converter.go (FromUnstructuredWithValidation).
"""

from __future__ import annotations

from typing import Any

from testbed.api import gotimes, quantity
from testbed.api.decoding import bad_base64
from testbed.api.documents import Document
from testbed.api.jsontext import number_text
from testbed.api.schema import FieldType, StructType, struct


class ConvertError(ValueError):
    """A value of the wrong type; its text is Go's."""


def convert(document: Document, definition: StructType) -> Document:
    """`document` with whole floats made integers where the type asks for some.

    Fields that the type doesn't know stay. Raises ConvertError.
    """
    return {
        key: _convert(value, definition.fields[key]) if key in definition.fields else value
        for key, value in document.items()
    }


def _convert(value: Any, field: FieldType) -> Any:
    if value is None:
        return None
    match field.kind:
        case "struct":
            if not isinstance(value, dict):
                raise ConvertError(f"cannot restore struct from: {_kind(value)}")
            return convert(value, struct(field.struct))
        case "map":
            if not isinstance(value, dict):
                raise ConvertError(f"cannot restore map from {_kind(value)}")
            return {key: _item(entry, field) for key, entry in value.items()}
        case "list":
            if not isinstance(value, list):
                raise ConvertError(f"cannot restore slice from {_kind(value)}")
            return [_item(entry, field) for entry in value]
        case "raw":
            return value
        case "bytes":
            return _bytes(value)
        case "string" | "boolean" | "integer" | "number":
            return _scalar(value, field)
    _own(value, field)
    return value


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        at = bad_base64(value)
        if at is not None:
            raise ConvertError(f"error decoding from json: illegal base64 data at input byte {at}")
    elif not isinstance(value, list):
        raise ConvertError(f"cannot restore slice from {_kind(value)}")
    elif not all(_kind(entry) == "int64" for entry in value if entry is not None):
        raise ConvertError("unrecognized type: uint8")
    return value


def _item(value: Any, field: FieldType) -> Any:
    assert field.item is not None
    return _convert(value, field.item)


def _scalar(value: Any, field: FieldType) -> Any:
    kind = _kind(value)
    wanted = {"string": "string", "boolean": "bool", "number": "float64"}.get(field.kind, field.go)
    if kind == wanted or (kind == "int64" and field.kind in ("integer", "number")):
        return value
    if kind == "float64" and field.kind == "integer":
        if value == int(value):
            return int(value)
        raise ConvertError(f"cannot convert float64 to {field.go}")
    if kind == "int64" and field.kind == "string":
        # Go could make a character of a number, so that its converter gets further than elsewhere.
        raise ConvertError(f"cannot convert int64 to {field.go}")
    raise ConvertError(f"unrecognized type: {wanted}")


def _own(value: Any, field: FieldType) -> None:
    """A type that reads its JSON itself."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        if field.kind == "quantity":
            text = value if isinstance(value, str) else number_text(value) if number else "{}"
            quantity.canonical(text.strip())
        elif field.kind in ("time", "microtime"):
            if not isinstance(value, str):
                raise ConvertError(_mismatch(value, "string"))
            gotimes.utc(value, micro=field.kind == "microtime")
        elif not isinstance(value, str) and not _is_int32(value):
            raise ConvertError(_mismatch(value, "int32"))
    except ConvertError:
        raise
    except ValueError as error:
        raise ConvertError(str(error)) from None


def _is_int32(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31


def _mismatch(value: Any, go: str) -> str:
    kind = {"map": "object", "slice": "array", "int64": "number", "float64": "number"}
    shown = kind.get(_kind(value), _kind(value))
    if shown == "number" and go == "int32":
        shown += f" {number_text(value)}"
    return f"json: cannot unmarshal {shown} into Go value of type {go}"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "slice"
    return "float64" if isinstance(value, float) else "int64"
