"""Bodies in protobuf: what kubectl sends, byte by byte, and what isn't protobuf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.api import schema
from testbed.control.apiserver.protobuf import MAGIC, DecodeError, decode, fields


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


def test_a_field_that_kubernetes_no_longer_has_is_passed_over() -> None:
    cluster_name = field(1, b"e") + field(15, b"")  # ObjectMeta.clusterName, until 1.23
    event = decode(body("v1", "Event", field(1, cluster_name) + field(3, b"Starting")))
    assert event["metadata"] == {"name": "e"}
    assert event["reason"] == "Starting"


def test_what_stands_inline_in_json_is_read() -> None:
    probe = field(1, field(3, field(1, field(2, 8080)))) + field(4, 5)
    mount = field(1, b"v") + field(2, field(2, field(1, b"Memory")))
    container = field(1, b"c") + field(11, probe)
    pod = field(1, field(1, b"p")) + field(2, field(1, mount) + field(2, container))
    assert decode(body("v1", "Pod", pod))["spec"] == {
        "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
        "containers": [
            {"name": "c", "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 5}}
        ],
    }


def test_managed_fields_and_lists_in_maps_are_read() -> None:
    managed = field(1, b"kubectl") + field(7, field(1, b'{"f:data":{}}'))
    meta = decode(body("v1", "ConfigMap", field(1, field(17, managed))))["metadata"]
    assert meta["managedFields"] == [{"manager": "kubectl", "fieldsV1": {"f:data": {}}}]
    extra = field(1, b"k") + field(2, field(1, b"a") + field(1, b"b"))
    review = body("authorization.k8s.io/v1", "SubjectAccessReview", field(2, field(5, extra)))
    assert decode(review)["spec"]["extra"] == {"k": ["a", "b"]}


@pytest.mark.parametrize("groups", [field(4, 7) + field(4, 300), field(4, b"\x07\xac\x02")])
def test_repeated_numbers_come_singly_or_in_one_piece(groups: bytes) -> None:
    pod = decode(body("v1", "Pod", field(2, field(14, groups))))
    assert pod["spec"]["securityContext"]["supplementalGroups"] == [7, 300]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for raw in (data, MAGIC + data, body("v1", "Service", data)):
        try:
            decode(raw)
        except DecodeError:
            continue


def test_every_message_of_the_schema_is_in_the_table_with_all_its_fields() -> None:
    table = fields()
    for name in schema.definitions():
        known = schema.struct(name)
        if name.endswith((".pkg.version.Info", ".IntOrString", ".Quantity", ".Time", ".MicroTime")):
            continue
        if known.go not in table:
            assert not known.fields, f"{known.go} isn't in the table"
            continue
        names = {each for held in table[known.go].values() for each in _names(held)}
        assert names <= set(known.fields), known.go
        assert set(known.fields) - names <= {"apiVersion", "kind"}, known.go


def _names(held: str | dict[int, str]) -> list[str]:
    return [held] if isinstance(held, str) else list(held.values())
