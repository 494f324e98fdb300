"""Documents into typed documents: what Go's decoder does to an object.

It checks types, drops what the schema doesn't know and says so in Go's words (catalogue
V-082…V-084). Sources: sigs.k8s.io/json internal/golang/encoding/json/decode.go, and the
UnmarshalJSON methods of IntOrString, Quantity, Time and MicroTime.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from testbed.api import gotimes, quantity
from testbed.api.documents import Document
from testbed.api.encoding import zero
from testbed.api.gojson import quote
from testbed.api.jsontext import Repeated, number_text
from testbed.api.schema import FieldType, StructType, struct

#: More strict errors than this are not collected.
STRICT_LIMIT = 100

_INT_RANGE = {"int32": 2**31, "int64": 2**63}
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_NEWLINES = str.maketrans("", "", "\r\n")


class DecodeError(ValueError):
    """A value of the wrong type; its text is Go's."""


def json_type(value: Any) -> str:
    """A JSON value's type as Go's decoder names it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "number"


def decode(document: Document, definition: StructType) -> tuple[Document, list[str]]:
    """A typed copy of `document` and its strict errors (`unknown field "spec.fooBar"`).

    The copy has no null members; empty lists and maps stay. Raises DecodeError.
    """
    decoder = _Decoder()
    decoded = decoder.struct(document, definition, "", {})
    if decoder.first_error is not None:
        raise decoder.first_error
    return decoded, list(decoder.strict)


def repeated_fields(value: Any, path: str = "") -> list[str]:
    """The strict errors of a value without a type: the fields that an object has twice."""
    if isinstance(value, dict):
        pairs = value.pairs if isinstance(value, Repeated) else list(value.items())
        found, seen = [], set()
        for key, item in pairs:
            inner = f"{path}.{key}" if path else key
            if key in seen:
                found.append(f"duplicate field {quote(inner)}")
            seen.add(key)
            found += repeated_fields(item, inner)
        return list(dict.fromkeys(found))[:STRICT_LIMIT]
    if isinstance(value, list):
        lists = [repeated_fields(item, f"{path}[{i}]") for i, item in enumerate(value)]
        return [text for texts in lists for text in texts][:STRICT_LIMIT]
    return []


class _Decoder:
    """One document's decoding: the first type error wins unless a value refuses itself."""

    def __init__(self) -> None:
        self.strict: dict[str, None] = {}
        self.first_error: DecodeError | None = None
        self._struct = ""
        self._fields: list[str] = []

    def struct(self, value: Document, definition: StructType, path: str, out: Document) -> Document:
        """Decode `value` into `out`: a field that stands twice is decoded onto itself."""
        repeated = isinstance(value, Repeated)
        seen: set[str] = set()
        outer, depth = self._struct, len(self._fields)
        for key, item in value.pairs if isinstance(value, Repeated) else value.items():
            field = definition.fields.get(key)
            inner = f"{path}.{key}" if path else key
            if field is None:
                self._note("unknown", inner)
                continue
            if repeated:
                if key in seen:
                    self._note("duplicate", inner)
                seen.add(key)
            if item is None:
                if _cleared_by_null(field, key, definition):
                    out.pop(key, None)
                continue
            self._struct = definition.go_name
            self._fields += definition.way(key)
            decoded = self.value(item, field, inner, out.get(key))
            if decoded is None:
                out.pop(key, None)
            else:
                out[key] = decoded
            del self._fields[depth:]
            self._struct = outer
        return out

    def value(self, value: Any, field: FieldType, path: str, into: Any = None) -> Any:
        """`value` decoded; `into` is what an earlier field of the same name left."""
        match field.kind:
            case "struct":
                if not isinstance(value, dict):
                    return self._mismatch(value, field.go, into)
                return self.struct(value, struct(field.struct), path, into or {})
            case "list":
                return self._list(value, field, path, into or [])
            case "map":
                return self._map(value, field, path, into or {})
            case "raw":
                return value
        return self._scalar(value, field)

    def _list(self, value: Any, field: FieldType, path: str, into: list[Any]) -> list[Any]:
        item = field.item
        if not isinstance(value, list) or item is None:
            self._mismatch(value, field.go, None)
            return into
        out = []
        for index, entry in enumerate(value):
            before = into[index] if index < len(into) else None
            if entry is None:
                out.append(zero(item) if before is None else before)
            else:
                out.append(self.value(entry, item, f"{path}[{index}]", before))
        return out

    def _map(self, value: Any, field: FieldType, path: str, into: Document) -> Document:
        item = field.item
        if not isinstance(value, dict) or item is None:
            self._mismatch(value, field.go, None)
            return into
        seen: set[str] = set()
        for key, entry in value.pairs if isinstance(value, Repeated) else value.items():
            inner = f"{path}.{key}"
            if key in seen:
                self._note("duplicate", inner)
            seen.add(key)
            into[key] = zero(item) if entry is None else self.value(entry, item, inner)
        return into

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
        number = isinstance(value, int | float) and not isinstance(value, bool)
        text = value if isinstance(value, str) else number_text(value) if number else "{}"
        try:
            return quantity.canonical(text.strip())
        except ValueError as error:
            raise DecodeError(str(error)) from None

    def _bytes(self, value: Any) -> str:
        if isinstance(value, list):
            return self._byte_list(value)
        if not isinstance(value, str):
            self._mismatch(value, "[]uint8", None)
            return ""
        at = bad_base64(value)
        if at is not None:
            error = DecodeError(f"illegal base64 data at input byte {at}")
            self.first_error = self.first_error or error
            return ""
        return base64.b64encode(base64.b64decode(value.translate(_NEWLINES))).decode()

    def _byte_list(self, value: list[Any]) -> str:
        """Bytes as a list of numbers, which Go takes too."""
        out = bytearray()
        for entry in value:
            fits = isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < 256
            if not fits and entry is not None:
                self._mismatch(entry, "uint8", None, number=True)
            out.append(entry if fits else 0)
        return base64.b64encode(out).decode()

    def _time(self, value: Any, *, micro: bool) -> str | None:
        if not isinstance(value, str):
            raise self._error(value, "string")
        try:
            return gotimes.utc(value, micro=micro) or None
        except ValueError as error:
            raise DecodeError(str(error)) from None

    def _note(self, word: str, path: str) -> None:
        if len(self.strict) < STRICT_LIMIT:
            self.strict[f"{word} field {quote(path)}"] = None

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


def _cleared_by_null(field: FieldType, key: str, definition: StructType) -> bool:
    """Whether null empties a field; scalars and structs that are always there keep their value."""
    if field.kind in ("string", "boolean", "integer", "number"):
        return key in definition.pointers
    return field.kind != "struct" or key not in definition.embedded | definition.required


def _fits(value: Any, go: str) -> bool:
    limit = _INT_RANGE[go]
    return isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit


def _described(value: Any, number: bool) -> str:
    """A value's type, with its text where an integer was wanted."""
    found = json_type(value)
    return f"number {number_text(value)}" if number and found == "number" else found


def bad_base64(text: str) -> int | None:
    """The byte of `text` that is no base64, or None. Source: encoding/base64 decodeQuantum."""
    plain = text.translate(_NEWLINES)
    if not len(plain) % 4 and _BASE64.fullmatch(plain):
        return None
    data = text.encode()
    end, at = len(data), 0

    def after_newlines(at: int) -> int:
        while at < end and data[at] in b"\r\n":
            at += 1
        return at

    while True:
        for position in range(4):
            at = after_newlines(at)
            if at == end:
                return at - position
            char = data[at : at + 1]
            at += 1
            if char == b"=":
                if position < 2:
                    return at - 1
                at = after_newlines(at)
                if position == 2:
                    if at == end:
                        return end
                    if data[at : at + 1] != b"=":
                        return at - 1
                    at = after_newlines(at + 1)
                return at
            if not (char.isalnum() or char in b"+/"):
                return at - 1
