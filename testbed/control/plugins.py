"""Admission plugins of the API server that are on by default and fill something in.

Sources: plugin/pkg/admission/network/defaultingressclass, plugin/pkg/admission/nodetaint.
"""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document, name_of
from testbed.api.resources import ResourceType
from testbed.control.store import Store

DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def fill_in(store: Store, resource: ResourceType, document: Document) -> Document:
    """A new object as the plugins leave it; the one that was sent stays as it is."""
    if resource.resource == "ingresses":
        return _with_class(store, document)
    return _not_ready(document) if resource.resource == "nodes" else document


def _not_ready(node: Document) -> Document:
    """A new Node takes no Pods until it is known to be ready."""
    spec: Any = node.get("spec") or {}
    taints: Any = (spec.get("taints") or []) if isinstance(spec, dict) else None
    if not isinstance(taints, list):
        return node
    kinds = [(t.get("key"), t.get("effect")) for t in taints if isinstance(t, dict)]
    if (NOT_READY["key"], NOT_READY["effect"]) in kinds:
        return node
    return {**node, "spec": {**spec, "taints": [*taints, dict(NOT_READY)]}}


def _with_class(store: Store, ingress: Document) -> Document:
    """An Ingress that names no class gets the cluster's default one, the youngest of several."""
    spec: Any = ingress.get("spec") or {}
    annotations: Any = ingress["metadata"].get("annotations") or {}
    readable = isinstance(spec, dict) and isinstance(annotations, dict)
    if not readable or spec.get("ingressClassName") is not None or CLASS_ANNOTATION in annotations:
        return ingress
    defaults = [
        document
        for document in store.list("ingressclasses")
        if (document["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    if not defaults:
        return ingress
    youngest = max(document["metadata"]["creationTimestamp"] for document in defaults)
    name = min(
        name_of(document)
        for document in defaults
        if document["metadata"]["creationTimestamp"] == youngest
    )
    return {**ingress, "spec": {**spec, "ingressClassName": name}}
