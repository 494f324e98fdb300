"""What a request asks for: its path, its query, its body, the form of its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.api import bodies, jsontext, status, yamltext
from testbed.api.documents import Document
from testbed.api.resources import ResourceType, by_resource
from testbed.control.apiserver import protobuf
from testbed.control.patching import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH

#: Largest body in bytes. Source: apiserver MaxRequestBodyBytes.
BODY_LIMIT = 3 * 1024 * 1024
JSON_TYPE = "application/json"
YAML_TYPE = "application/yaml"
PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf"
BODY_TYPES = (JSON_TYPE, YAML_TYPE, PROTOBUF_TYPE)
#: What an answer can be instead of the object itself, and of which group and version.
SHAPES = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})
SHAPED_AS = (("meta.k8s.io", "v1"), ("meta.k8s.io", "v1beta1"))
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)

#: What stands before the words of a patch that isn't JSON. Source: apiserver patch.go.
_PATCH_PREFIX = {
    JSON_PATCH: "error decoding patch: ",
    MERGE_PATCH: "error decoding patch: ",
    STRATEGIC_PATCH: "",
}


@dataclass(frozen=True, slots=True)
class Target:
    """The resource that a path names; `rest` is what stands behind a subresource.

    `watch`: the path is one of the deprecated ones below /watch.
    """

    resource: ResourceType
    namespace: str | None
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watch: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is to look: `shape` is "", Table, PartialObjectMetadata or …List."""

    media: str = JSON_TYPE
    shape: str = ""


def parse_path(path: str) -> Target | None:
    """The target of a path below /api/v1 or /apis/<group>/v1; None if it names nothing we serve."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3 and parts[2] == "v1":
        group, rest = parts[1], parts[3:]
    else:
        return None
    watch = rest[:1] == ["watch"]
    rest = rest[1:] if watch else rest
    namespace = None
    if rest[:1] == ["namespaces"] and len(rest) >= 3:
        inner = by_resource(group, rest[2])
        if inner is not None and inner.namespaced:
            namespace, rest = rest[1], rest[2:]
    if not rest or not all(rest[:3]):
        return None
    resource = by_resource(group, rest[0])
    if resource is None:
        return None
    name, subresource = (*rest[1:3], "", "")[:2]
    if resource.namespaced and name and namespace is None:
        return None
    if subresource and (watch or subresource not in resource.subresources):
        return None
    return Target(
        resource,
        namespace if resource.namespaced else "",
        name,
        subresource,
        "/".join(rest[3:]),
        watch,
    )


def parse_accept(header: str) -> Form:
    """The form that an Accept header prefers among those we have; raises StatusError (406).

    Source: apiserver pkg/endpoints/handlers/negotiation.
    """
    for media, named in _clauses(header or JSON_TYPE):
        shape = named.get("as", "")
        if shape and (shape not in SHAPES or (named.get("g"), named.get("v")) not in SHAPED_AS):
            continue
        if media in (JSON_TYPE, PROTOBUF_TYPE, "*/*", "application/*"):
            return Form(JSON_TYPE, shape)
        if media == YAML_TYPE:
            return Form(YAML_TYPE, shape)
    raise status.not_acceptable(BODY_TYPES)


def _clauses(header: str) -> list[tuple[str, dict[str, str]]]:
    """The media types of an Accept header with their parameters, the preferred ones first."""
    found = []
    for clause in filter(None, (clause.strip() for clause in header.split(","))):
        media, *parameters = [part.strip() for part in clause.split(";")]
        named = dict(p.split("=", 1) for p in parameters if "=" in p)
        try:
            quality = float(named.get("q", "1"))
        except ValueError:
            quality = 1.0
        found.append((-quality, media.count("*"), media, named))
    found.sort(key=lambda each: each[:2])
    return [(media, named) for _, _, media, named in found]


def body_media(content_type: str) -> str:
    """The media type of a body; raises StatusError (415) for one that we don't read."""
    media = content_type.split(";")[0].strip().lower() or JSON_TYPE
    if media not in BODY_TYPES:
        raise status.unsupported_media_type(content_type, BODY_TYPES)
    return media


def parse_body(data: bytes, content_type: str, kind: str) -> Any:
    """The value in a body, whatever its type.

    Raises StatusError for a media type that we don't read, or a broken body.
    """
    media = body_media(content_type)
    if media == YAML_TYPE:
        return parse_yaml(data)
    if media == PROTOBUF_TYPE:
        return _parse_protobuf(data, kind)
    try:
        return jsontext.parse(data)
    except jsontext.JsonError as error:
        raise _unrecognized(kind, f"json parse error: {error}") from None


def read_object(
    data: bytes, media: str, resource: ResourceType, validation: str
) -> tuple[Document, list[str]]:
    """The typed object in a body, and the warnings for its writer; raises StatusError."""
    if media == YAML_TYPE:
        return bodies.read_yaml(data, resource, validation)
    if media == PROTOBUF_TYPE:
        return bodies.typed(_parse_protobuf(data, resource.kind), resource, validation, data)
    return bodies.read_json(data, resource, validation)


def parse_patch(data: bytes, content_type: str) -> tuple[str, Any]:
    """The patch's type and the patch; raises StatusError."""
    media = content_type.split(";")[0].strip().lower()
    if media not in PATCH_TYPES:
        raise status.unsupported_media_type(content_type, PATCH_TYPES)
    if media == APPLY_PATCH:
        return media, parse_yaml(data)
    try:
        return media, jsontext.parse(data)
    except jsontext.JsonError as error:
        raise status.bad_request(f"{_PATCH_PREFIX[media]}{error}") from None


def parse_yaml(data: bytes) -> Any:
    """One YAML document of JSON values; raises StatusError."""
    try:
        return yamltext.parse(data)[0]
    except yamltext.YamlError as error:
        raise status.bad_request(f"error decoding YAML: {error}") from None


def _parse_protobuf(data: bytes, kind: str) -> Any:
    try:
        return protobuf.decode(data)
    except protobuf.DecodeError as error:
        raise _unrecognized(kind, f"protobuf: {error}") from None


def _unrecognized(kind: str, detail: str) -> status.StatusError:
    return status.bad_request(
        f"the object provided is unrecognized (must be of type {kind}): "
        f"couldn't get version/kind; {detail}"
    )


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean of the query: absent, "0" and "false" are false."""
    return query.get(name, "0").lower() not in ("", "0", "false")


def number(query: Mapping[str, str], name: str) -> int | None:
    """A whole number of the query, or None; raises StatusError."""
    text = query.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise status.bad_request(f'strconv.ParseInt: parsing "{text[:80]}": invalid syntax')
    return int(text)
