"""What an OpenAPI schema says about a value of an object: how it merges, what its parts are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from testbed.api import schema

Schema = Mapping[str, Any]

#: Definitions of scalars that may be written in more than one way.
_SCALARS = frozenset(
    {
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
    }
)


class Shape:
    """The schema of one value. A value without a schema has `UNKNOWN`, which has no parts.

    `definitions` are the named schemas that `$ref` points to, by the last part of the reference.
    """

    __slots__ = ("_children", "_defaults", "_definitions", "_name", "_schema", "_site")

    def __init__(self, schema: Schema, definitions: Mapping[str, Schema]) -> None:
        self._site = schema  # the field's own extensions stand beside the reference
        self._definitions = definitions
        self._name = ""
        self._defaults: dict[str, Any] | None = None
        self._schema = self._resolve(schema)
        self._children: dict[str, Shape] = {}

    def field(self, name: str) -> Shape:
        """The shape of field `name` of an object, or of a value of a map."""
        child = self._children.get(name)
        if child is None:
            schema = (self._schema.get("properties") or {}).get(name)
            if schema is None:
                schema = self._schema.get("additionalProperties")
            child = Shape(schema, self._definitions) if isinstance(schema, Mapping) else UNKNOWN
            self._children[name] = child
        return child

    def item(self) -> Shape:
        """The shape of an item of a list."""
        child = self._children.get("[]")
        if child is None:
            schema = self._schema.get("items")
            child = Shape(schema, self._definitions) if isinstance(schema, Mapping) else UNKNOWN
            self._children["[]"] = child
        return child

    @property
    def has_fields(self) -> bool:
        """Whether it is an object with named fields, not a map under the user's keys."""
        return "properties" in self._schema

    def declares(self, name: str) -> bool:
        """Whether it is an object that has a field of this name."""
        return name in (self._schema.get("properties") or ())

    def allows(self, name: str) -> bool:
        """Whether an object may have a field of this name."""
        if not self.has_fields:
            return True
        return self.declares(name) or "additionalProperties" in self._schema

    @property
    def kind(self) -> str:
        """map, list, numeric, string, boolean, untyped for any scalar; "" for any value.

        Source: kube-openapi pkg/schemaconv.
        """
        if self._name in _SCALARS:
            return "untyped"
        kind, form = self._schema.get("type"), self._schema.get("format")
        if kind == "object":
            declared = self.has_fields or "additionalProperties" in self._schema
            return "map" if declared else ""
        if kind == "string":
            return "string" if form in (None, "byte") else "untyped"
        names = {"array": "list", "integer": "numeric", "number": "numeric", "boolean": "boolean"}
        return names.get(str(kind), "")

    @property
    def key_defaults(self) -> Mapping[str, Any]:
        """Values of fields by which items are told apart, where an item leaves them out.

        The zero of what Go always writes, and a port's protocol.
        """
        if self._defaults is None:
            self._defaults = {"protocol": "TCP"} if self.declares("protocol") else {}
            for name in self._schema.get("required") or ():
                zero = {"string": "", "numeric": 0}.get(self.field(name).kind)
                if zero is not None:
                    self._defaults.setdefault(name, zero)
        return self._defaults

    @property
    def patch_strategy(self) -> frozenset[str]:
        """`merge`, `replace`, `retainKeys` as a strategic merge patch has it."""
        text = str(self._extension("x-kubernetes-patch-strategy") or "")
        return frozenset(part for part in text.split(",") if part)

    @property
    def merge_key(self) -> str:
        """The field that tells items apart in a strategic merge patch; "" for a list of scalars."""
        return str(self._extension("x-kubernetes-patch-merge-key") or "")

    @property
    def list_type(self) -> str:
        """`atomic`, `set` or `map`: how server-side apply merges a list."""
        return str(self._extension("x-kubernetes-list-type") or "atomic")

    @property
    def list_keys(self) -> tuple[str, ...]:
        return tuple(self._extension("x-kubernetes-list-map-keys") or ())

    @property
    def atomic_map(self) -> bool:
        return bool(self._extension("x-kubernetes-map-type") == "atomic")

    def _extension(self, name: str) -> Any:
        value = self._site.get(name)
        return self._schema.get(name) if value is None else value

    def _resolve(self, schema: Schema) -> Schema:
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1:
            schema = parts[0]
        reference = schema.get("$ref")
        if isinstance(reference, str):
            self._name = reference.rpartition("/")[2]
            return self._definitions.get(self._name, {})
        return schema


UNKNOWN = Shape({}, {})


@cache
def shape_of(api_version: str, kind: str) -> Shape:
    """The shape of a kind's objects; UNKNOWN for a kind without a definition."""
    found = schema.definition(api_version, kind)
    return UNKNOWN if found is None else Shape(found, schema.definitions())
