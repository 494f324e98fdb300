"""Random objects of every kind: admitted or refused with a Status, never anything else."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from testbed.api import schema
from testbed.api.admission import Admission
from testbed.api.documents import Document
from testbed.api.resources import RESOURCES, ResourceType
from testbed.api.schema import FieldType, StructType
from testbed.api.status import StatusError

STORED = [resource for resource in RESOURCES if "list" in resource.verbs]
TEXTS = ["", "a", "A_b", "10.0.0.1", "::1", "None", "25%", "a b", "x" * 70, "IPv4", "TCP"]
TEXTS += ["ClusterIP", "NodePort", "LoadBalancer", "Always", "RollingUpdate", "In", "é", "\x00"]
WRONG: list[Any] = [None, 1, "x", [], {}, True, 1.5, [None], {"a": None}]
VALUES: dict[str, list[Any]] = {
    "integer": [0, 1, -1, 80, 30001, 70000, 2**31 - 1],
    "boolean": [True, False],
    "intstr": [0, 80, -1, *TEXTS],
    "quantity": ["1", "100m", "-1", "1Gi"],
    "bytes": ["", "YQ=="],
    "time": ["2020-01-01T00:00:00Z"],
    "microtime": ["2020-01-01T00:00:00Z"],
    "raw": [{}, {"a": 1}],
}
#: Fields that are nearly always there, so that what is below them is reached.
LIKELY = {"spec", "metadata", "name", "containers", "ports", "template", "selector", "endpoints"}


class Maker:
    """Makes objects by the schema, now and then with a value of the wrong type."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def object(self, resource: ResourceType) -> Document:
        definition = schema.kind_struct(resource.api_version, resource.kind)
        assert definition is not None
        made = self._struct(definition, 0)
        for name in ("namespace", "resourceVersion"):
            if isinstance(made.get("metadata"), dict):
                made["metadata"].pop(name, None)
        return made | {"apiVersion": resource.api_version, "kind": resource.kind}

    def _struct(self, definition: StructType, depth: int) -> Document:
        chance = (0.5, 0.5, 0.3, 0.3, 0.3)[depth] if depth < 5 else 0.08
        return {
            name: self._value(field, depth + 1)
            for name, field in definition.fields.items()
            if self.random.random() < (0.95 if name in LIKELY and depth < 4 else chance)
        }

    def _value(self, field: FieldType, depth: int) -> Any:
        if self.random.random() < 0.001:
            return self.random.choice(WRONG)
        if field.struct:
            return self._struct(schema.struct(field.struct), depth)
        if field.item is not None:
            items = [self._value(field.item, depth) for _ in range(self.random.randrange(3))]
            if field.kind == "list":
                return items
            return {self.random.choice(TEXTS): item for item in items}
        return self.random.choice(VALUES.get(field.kind, TEXTS))


@pytest.mark.parametrize("resource", STORED, ids=lambda r: f"{r.group}/{r.resource}")
def test_any_object_is_admitted_or_refused_with_a_status(resource: ResourceType) -> None:
    maker = Maker(STORED.index(resource))
    admission = Admission(rng=maker.random)
    stored: Document | None = None
    namespace = "default" if resource.namespaced else ""
    for _ in range(60):
        try:
            stored = admission.create(
                resource.resource, maker.object(resource), namespace=namespace
            ).document
        except StatusError as refused:
            json.dumps(refused.document())
        if stored is None:
            continue
        changed = copy.deepcopy(stored) | maker.object(resource)
        changed["metadata"] = copy.deepcopy(stored["metadata"])
        for subresource in ("", "status"):
            try:
                stored = admission.update(
                    resource.resource, changed, stored, subresource=subresource
                ).document
            except StatusError as refused:
                json.dumps(refused.document())
        json.dumps(stored)
