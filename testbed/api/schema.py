"""The schema of the kinds we serve: field types, patch strategies, list keys.

`schema.json` (made by tools/build_schema.py from the definitions of Kubernetes 1.36) is read on
first use. Definitions go by their OpenAPI name, e.g. `io.k8s.api.core.v1.Service`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from testbed.api import gotypes
from testbed.api.documents import Document

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

#: Definitions that decode by rules of their own, and the kind of FieldType they make.
_SPECIAL = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "raw",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "raw",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "raw",
}


_SPECIAL_GO = {"intstr": "intstr.IntOrString", "quantity": "resource.Quantity"}


@dataclass(frozen=True, slots=True)
class FieldType:
    """What a field holds.

    `kind` is one of string, integer, number, boolean, bytes, intstr, quantity, time, microtime,
    raw, struct, list, map. `go` is the Go type as errors name it. `item` is the type of a list's
    items or a map's values, `struct` the definition's name of a struct. `strategy` has the parts of
    x-kubernetes-patch-strategy, `list_type` is atomic, set, map or "".
    """

    kind: str
    go: str
    struct: str = ""
    item: FieldType | None = None
    format: str = ""
    merge_key: str = ""
    strategy: tuple[str, ...] = ()
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    map_type: str = ""

    @property
    def atomic(self) -> bool:
        """True where server-side apply takes the value as one piece."""
        return "atomic" in (self.list_type, self.map_type) or (
            self.kind == "list" and not self.list_type
        )


@dataclass(frozen=True, slots=True)
class StructType:
    """A definition with fields. `go` is `group.Name`, the key of the tables in `gotypes`.

    `pointers`: scalars that keep a zero value; `embedded`: structs that are always there;
    `required`: fields without omitempty; `nullable` and `zeroes`: optional lists and scalars
    without omitempty; `inlined`: the name of an embedded struct by the fields that come from it.
    """

    name: str
    go: str
    fields: Mapping[str, FieldType]
    required: frozenset[str]
    pointers: frozenset[str]
    embedded: frozenset[str]
    nullable: frozenset[str]
    zeroes: frozenset[str]
    inlined: Mapping[str, str]

    def way(self, field: str) -> tuple[str, ...]:
        """The steps to a field as a decoding error names them."""
        embedded = self.inlined.get(field)
        return (embedded, field) if embedded else (field,)

    @property
    def go_name(self) -> str:
        """The Go struct's name without its package."""
        return self.go.rsplit(".", 1)[1]


@cache
def definitions() -> dict[str, Document]:
    """Every definition by name, as in `components.schemas` of /openapi/v3. Not to be changed."""
    text = files("testbed.api").joinpath("schema.json").read_text()
    loaded: dict[str, Document] = json.loads(text)
    return loaded


@cache
def _names() -> dict[tuple[str, str, str], str]:
    return {
        (entry["group"], entry["version"], entry["kind"]): name
        for name, body in definitions().items()
        for entry in body.get("x-kubernetes-group-version-kind", ())
    }


def definition_name(api_version: str, kind: str) -> str | None:
    """Name of the definition of a kind, or None."""
    group, _, version = api_version.rpartition("/")
    return _names().get((group, version, kind))


def definition(api_version: str, kind: str) -> Document | None:
    """OpenAPI definition of a kind, or None."""
    name = definition_name(api_version, kind)
    return definitions()[name] if name else None


@cache
def struct(name: str) -> StructType:
    """The fields of definition `name`; raises KeyError for an unknown name."""
    body = definitions()[name]
    go = _go_key(name)
    fields = {
        field: _field_type(go, field, node) for field, node in body.get("properties", {}).items()
    }
    return StructType(
        name=name,
        go=go,
        fields=fields,
        required=frozenset(body.get("required", ())) - _of(gotypes.OMITTED, go),
        pointers=_of(gotypes.POINTERS, go),
        embedded=_of(gotypes.EMBEDDED, go),
        nullable=_of(gotypes.NULLABLE, go),
        zeroes=_of(gotypes.ZEROES, go),
        inlined=_inlined(go, fields),
    )


def kind_struct(api_version: str, kind: str) -> StructType | None:
    """The fields of a kind, or None for a kind that isn't served."""
    name = definition_name(api_version, kind)
    return struct(name) if name else None


def field_type(api_version: str, kind: str, *path: str) -> FieldType | None:
    """The type of the field at `path` (field names; lists and maps are looked through), or None.

    `field_type("v1", "Service", "spec", "ports", "port")` is the type of a port's number.
    """
    current = kind_struct(api_version, kind)
    found: FieldType | None = None
    for step in path:
        if found is not None:
            current = _inner_struct(found)
        if current is None or step not in current.fields:
            return None
        found = current.fields[step]
    return found


def _inner_struct(found: FieldType) -> StructType | None:
    while found.item is not None:
        found = found.item
    return struct(found.struct) if found.struct else None


def _of(table: frozenset[tuple[str, str]], go: str) -> frozenset[str]:
    return frozenset(field for owner, field in table if owner == go)


def _inlined(go: str, fields: Mapping[str, FieldType]) -> dict[str, str]:
    embedded, own = gotypes.INLINED.get(go, ("", ""))
    return dict.fromkeys(fields.keys() - set(own.split()), embedded) if embedded else {}


def _go_key(name: str) -> str:
    """`core.ServicePort` for `io.k8s.api.core.v1.ServicePort`."""
    parts = name.split(".")
    return f"{parts[-3] if parts[-2].startswith('v') else parts[-2]}.{parts[-1]}"


def _reference(node: Document) -> str:
    target = node.get("$ref") or next((n["$ref"] for n in node.get("allOf", ()) if "$ref" in n), "")
    return str(target).rsplit("/", 1)[-1]


def _field_type(owner: str, field: str, node: Document) -> FieldType:
    named = gotypes.NAMED.get((owner, field), "")
    extras: dict[str, Any] = {
        "merge_key": node.get("x-kubernetes-patch-merge-key", ""),
        "strategy": tuple(filter(None, node.get("x-kubernetes-patch-strategy", "").split(","))),
        "list_type": node.get("x-kubernetes-list-type", ""),
        "list_keys": tuple(node.get("x-kubernetes-list-map-keys", ())),
        "map_type": node.get("x-kubernetes-map-type", ""),
    }
    if reference := _reference(node):
        return _reference_type(reference, extras)
    kind, form = node.get("type", "raw"), node.get("format", "")
    if kind == "array":
        item = _field_type(owner, field, node["items"])
        return FieldType("list", f"[]{item.go}", item=item, **extras)
    if kind == "object":
        if "additionalProperties" not in node:
            return FieldType("raw", "interface {}", **extras)
        item = _field_type(owner, "", node["additionalProperties"])
        go = gotypes.NAMED_MAPS.get((owner, field)) or f"map[string]{item.go}"
        if go.startswith("map["):
            item = replace(item, go=go.partition("]")[2])
        return FieldType("map", go, item=item, **extras)
    if kind == "string" and form == "byte":
        return FieldType("bytes", "[]uint8", **extras)
    if kind == "integer":
        return FieldType(kind, form or "int64", format=form or "int64", **extras)
    go = named or {"string": "string", "boolean": "bool", "number": "float64"}.get(kind, "string")
    return FieldType(kind, go, format=form, **extras)


def _reference_type(reference: str, extras: dict[str, Any]) -> FieldType:
    if special := _SPECIAL.get(reference):
        go = _SPECIAL_GO.get(special) or f"v1.{reference.rsplit('.', 1)[1]}"
        return FieldType(special, go, **extras)
    body = definitions()[reference]
    if not extras["map_type"]:
        extras["map_type"] = body.get("x-kubernetes-map-type", "")
    return FieldType("struct", f"v1.{reference.rsplit('.', 1)[1]}", struct=reference, **extras)
