"""Bodies in protobuf: what kubectl sends, byte by byte, and what isn't protobuf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.api import schema
from testbed.control.apiserver.protobuf import MAGIC, DecodeError, decode
from testbed.control.apiserver.protobuf_fields import FIELDS, INLINE


def number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def field(index: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return number(index << 3) + number(value & (2**64 - 1))
    return number(index << 3 | 2) + number(len(value)) + value


def body(api_version: str, kind: str, message: bytes) -> bytes:
    meta = field(1, api_version.encode()) + field(2, kind.encode())
    return MAGIC + field(1, meta) + field(2, message) + field(3, b"") + field(4, b"")


def test_a_service_is_read_with_its_zeros_left_out() -> None:
    meta = (
        field(1, b"web")
        + field(3, b"")
        + field(8, b"")
        + field(11, field(1, b"a") + field(2, b"b"))
    )
    target = field(1, 0) + field(2, 8080) + field(3, b"")
    port = field(1, b"") + field(2, b"TCP") + field(3, 80) + field(4, target) + field(5, 0)
    spec = field(1, port) + field(2, field(1, b"app") + field(2, b"web")) + field(3, b"")
    spec += field(4, b"ClusterIP") + field(13, 0)
    message = field(1, meta) + field(2, spec) + field(3, field(1, b""))
    assert decode(body("v1", "Service", message)) == {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "web", "labels": {"a": "b"}},
        "spec": {
            "ports": [{"protocol": "TCP", "port": 80, "targetPort": 8080}],
            "selector": {"app": "web"},
            "type": "ClusterIP",
        },
    }


def test_a_zero_that_means_something_is_kept() -> None:
    message = field(1, field(1, b"d")) + field(2, field(1, 0))
    assert decode(body("apps/v1", "Deployment", message))["spec"]["replicas"] == 0


def test_an_event_has_its_times() -> None:
    message = field(1, field(1, b"e")) + field(2, field(1, 1_700_000_000) + field(2, 5_000_000))
    event = decode(body("events.k8s.io/v1", "Event", message))
    assert event["eventTime"] == "2023-11-14T22:13:20.005000Z"


def test_a_field_that_the_table_lacks_is_refused_not_dropped() -> None:
    with pytest.raises(DecodeError, match="no field 99"):
        decode(body("v1", "ConfigMap", field(99, b"x")))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for raw in (data, MAGIC + data, body("v1", "Service", data)):
        try:
            decode(raw)
        except DecodeError:
            continue


def test_the_table_names_fields_that_the_schema_has() -> None:
    names = {schema.struct(name).go: name for name in schema.definitions() if ".v1." in name}
    for message, fields in FIELDS.items():
        known = schema.struct(names[message]).fields
        for name in fields.values():
            assert name in known or (message, name) in INLINE, f"{message}.{name}"
