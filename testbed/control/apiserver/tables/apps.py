"""Rows of the workload kinds. Source: pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from testbed.control.apiserver.tables.text import NONE, containers, labels, since, spec, state
from testbed.control.scale import selector_text


def _common(document: Document, now: float) -> tuple[str, str, str, str, str]:
    """Name, age, container names, images, selector."""
    names, images = containers(spec(document).get("template") or {})
    selector = selector_text(spec(document).get("selector") or {}) or NONE
    meta = document["metadata"]
    return meta.get("name", ""), since(meta.get("creationTimestamp"), now), names, images, selector


def _count(document: Document, field: str) -> int:
    return int(state(document).get(field) or 0)


def deployment_row(deployment: Document, now: float) -> list[Any]:
    name, age, names, images, selector = _common(deployment, now)
    return [
        name,
        f"{_count(deployment, 'readyReplicas')}/{spec(deployment).get('replicas', 0)}",
        _count(deployment, "updatedReplicas"),
        _count(deployment, "availableReplicas"),
        age,
        names,
        images,
        selector,
    ]


def replica_set_row(replicas: Document, now: float) -> list[Any]:
    name, age, names, images, selector = _common(replicas, now)
    return [
        name,
        spec(replicas).get("replicas", 0),
        _count(replicas, "replicas"),
        _count(replicas, "readyReplicas"),
        age,
        names,
        images,
        selector,
    ]


def stateful_set_row(stateful: Document, now: float) -> list[Any]:
    name, age, names, images, _ = _common(stateful, now)
    ready = f"{_count(stateful, 'readyReplicas')}/{spec(stateful).get('replicas', 0)}"
    return [name, ready, age, names, images]


def daemon_set_row(daemons: Document, now: float) -> list[Any]:
    name, age, names, images, selector = _common(daemons, now)
    template = (spec(daemons).get("template") or {}).get("spec") or {}
    return [
        name,
        _count(daemons, "desiredNumberScheduled"),
        _count(daemons, "currentNumberScheduled"),
        _count(daemons, "numberReady"),
        _count(daemons, "updatedNumberScheduled"),
        _count(daemons, "numberAvailable"),
        labels(template.get("nodeSelector")),
        age,
        names,
        images,
        selector,
    ]


def controller_revision_row(revision: Document, now: float) -> list[Any]:
    meta = revision["metadata"]
    controller = next((r for r in meta.get("ownerReferences") or () if r.get("controller")), None)
    owner = NONE
    if controller:
        group = str(controller.get("apiVersion") or "").rpartition("/")[0]
        kind = str(controller.get("kind") or "").lower()
        owner = f"{kind}.{group}" if group else kind
        owner += f"/{controller.get('name')}"
    age = since(meta.get("creationTimestamp"), now)
    return [meta.get("name", ""), owner, revision.get("revision", 0), age]
