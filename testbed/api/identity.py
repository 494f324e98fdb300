"""Whether a document is of the kind that its URL is for: the refusals of the API server's decoder.

Sources: apiserver pkg/endpoints/handlers/rest.go (transformDecodeError), apimachinery
pkg/runtime/{error,converter}.go, pkg/runtime/serializer/json/{json,meta}.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from testbed.api import gojson, status
from testbed.api.decoding import DecodeError, decode, json_type
from testbed.api.jsontext import Repeated, text_of
from testbed.api.known_kinds import is_known
from testbed.api.resources import ResourceType
from testbed.api.schema import kind_struct
from testbed.api.status import StatusError

#: Go packages of the API server's own types, where they aren't named as the first part of a group.
_PACKAGES = {"": "core", "events.k8s.io": "core"}
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
#: So much of a body is shown that isn't recognized.
_SHOWN = 30
#: The struct that Go looks into for version and kind, as its errors print it.
_HEAD = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)
_NAMES = {"apiversion": "apiVersion", "kind": "kind"}


def check_kind(document: Any, resource: ResourceType, body: bytes | None = None) -> None:
    """Refuse (400) a document of another kind or version; what isn't named is the resource's.

    `body` is the text that the document was read from, which some refusals show.
    """
    try:
        api_version, kind = head(document)
        group, version = _group_version(api_version)
    except ValueError as error:
        if body is None:
            body = gojson.marshal(document).encode()
        raise unrecognized(resource, str(error), body) from None
    kind = kind or resource.kind
    if not version and group in ("", resource.group):
        group, version = resource.group, resource.version
    api_version = f"{group}/{version}" if group else version
    if (kind, api_version) == (resource.kind, resource.api_version):
        return
    if not version:
        shown = text_of(body) if body is not None else gojson.marshal(document)
        raise unhandled(kind, version, resource, f"Object 'apiVersion' is missing in '{shown}'")
    if not is_known(api_version, kind):
        words = (
            f"no kind {gojson.quote(kind)} is registered for version {gojson.quote(api_version)} "
            f'in scheme "{_SCHEME}"'
        )
        raise unhandled(kind, version, resource, words)
    definition = kind_struct(api_version, kind)
    if definition is not None:
        try:
            decode(document, definition)
        except DecodeError as error:
            raise unhandled(kind, version, resource, str(error)) from None
    if kind == resource.kind:
        raise status.bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    package = _PACKAGES.get(resource.group, resource.group.partition(".")[0])
    words = f"converting ({version}.{kind}) to ({package}.{resource.kind}): unknown conversion"
    raise unhandled(kind, version, resource, words)


def unhandled(kind: str, version: str, resource: ResourceType, words: str) -> StatusError:
    """400: the decoder's `words` about a document that names itself `kind`."""
    return status.bad_request(
        f"{kind} in version {gojson.quote(version)} cannot be handled as a {resource.kind}: {words}"
    )


def unrecognized(resource: ResourceType, words: str, body: bytes) -> StatusError:
    """400: the decoder's `words` about a body that doesn't say what it is."""
    shown = body[:_SHOWN]
    text = text_of(shown) if shown[:1] == b"{" else shown.hex()
    if not body:
        text = "<empty>"
    elif len(body) > _SHOWN:
        text += " ..."
    return status.bad_request(
        f"the object provided is unrecognized (must be of type {resource.kind}): {words} ({text})"
    )


def wrong_metadata(value: Any, resource: ResourceType) -> StatusError:
    """400: `metadata` is no object."""
    words = (
        f"json: cannot unmarshal {json_type(value)} into Go struct field "
        f"{resource.kind}.metadata of type v1.ObjectMeta"
    )
    return unhandled(resource.kind, resource.version, resource, words)


def head(document: Any) -> tuple[str, str]:
    """apiVersion and kind of a document, whose names may be written in any case.

    Raises ValueError with Go's words.
    """
    prefix = "couldn't get version/kind; json parse error: json: cannot unmarshal"
    if document is None:
        return "", ""
    if not isinstance(document, dict):
        raise ValueError(f"{prefix} {json_type(document)} into Go value of type {_HEAD}")
    pairs: Iterable[tuple[str, Any]] = document.items()
    if isinstance(document, Repeated):
        pairs = document.pairs
    found = {"apiVersion": "", "kind": ""}
    wrong = ""
    for key, value in pairs:
        # The Kelvin sign is a k to Go, too.
        name = _NAMES.get(key.replace("\u212a", "k").lower())
        if name is None or value is None:
            continue
        if isinstance(value, str):
            found[name] = value
        else:
            wrong = wrong or (
                f"{prefix} {json_type(value)} into Go struct field .{name} of type string"
            )
    if wrong:
        raise ValueError(wrong)
    return found["apiVersion"], found["kind"]


def _group_version(text: str) -> tuple[str, str]:
    if text in ("", "/"):
        return "", ""
    if text.count("/") > 1:
        raise ValueError(f"unexpected GroupVersion string: {text}")
    group, _, version = text.rpartition("/")
    return group, version
