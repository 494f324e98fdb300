"""Documents into typed documents and back: what Go's decoder and encoder do to an object.

Decoding checks types, drops what the schema doesn't know and says so in Go's words (catalogue
V-082…V-084). Encoding leaves out what Go's `omitempty` leaves out. Sources: sigs.k8s.io/json,
apimachinery pkg/runtime/serializer/json.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from typing import Any

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.api.identity import json_type
from testbed.api.schema import FieldType, StructType, struct

#: More strict errors than this are not collected.
STRICT_LIMIT = 100

_INT_RANGE = {"int32": 2**31, "int64": 2**63}
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


class DecodeError(ValueError):
    """A value of the wrong type; its text is Go's."""


def decode(document: Document, definition: StructType) -> tuple[Document, list[str]]:
    """A typed copy of `document` and its strict errors (`unknown field "spec.fooBar"`).

    The copy has no null members; empty lists and maps stay. Raises DecodeError.
    """
    decoder = _Decoder()
    decoded = decoder.struct(document, definition, "")
    if decoder.first_error is not None:
        raise decoder.first_error
    return decoded, decoder.strict[:STRICT_LIMIT]


class _Decoder:
    """One document's decoding: the first type error wins unless a value refuses itself."""

    def __init__(self) -> None:
        self.strict: list[str] = []
        self.first_error: DecodeError | None = None
        self._struct = ""
        self._fields: list[str] = []

    def struct(self, value: Document, definition: StructType, path: str) -> Document:
        out: Document = {}
        outer = self._struct
        self._struct = definition.go_name
        for key, item in value.items():
            field = definition.fields.get(key)
            inner = f"{path}.{key}" if path else key
            if field is None:
                self.strict.append(f"unknown field {quote(inner)}")
                continue
            if item is None and field.kind != "raw":
                continue
            self._fields.append(key)
            out[key] = self.value(item, field, inner)
            self._fields.pop()
        self._struct = outer
        return out

    def value(self, value: Any, field: FieldType, path: str) -> Any:
        if field.kind == "struct":
            if not isinstance(value, dict):
                return self._mismatch(value, field.go, {})
            return self.struct(value, struct(field.struct), path)
        if field.kind == "list":
            return self._list(value, field, path)
        if field.kind == "map":
            return self._map(value, field, path)
        if field.kind == "raw":
            return value
        return self._scalar(value, field)

    def _list(self, value: Any, field: FieldType, path: str) -> list[Any]:
        item = field.item
        if not isinstance(value, list) or item is None:
            self._mismatch(value, field.go, None)
            return []
        return [
            _zero(item) if entry is None else self.value(entry, item, f"{path}[{i}]")
            for i, entry in enumerate(value)
        ]

    def _map(self, value: Any, field: FieldType, path: str) -> Document:
        item = field.item
        if not isinstance(value, dict) or item is None:
            self._mismatch(value, field.go, None)
            return {}
        return {
            key: _zero(item) if entry is None else self.value(entry, item, f"{path}.{key}")
            for key, entry in value.items()
        }

    def _scalar(self, value: Any, field: FieldType) -> Any:
        match field.kind:
            case "string":
                return value if isinstance(value, str) else self._mismatch(value, field.go, "")
            case "boolean":
                return value if isinstance(value, bool) else self._mismatch(value, "bool", False)
            case "integer":
                return self._integer(value, field.go)
            case "number":
                number = isinstance(value, int | float) and not isinstance(value, bool)
                return value if number else self._mismatch(value, "float64", 0)
            case "intstr":
                return value if isinstance(value, str) else self._own_integer(value)
            case "quantity":
                return self._quantity(value)
            case "bytes":
                return self._bytes(value)
            case "time" | "microtime":
                return self._time(value, micro=field.kind == "microtime")
        raise AssertionError(field.kind)

    def _integer(self, value: Any, go: str) -> int:
        if _fits(value, go):
            return int(value)
        self._mismatch(value, go, 0, number=True)
        return 0

    def _own_integer(self, value: Any) -> int:
        if not _fits(value, "int32"):
            raise self._error(value, "int32", number=True)
        return int(value)

    def _quantity(self, value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        try:
            return quantity.canonical(text.strip())
        except ValueError as error:
            raise DecodeError(str(error)) from None

    def _bytes(self, value: Any) -> str:
        if not isinstance(value, str):
            self._mismatch(value, "[]uint8", None)
            return ""
        text = value.replace("\r", "").replace("\n", "")
        try:
            base64.b64decode(text, validate=True)
        except binascii.Error:
            good = re.match(r"[A-Za-z0-9+/]*", text)
            at = good.end() if good else 0
            raise DecodeError(f"illegal base64 data at input byte {at // 4 * 4}") from None
        return text

    def _time(self, value: Any, *, micro: bool) -> str:
        if not isinstance(value, str):
            raise self._error(value, "string")
        layout = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"
        try:
            return _utc(value, micro=micro)
        except ValueError:
            raise DecodeError(
                f"parsing time {quote(value)} as {quote(layout)}: "
                f'cannot parse {quote(value)} as "2006"'
            ) from None

    def _mismatch(self, value: Any, go: str, instead: Any, *, number: bool = False) -> Any:
        if self.first_error is None:
            self.first_error = self._error(value, go, number=number)
        return instead

    def _error(self, value: Any, go: str, *, number: bool = False) -> DecodeError:
        where = f"{self._struct}.{'.'.join(self._fields)}"
        return DecodeError(
            f"json: cannot unmarshal {_described(value, number)} "
            f"into Go struct field {where} of type {go}"
        )


def _fits(value: Any, go: str) -> bool:
    limit = _INT_RANGE[go]
    return isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit


def _described(value: Any, number: bool) -> str:
    """A value's type, with its text where an integer was wanted."""
    found = json_type(value)
    return f"number {json.dumps(value)}" if number and found == "number" else found


def _utc(text: str, *, micro: bool) -> str:
    """An RFC 3339 time as the API prints it: in UTC, to the second (or microsecond)."""
    found = _RFC3339.fullmatch(text)
    if not found:
        raise ValueError(text)
    moment = datetime.fromisoformat(text[:19] + found[8].replace("Z", "+00:00"))
    fraction = (found[7] or ".")[1:7].ljust(6, "0")
    stamp = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{fraction}Z" if micro else f"{stamp}Z"


def _zero(field: FieldType) -> Any:
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
        out[key] = None if field.kind in ("list", "map", "time", "microtime") else _zero(field)
        if field.kind == "struct":
            out[key] = encode({}, struct(field.struct))
    out |= dict.fromkeys(definition.nullable - out.keys())
    for key in definition.zeroes - out.keys():
        out[key] = None if key in definition.pointers else _zero(definition.fields[key])
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
