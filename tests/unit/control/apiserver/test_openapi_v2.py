"""/openapi/v2: the document of older kubectls, in both of its forms."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from testbed.control.apiserver import openapi_v2
from tests.unit.control.apiserver.live import Live

Message = dict[int, list[bytes | int]]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def message(data: bytes | int) -> Message:
    """The fields of a message, by number."""
    assert isinstance(data, bytes)
    found: Message = defaultdict(list)
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag & 7 == 2:
            found[tag >> 3].append(data[at : at + value])
            at += value
        else:
            assert tag & 7 == 0
            found[tag >> 3].append(value)
    return found


def named(data: bytes | int, number: int) -> dict[str, Message]:
    pairs = [message(each) for each in message(data)[number]]
    return {text(pair[1]): message(pair[2][0]) for pair in pairs}


def text(values: list[bytes | int]) -> str:
    (value,) = values
    assert isinstance(value, bytes)
    return value.decode()


def test_every_definition_is_there_with_its_fields_and_extensions() -> None:
    plain = json.loads(openapi_v2.swagger())
    document = message(openapi_v2.swagger_protobuf())
    assert text(document[1]) == "2.0"
    definitions = named(document[9][0], 1)
    assert set(definitions) == set(plain["definitions"])
    spec = definitions["io.k8s.api.core.v1.ServiceSpec"]
    fields = named(spec[25][0], 1)
    assert set(fields) == set(plain["definitions"]["io.k8s.api.core.v1.ServiceSpec"]["properties"])
    ports = fields["ports"]
    assert text(message(ports[22][0])[1]) == "array"
    (item,) = message(ports[23][0])[1]
    assert text(message(item)[1]) == "#/definitions/io.k8s.api.core.v1.ServicePort"
    extensions = {
        text(message(each)[1]): json.loads(text(message(message(each)[2][0])[2]))
        for each in ports[31]
    }
    assert extensions["x-kubernetes-patch-merge-key"] == "port"
    selector = message(message(fields["selector"][21][0])[1][0])
    assert text(message(selector[22][0])[1]) == "string"


def test_a_patch_says_that_it_takes_a_dry_run() -> None:
    paths = named(message(openapi_v2.swagger_protobuf())[8][0], 2)
    patch = message(paths["/api/v1/namespaces/{namespace}/services/{name}"][8][0])
    names = []
    for each in patch[8]:
        query = message(message(message(message(each)[1][0])[2][0])[3][0])
        names.append(text(query[4]))
    assert "dryRun" in names
    kinds = [json.loads(text(message(message(each)[2][0])[2])) for each in patch[13]]
    assert {"group": "", "version": "v1", "kind": "Service"} in kinds


@pytest.mark.parametrize(
    "asked",
    [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    ],
)
def test_kubectl_gets_the_form_that_it_asks_for(live: Live, asked: str) -> None:
    reply = live.call("GET", "/openapi/v2", headers={"Accept": asked})
    assert reply.headers["Content-Type"] == openapi_v2.PROTOBUF_TYPE
    assert reply.body == openapi_v2.swagger_protobuf()
    plain = live.call("GET", "/openapi/v2", headers={"Accept": "application/json"})
    assert plain.document["definitions"]
    assert live.call("GET", "/openapi/v2", headers={"Accept": "text/html"}).code == 406
