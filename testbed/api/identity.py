"""Whether a document is of the kind that its URL is for: the refusals of the API server's decoder.

Sources: apiserver pkg/endpoints/handlers/rest.go (transformDecodeError), apimachinery
pkg/runtime/{error,converter}.go.
"""

from __future__ import annotations

import json
from typing import Any

from testbed.api import schema, status
from testbed.api.documents import Document
from testbed.api.resources import ResourceType
from testbed.api.status import StatusError

#: Go packages of the API server's own types, where they aren't named as the first part of a group.
_PACKAGES = {"": "core", "events.k8s.io": "core"}
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
#: So much of a body is shown that isn't recognized.
_SHOWN = 30


def json_type(value: Any) -> str:
    """A JSON value's type as Go's decoder names it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "number"


def check_kind(document: Document, resource: ResourceType) -> None:
    """Refuse (400) a document of another kind or version; what isn't named is the resource's."""
    for name in ("apiVersion", "kind"):
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise _unreadable(document, resource, name, value)
    kind = document.get("kind") or resource.kind
    api_version = document.get("apiVersion") or resource.api_version
    if (kind, api_version) == (resource.kind, resource.api_version):
        return
    definition = schema.definition_name(api_version, kind)
    version = api_version.rpartition("/")[2]
    if definition is not None and kind == resource.kind:
        raise status.bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if definition is not None:
        package = _PACKAGES.get(resource.group, resource.group.partition(".")[0])
        words = f"converting ({version}.{kind}) to ({package}.{resource.kind}): unknown conversion"
    else:
        words = f'no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
    raise unhandled(kind, version, resource, words)


def unhandled(kind: str, version: str, resource: ResourceType, words: str) -> StatusError:
    """400: the decoder's `words` about a document that names itself `kind`."""
    return status.bad_request(
        f'{kind} in version "{version}" cannot be handled as a {resource.kind}: {words}'
    )


def wrong_metadata(value: Any, resource: ResourceType) -> StatusError:
    """400: `metadata` is no object."""
    words = (
        f"json: cannot unmarshal {json_type(value)} into Go struct field "
        f"{resource.kind}.metadata of type v1.ObjectMeta"
    )
    return unhandled(resource.kind, resource.version, resource, words)


def _unreadable(document: Document, resource: ResourceType, name: str, value: Any) -> StatusError:
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    shown = body if len(body) <= _SHOWN else f"{body[:_SHOWN]} ..."
    return status.bad_request(
        f"the object provided is unrecognized (must be of type {resource.kind}): "
        "couldn't get version/kind; json parse error: json: cannot unmarshal "
        f"{json_type(value)} into Go struct field .{name} of type string ({shown})"
    )
