"""Typed documents: type errors in Go's words, what is dropped, what is always there."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api import quantity, schema
from testbed.api.decoding import DecodeError, decode
from testbed.api.documents import Document
from testbed.api.encoding import encode

UNMARSHAL = "json: cannot unmarshal"
MISTAKES: list[tuple[str, str, Document, str]] = [
    (
        "v1",
        "Service",
        {"spec": {"ports": [{"port": "http"}]}},
        f"{UNMARSHAL} string into Go struct field ServicePort.spec.ports.port of type int32",
    ),
    (
        "v1",
        "Service",
        {"spec": {"ports": [{"port": 80.5}]}},
        f"{UNMARSHAL} number 80.5 into Go struct field ServicePort.spec.ports.port of type int32",
    ),
    (
        "v1",
        "Service",
        {"spec": {"ports": {}}},
        f"{UNMARSHAL} object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
    ),
    (
        "v1",
        "Service",
        {"spec": {"type": 1}},
        f"{UNMARSHAL} number into Go struct field ServiceSpec.spec.type of type v1.ServiceType",
    ),
    (
        "v1",
        "Service",
        {"spec": {"selector": {"app": 1}}},
        f"{UNMARSHAL} number into Go struct field ServiceSpec.spec.selector of type string",
    ),
    (
        "v1",
        "Service",
        {"spec": []},
        f"{UNMARSHAL} array into Go struct field Service.spec of type v1.ServiceSpec",
    ),
    (
        "v1",
        "Service",
        {"spec": {"ports": [{"targetPort": True}]}},
        f"{UNMARSHAL} bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
    ),
    (
        "apps/v1",
        "Deployment",
        {"spec": {"replicas": "2"}},
        f"{UNMARSHAL} string into Go struct field DeploymentSpec.spec.replicas of type int32",
    ),
    (
        "v1",
        "Pod",
        {"spec": {"containers": [{"resources": {"limits": {"cpu": "much"}}}]}},
        quantity.FORMAT_ERROR,
    ),
    ("v1", "Secret", {"data": {"a": "%"}}, "illegal base64 data at input byte 0"),
]


@pytest.mark.parametrize(("version", "kind", "given", "expected"), MISTAKES)
def test_wrong_type_is_named_as_go_names_it(
    version: str, kind: str, given: Document, expected: str
) -> None:
    definition = schema.kind_struct(version, kind)
    assert definition is not None
    with pytest.raises(DecodeError) as refused:
        decode(given, definition)
    assert str(refused.value) == expected


def service() -> schema.StructType:
    found = schema.kind_struct("v1", "Service")
    assert found is not None
    return found


def test_unknown_fields_are_dropped_and_named_by_path() -> None:
    given = {"spec": {"ports": [{"port": 80, "prot": "x"}], "foo": {"a": 1}}, "bar": None}
    decoded, unknown = decode(given, service())
    assert decoded == {"spec": {"ports": [{"port": 80}]}}
    assert unknown == [
        'unknown field "spec.ports[0].prot"',
        'unknown field "spec.foo"',
        'unknown field "bar"',
    ]


def test_nulls_are_no_values() -> None:
    given: Document = {"metadata": None, "spec": {"ports": [None], "selector": {"a": None}}}
    assert decode(given, service())[0] == {"spec": {"ports": [{}], "selector": {"a": ""}}}


def test_zero_values_are_left_out_unless_they_say_something() -> None:
    given: Document = {
        "spec": {
            "publishNotReadyAddresses": False,
            "externalName": "",
            "externalIPs": [],
            "allocateLoadBalancerNodePorts": False,
            "ports": [{"port": 0, "nodePort": 0, "targetPort": 0}],
        }
    }
    assert encode(given, service()) == {
        "spec": {"allocateLoadBalancerNodePorts": False, "ports": [{"port": 0, "targetPort": 0}]},
        "status": {"loadBalancer": {}},
        "metadata": {},
    }


def test_a_slice_always_has_endpoints_and_ports() -> None:
    definition = schema.kind_struct("discovery.k8s.io/v1", "EndpointSlice")
    assert definition is not None
    stored = encode({"addressType": "IPv4", "endpoints": []}, definition)
    assert stored == {
        "addressType": "IPv4",
        "endpoints": None,
        "ports": None,
        "metadata": {},
    }


QUANTITIES = [
    ("1000m", "1"),
    ("0.5", "500m"),
    ("100m", "100m"),
    ("1024Ki", "1Mi"),
    ("1.5Gi", "1536Mi"),
    ("1500", "1500"),
    ("2000", "2k"),
    ("512", "512"),
    ("1e3", "1e3"),
    ("0", "0"),
    ("-1", "-1"),
    ("100", "100"),
    ("64Mi", "64Mi"),
    ("0.1n", "1n"),
    (".", "0"),
    ("Gi", "0"),
    ("1.500", "1.500"),
    ("+5", "+5"),
    ("12E", "12E"),
    ("9Ei", "9223372036854775807"),
    ("1G", "1G"),
]


@pytest.mark.parametrize(("given", "expected"), QUANTITIES)
def test_quantity_in_canonical_form(given: str, expected: str) -> None:
    assert quantity.canonical(given) == expected


@pytest.mark.parametrize("given", ["", "abc", "1x", "1.2.3", "--1", "1 "])
def test_bad_quantity_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="quantit"):
        quantity.canonical(given)


def test_schema_knows_how_lists_merge() -> None:
    ports = schema.field_type("v1", "Service", "spec", "ports")
    assert ports is not None
    assert (ports.strategy, ports.merge_key) == (("merge",), "port")
    assert (ports.list_type, ports.list_keys) == ("map", ("port", "protocol"))
    port = schema.field_type("v1", "Pod", "spec", "containers", "ports", "containerPort")
    assert port is not None
    assert port.go == "int32"
    assert schema.field_type("v1", "Service", "spec", "nothing") is None
    selector = schema.field_type("apps/v1", "Deployment", "spec", "selector")
    assert selector is not None
    assert selector.atomic


def test_every_table_row_about_go_types_names_a_field() -> None:
    from testbed.api import gotypes

    fields: dict[str, set[str]] = {}
    for name in schema.definitions():
        found = schema.struct(name)
        fields.setdefault(found.go, set()).update(found.fields)
    tables: list[Any] = [gotypes.POINTERS, gotypes.EMBEDDED, gotypes.NULLABLE, gotypes.ZEROES]
    tables.append(gotypes.OMITTED)
    tables += [gotypes.NAMED, gotypes.NAMED_MAPS]
    for table in tables:
        assert [row for row in table if row[1] not in fields.get(row[0], ())] == []
