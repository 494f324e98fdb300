"""What a request asks for: its path, its query, its body, the form of its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from testbed.api import status
from testbed.api.documents import load_value
from testbed.api.resources import ResourceType, by_resource
from testbed.control.apiserver import protobuf
from testbed.control.registry import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH

#: Largest body in bytes. Source: apiserver MaxRequestBodyBytes.
BODY_LIMIT = 3 * 1024 * 1024
JSON_TYPE = "application/json"
YAML_TYPE = "application/yaml"
PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf"
BODY_TYPES = (JSON_TYPE, YAML_TYPE, PROTOBUF_TYPE)
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Target:
    """The resource that a path names; `rest` is what stands behind a subresource."""

    resource: ResourceType
    namespace: str | None
    name: str = ""
    subresource: str = ""
    rest: str = ""


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
    if subresource and subresource not in resource.subresources:
        return None
    return Target(
        resource,
        namespace if resource.namespaced else "",
        name,
        subresource,
        "/".join(rest[3:]),
    )


def parse_accept(header: str) -> Form:
    """The form that an Accept header prefers among those we have; raises StatusError (406)."""
    clauses = [clause.strip() for clause in header.split(",") if clause.strip()]
    for clause in clauses or [JSON_TYPE]:
        media, *parameters = [part.strip() for part in clause.split(";")]
        named = dict(p.split("=", 1) for p in parameters if "=" in p)
        shape = named.get("as", "")
        if shape and (named.get("g") not in (None, "meta.k8s.io") or named.get("v") == "v2"):
            continue
        if media in (JSON_TYPE, PROTOBUF_TYPE, "*/*", "application/*"):
            return Form(JSON_TYPE, shape)
        if media == YAML_TYPE:
            return Form(YAML_TYPE, shape)
    raise status.not_acceptable(BODY_TYPES)


def parse_body(
    data: bytes, content_type: str, kind: str, duplicates: list[str] | None = None
) -> Any:
    """The object in a body; raises StatusError for a type we don't read, or a broken body.

    Fields that stand twice in JSON are noted in `duplicates`.
    """
    media = content_type.split(";")[0].strip().lower()
    if media in ("", JSON_TYPE):
        return parse_json(data, kind, duplicates)
    if media == YAML_TYPE:
        return parse_yaml(data, kind)
    if media == PROTOBUF_TYPE:
        try:
            return protobuf.decode(data)
        except protobuf.DecodeError as error:
            raise _unrecognized(kind, f"protobuf: {error}") from None
    raise status.unsupported_media_type(content_type, BODY_TYPES)


def parse_patch(data: bytes, content_type: str, kind: str) -> tuple[str, Any]:
    """The patch's type and the patch."""
    media = content_type.split(";")[0].strip().lower()
    if media not in PATCH_TYPES:
        raise status.unsupported_media_type(content_type, PATCH_TYPES)
    return media, parse_yaml(data, kind) if media == APPLY_PATCH else parse_json(data, kind)


def parse_json(data: bytes, kind: str, duplicates: list[str] | None = None) -> Any:
    """JSON without the liberties that Python takes; lone surrogates become U+FFFD, as in Go.

    Fields that an object has twice are noted in `duplicates` as strict decoding words them.
    """
    doubled: list[_Doubled] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        names = [name for name, _ in pairs]
        doubled.append(_Doubled(found, sorted({n for n in names if names.count(n) > 1})))
        return doubled[-1].value

    hook = None if duplicates is None else note
    try:
        value = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=hook)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _unrecognized(kind, f"json parse error: {detail}") from None
    if doubled and duplicates is not None:
        duplicates += _duplicates(value, {id(d.value): d.names for d in doubled}, "")
    return _well_formed(value) if b"\\u" in data else value


@dataclass(frozen=True, slots=True)
class _Doubled:
    """An object and the names that it has more than once."""

    value: dict[str, Any]
    names: list[str]


def _duplicates(value: Any, doubled: Mapping[int, list[str]], path: str) -> list[str]:
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        found = [f'duplicate field "{prefix}{name}"' for name in doubled.get(id(value), ())]
        for name, item in value.items():
            found += _duplicates(item, doubled, prefix + name)
        return found
    if isinstance(value, list):
        return [
            text
            for index, item in enumerate(value)
            for text in _duplicates(item, doubled, f"{path}[{index}]")
        ]
    return []


def parse_yaml(data: bytes, kind: str) -> Any:
    """One YAML document of JSON values."""
    try:
        value = load_value(data.decode())
        json.dumps(value, allow_nan=False)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise status.bad_request(f"error decoding YAML: {detail}") from None
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"invalid character in {name}")


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    return value


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
