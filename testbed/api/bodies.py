"""Bodies into typed documents: what the API server's codec does with the bytes of a request.

Sources: apimachinery pkg/runtime/serializer/json/json.go (Decode), apiserver
pkg/endpoints/handlers/create.go.
"""

from __future__ import annotations

from typing import Any

from testbed.api import jsontext, yamltext
from testbed.api.decoding import DecodeError, decode
from testbed.api.documents import Document
from testbed.api.identity import check_kind, unhandled, unrecognized
from testbed.api.resources import ResourceType
from testbed.api.schema import kind_struct


def read_json(data: bytes, resource: ResourceType, validation: str) -> tuple[Document, list[str]]:
    """The typed document in a JSON body, and its warnings. Raises StatusError (400).

    `validation` is the request's fieldValidation: Strict, Warn or Ignore.
    """
    try:
        value = jsontext.parse(data)
    except jsontext.JsonError as error:
        words = f"couldn't get version/kind; json parse error: {error}"
        raise unrecognized(resource, words, data) from None
    return typed(value, resource, validation, data)


def read_yaml(data: bytes, resource: ResourceType, validation: str) -> tuple[Document, list[str]]:
    """The typed document in a YAML body, and its warnings. Raises StatusError (400)."""
    try:
        value, repeated = yamltext.parse(data)
    except yamltext.YamlError as error:
        raise unrecognized(resource, str(error), data) from None
    strict = ("yaml: unmarshal errors:\n" + "\n".join(repeated),) if repeated else ()
    return typed(value, resource, validation, data, strict)


def typed(
    value: Any,
    resource: ResourceType,
    validation: str,
    body: bytes | None = None,
    strict: tuple[str, ...] = (),
) -> tuple[Document, list[str]]:
    """`value`, read from `body`, as a document of the resource's kind, and its warnings.

    `strict` are the strict errors that reading found. Raises StatusError (400); KeyError for a kind
    without a definition.
    """
    check_kind(value, resource, body)
    definition = kind_struct(resource.api_version, resource.kind)
    if definition is None:
        raise KeyError(resource.kind)
    try:
        document, found = decode(value or {}, definition)
    except DecodeError as error:
        raise unhandled(resource.kind, resource.version, resource, str(error)) from None
    errors = [*strict, *found]
    if errors and validation == "Strict":
        words = f"strict decoding error: {', '.join(errors)}"
        raise unhandled(resource.kind, resource.version, resource, words)
    document["apiVersion"], document["kind"] = resource.api_version, resource.kind
    document.setdefault("metadata", {})
    return document, errors if validation == "Warn" else []
