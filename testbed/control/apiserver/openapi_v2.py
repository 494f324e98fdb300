"""/openapi/v2: all definitions in one document, as JSON and in the protobuf form of older kubectls.

kubectl up to 1.26 reads the protobuf form, and nothing else, for `apply`, `diff`, `edit`, `replace`
and `explain`: the definitions, and from the paths whether a PATCH takes dryRun. Sources: gnostic
openapiv2/OpenAPIv2.proto (the messages), kube-openapi pkg/handler and pkg/util/proto, cli-runtime
pkg/resource/query_param_verifier.go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from testbed.api import schema
from testbed.api.documents import Document
from testbed.api.resources import RESOURCES
from testbed.control.apiserver.discovery import GIT_VERSION

#: The protobuf form's media type; older clients ask for it with an @, which no media type may have.
PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_TYPES = (PROTOBUF_TYPE, PROTOBUF_TYPE.replace("v2.v1.0", "v2@v1.0"))
_GVK = "x-kubernetes-group-version-kind"
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")
#: What OpenAPI v2 says of types that v3 writes with oneOf.
_PLAIN = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "type": "string",
        "format": "int-or-string",
    },
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "string"},
}


@cache
def swagger() -> bytes:
    """The document as JSON."""
    return json.dumps(_document(), separators=(",", ":")).encode()


def _document() -> Document:
    text = json.dumps({**schema.definitions(), **_PLAIN})
    definitions = json.loads(text.replace("#/components/schemas/", "#/definitions/"))
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": dict(_paths()),
        "definitions": definitions,
    }


def _paths() -> Iterator[tuple[str, Document]]:
    """The PATCH of every resource that has one: what clients look up here."""
    for resource in RESOURCES:
        if "patch" not in resource.verbs:
            continue
        base = f"/apis/{resource.group}/v1" if resource.group else "/api/v1"
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        parameters = [
            {"name": name, "in": "query", "type": "string", "uniqueItems": True}
            for name in _PARAMETERS
        ]
        operation = {"parameters": parameters, "responses": {"200": {"description": "OK"}}}
        path = f"{base}{scope}/{resource.resource}/{{name}}"
        yield path, {"patch": {**operation, "x-kubernetes-action": "patch", _GVK: kind}}


@cache
def swagger_protobuf() -> bytes:
    """The document as gnostic's openapi.v2.Document."""
    document = json.loads(swagger())
    info = document["info"]
    return b"".join(
        (
            _text(1, document["swagger"]),
            _field(2, _text(1, info["title"]) + _text(2, info["version"])),
            _field(8, _named(2, document["paths"], _path_item)),
            _field(9, _named(1, document["definitions"], _schema)),
        )
    )


def _path_item(item: Document) -> bytes:
    patch = item["patch"]
    # Parameter, non_body_parameter, query_parameter_sub_schema: one inside the other
    parameters = b"".join(
        _field(8, _field(1, _field(2, _field(3, _query_parameter(each)))))
        for each in patch["parameters"]
    )
    responses = _named(1, patch["responses"], lambda each: _field(1, _text(1, each["description"])))
    return _field(8, parameters + _field(9, responses) + _extensions(13, patch))


def _query_parameter(parameter: Document) -> bytes:
    return (
        _text(2, parameter["in"])
        + _text(4, parameter["name"])
        + _text(6, parameter["type"])
        + _number(20, 1)
    )


def _schema(node: Document) -> bytes:
    parts = [
        _text(number, node[name])
        for number, name in ((1, "$ref"), (2, "format"), (4, "description"))
        if name in node
    ]
    parts += [_text(19, name) for name in node.get("required", ())]
    if "additionalProperties" in node:
        parts.append(_field(21, _field(1, _schema(node["additionalProperties"]))))
    if "type" in node:
        parts.append(_field(22, _text(1, node["type"])))
    if "items" in node:
        parts.append(_field(23, _field(1, _schema(node["items"]))))
    if "properties" in node:
        parts.append(_field(25, _named(1, node["properties"], _schema)))
    return b"".join(parts) + _extensions(31, node)


def _extensions(number: int, node: Document) -> bytes:
    """The `x-…` members, each as text in YAML (JSON is YAML)."""
    return b"".join(
        _field(number, _text(1, name) + _field(2, _text(2, json.dumps(value))))
        for name, value in node.items()
        if name.startswith("x-")
    )


def _named(number: int, values: Mapping[str, Any], write: Callable[[Any], bytes]) -> bytes:
    """A repeated message of name and value."""
    return b"".join(
        _field(number, _text(1, name) + _field(2, write(value))) for name, value in values.items()
    )


# protobuf's wire format


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
