"""Decoder for the protobuf bodies that clients send: kubectl create, and every client-go Event.

Messages are read by a table of field numbers (protobuf_fields.json, made by
tools/build_protobuf.py); what a field holds is the schema's to say. A number that isn't there is a
field that Kubernetes 1.36 doesn't know, such as `clusterName` of older clients: it is passed over.
Source: k8s.io/api/*/v1/generated.proto, apimachinery pkg/runtime/serializer/protobuf.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from testbed.api import schema
from testbed.api.documents import Document
from testbed.api.schema import FieldType

MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH_LIMIT = 64
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"


class DecodeError(ValueError):
    """The bytes aren't a message that can be read."""


@cache
def fields() -> dict[str, dict[int, str | dict[int, str]]]:
    """By `group.Message` and number: a field, or those of a message that is inline in JSON."""
    text = files("testbed.control.apiserver").joinpath("protobuf_fields.json").read_text()
    table: dict[str, dict[str, str | dict[str, str]]] = json.loads(text)
    return {message: _numbered(held) for message, held in table.items()}


def _numbered(held: dict[str, str | dict[str, str]]) -> dict[int, str | dict[int, str]]:
    return {
        int(number): name
        if isinstance(name, str)
        else {int(inner): each for inner, each in name.items()}
        for number, name in held.items()
    }


def decode(data: bytes) -> Document:
    """The object in `data` (magic number, runtime.Unknown); raises DecodeError."""
    if not data.startswith(MAGIC):
        raise DecodeError("the body doesn't begin with the magic number k8s\\x00")
    envelope = dict(_messages(data[len(MAGIC) :]))
    type_meta = dict(_messages(_bytes(envelope.get(1, b""))))
    api_version, kind = _text(type_meta.get(1, b"")), _text(type_meta.get(2, b""))
    name = schema.definition_name(api_version, kind)
    if kind == "DeleteOptions":
        name = f"{_META}.DeleteOptions"
    if name is None or _short(name) not in fields():
        raise DecodeError(f"{kind} of {api_version or 'no version'} can't be read as protobuf")
    document = _struct(_bytes(envelope.get(2, b"")), name, 0)
    return {"kind": kind, "apiVersion": api_version, **document}


def _short(name: str) -> str:
    return schema.struct(name).go


def _struct(data: bytes, name: str, depth: int) -> Document:
    if depth > _DEPTH_LIMIT:
        raise DecodeError("nested too deeply")
    definition = schema.struct(name)
    numbers = fields().get(definition.go)
    if numbers is None:
        raise DecodeError(f"{definition.go} isn't in the table of messages")
    result: Document = {}
    for number, value in _messages(data):
        field = numbers.get(number)
        if isinstance(field, str):
            _put(result, field, definition.fields[field], value, depth)
        elif field is not None:
            for inner_number, inner_value in _messages(_bytes(value)):
                if (inner := field.get(inner_number)) is not None:
                    _put(result, inner, definition.fields[inner], inner_value, depth)
    for field in [f for f in result if _left_out(result[f], f, definition)]:
        del result[field]
    return result


def _left_out(value: Any, field: str, definition: schema.StructType) -> bool:
    """Whether JSON would leave out what protobuf always sends: a zero that isn't a pointer's."""
    if value is None:
        return True
    if isinstance(value, dict):
        return not value and field in definition.embedded
    return value in ("", 0, False) and field not in definition.pointers | definition.required


def _put(result: Document, field: str, found: FieldType, value: int | bytes, depth: int) -> None:
    if found.kind == "list" and found.item is not None:
        values = result.setdefault(field, [])
        if found.item.kind == "integer" and isinstance(value, bytes):
            values.extend(_packed(value))
        else:
            values.append(_value(value, found.item, depth))
    elif found.kind == "map" and found.item is not None:
        entry = dict(_messages(_bytes(value)))
        key = _text(entry.get(1, b""))
        result.setdefault(field, {})[key] = _value(entry.get(2, b""), found.item, depth)
    else:
        result[field] = _value(value, found, depth)


def _value(value: int | bytes, found: FieldType, depth: int) -> Any:
    if found.kind == "struct":
        return _struct(_bytes(value), found.struct, depth + 1)
    if found.kind == "integer":
        return _signed(value)
    if found.kind == "boolean":
        return _signed(value) != 0
    if found.kind == "string":
        return _text(value)
    if found.kind == "bytes":
        return base64.b64encode(_bytes(value)).decode()
    if found.kind in ("time", "microtime"):
        return _time(dict(_messages(_bytes(value))), found.kind == "microtime")
    if found.kind == "quantity":
        return _text(dict(_messages(_bytes(value))).get(1, b""))
    if found.kind == "intstr":
        entry = dict(_messages(_bytes(value)))
        return _text(entry.get(3, b"")) if entry.get(1) else _signed(entry.get(2, 0))
    if found.kind == "raw":
        return _raw(dict(_messages(_bytes(value))).get(1, b""))
    if found.kind == "list" and found.item is not None:  # the values of a map, a message each
        return [_value(each, found.item, depth) for _, each in _messages(_bytes(value))]
    raise DecodeError(f"a field of type {found.kind} can't be read as protobuf")


def _raw(value: int | bytes) -> Any:
    """JSON inside protobuf: the field sets of managedFields."""
    try:
        return json.loads(_bytes(value) or b"{}")
    except (ValueError, RecursionError):
        raise DecodeError("a raw value that isn't JSON") from None


def _packed(data: bytes) -> Iterator[int]:
    """The numbers of a repeated field that stand in one piece."""
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield _signed(value)


def _time(entry: dict[int, int | bytes], micro: bool) -> str | None:
    seconds, nanoseconds = _signed(entry.get(1, 0)), _signed(entry.get(2, 0))
    if not seconds and not nanoseconds:
        return None
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(
            seconds=seconds, microseconds=nanoseconds // 1000
        )
    except OverflowError:
        raise DecodeError("a time out of range") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _messages(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message, in its order; repeated fields repeat."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise DecodeError(f"wire type {wire}")
        if number == 0 or position + length > len(data):
            raise DecodeError("unexpected end of the message")
        yield number, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise DecodeError("a broken number")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position


def _signed(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise DecodeError("bytes where a number is expected")
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise DecodeError("a number where a message is expected")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise DecodeError("a string that isn't UTF-8") from None
