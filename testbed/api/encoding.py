"""Typed documents as the API server stores and prints them: what Go's `omitempty` leaves out.

Source: Go's encoding/json; k8s.io/api's field tags.
"""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from testbed.api.schema import FieldType, StructType, struct


def zero(field: FieldType) -> Any:
    """Go's zero value of a type, as a document has it."""
    if field.kind in ("integer", "number", "intstr"):
        return 0
    if field.kind == "boolean":
        return False
    if field.kind in ("struct", "map"):
        return {}
    if field.kind == "list":
        return []
    return "0" if field.kind == "quantity" else ""


def encode(document: Document, definition: StructType) -> Document:
    """`document` as the API server stores and prints it (catalogue 1.8).

    Without members that `omitempty` drops, with the structs that Go always has.
    """
    out: Document = {}
    for key, value in document.items():
        field = definition.fields.get(key)
        if field is None or value is None:
            continue
        encoded = encode_value(value, field)
        if not _omitted(encoded, key, field, definition):
            out[key] = encoded
    for key in definition.embedded:
        if key not in out:
            out[key] = encode({}, struct(definition.fields[key].struct))
    for key in definition.required - out.keys():
        field = definition.fields[key]
        out[key] = None if field.kind in ("list", "map", "time", "microtime") else zero(field)
        if field.kind == "struct":
            out[key] = encode({}, struct(field.struct))
    out |= dict.fromkeys(definition.nullable - out.keys())
    for key in definition.zeroes - out.keys():
        out[key] = zero(definition.fields[key])
    return out


def encode_value(value: Any, field: FieldType) -> Any:
    """A value of type `field`, with everything below it encoded."""
    if field.kind == "struct" and isinstance(value, dict):
        return encode(value, struct(field.struct))
    if field.item is not None and isinstance(value, list):
        return [encode_value(item, field.item) for item in value]
    if field.item is not None and isinstance(value, dict):
        return {key: encode_value(item, field.item) for key, item in value.items()}
    return value


def _omitted(value: Any, key: str, field: FieldType, definition: StructType) -> bool:
    if field.kind in ("list", "map"):
        return not value
    if field.kind in ("struct", "raw", "intstr", "quantity"):
        return False
    if key in definition.pointers or key in definition.required:
        return False
    return not value
