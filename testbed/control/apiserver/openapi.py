"""/openapi/v3: one document per API group, with the schemas that its paths reach.

kubectl reads it for `explain`, for validation and to learn that a PATCH takes fieldValidation.
Source: kube-openapi pkg/handler3, kubectl pkg/validation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from testbed.api import schema
from testbed.api.documents import Document
from testbed.api.resources import RESOURCES, ResourceType
from testbed.control.apiserver.discovery import GIT_VERSION, groups

_REFERENCE = "#/components/schemas/"
_GVK = "x-kubernetes-group-version-kind"
_PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


@cache
def index() -> Document:
    """The answer of /openapi/v3: where each group's document is, its hash in the address."""
    paths = {}
    for path in ("api/v1", *(f"apis/{name}/v1" for name in groups())):
        found = document(path)
        if found is None:
            continue  # kinds that aren't run: nothing says what they would hold
        digest = hashlib.sha256(found).hexdigest()[:64].upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


@cache
def document(path: str) -> bytes | None:
    """The OpenAPI document of `api/v1` or `apis/<group>/v1`; None for a group we don't serve."""
    group = path.removeprefix("apis/").removesuffix("/v1") if path != "api/v1" else ""
    served = [resource for resource in RESOURCES if resource.group == group]
    if not served or path != ("api/v1" if not group else f"apis/{group}/v1"):
        return None
    paths = {name: item for resource in served for name, item in _paths(resource)}
    roots = [
        name
        for resource in served
        if (name := schema.definition_name(resource.api_version, resource.kind))
    ]
    text = {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": paths,
        "components": {"schemas": _reachable(roots)},
    }
    return json.dumps(text, separators=(",", ":")).encode()


def _paths(resource: ResourceType) -> Iterator[tuple[str, Document]]:
    base = f"/apis/{resource.group}/v1" if resource.group else "/api/v1"
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{base}{scope}/{resource.resource}"
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    name = schema.definition_name(resource.api_version, resource.kind)
    answer = {
        "200": {
            "description": "OK",
            "content": {"application/json": {"schema": {"$ref": f"{_REFERENCE}{name}"}}},
        }
    }

    def operation(action: str, **more: Any) -> Document:
        return {"x-kubernetes-action": action, _GVK: kind, "responses": answer, **more}

    validated = {"parameters": [_parameter("dryRun"), _parameter("fieldValidation")]}
    yield collection, {"post": operation("post", **validated)}
    if "patch" in resource.verbs:
        content = {kind_name: {"schema": {"type": "object"}} for kind_name in _PATCH_TYPES}
        yield (
            f"{collection}/{{name}}",
            {
                "get": operation("get"),
                "put": operation("put", **validated),
                "patch": operation("patch", requestBody={"content": content}, **validated),
                "delete": operation("delete"),
            },
        )


def _parameter(name: str) -> Document:
    return {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}


def _reachable(roots: list[str]) -> dict[str, Document]:
    """The definitions of `roots` and of everything they refer to, by name."""
    definitions = schema.definitions()
    found: dict[str, Document] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name not in definitions:
            continue
        found[name] = definitions[name]
        waiting += _references(definitions[name])
    return dict(sorted(found.items()))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield item.rpartition("/")[2]
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
