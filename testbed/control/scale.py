"""The scale subresource: an object's replica count as an autoscaling/v1 Scale."""

from __future__ import annotations

from typing import Any

from testbed.api import status
from testbed.api.documents import Document, copy_document, name_of
from testbed.api.resources import ResourceType

#: What a scale subresource holds.
RESOURCE = ResourceType("autoscaling", "v1", "scales", "Scale", namespaced=True)


def scale_of(document: Document) -> Document:
    """The Scale of a Deployment, ReplicaSet or StatefulSet."""
    meta = document["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = (document.get("spec") or {}).get("replicas", 1)
    state: Document = {"replicas": (document.get("status") or {}).get("replicas", 0)}
    if selector := selector_text((document.get("spec") or {}).get("selector") or {}):
        state["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: meta[field] for field in kept if field in meta},
        "spec": {"replicas": replicas},
        "status": state,
    }


def with_scale(document: Document, scale: Any) -> Document:
    """`document` with the replica count of `scale`; raises StatusError."""
    spec = scale.get("spec") if isinstance(scale, dict) else None
    replicas = (spec or {}).get("replicas", 0) if isinstance(spec, dict | None) else None
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise status.bad_request("Scale.spec.replicas is not a number")
    name = name_of(document)
    if replicas < 0:
        error = status.FieldError.invalid(
            "spec.replicas", replicas, "must be greater than or equal to 0"
        )
        raise status.invalid("Scale", "autoscaling", name, [error])
    scaled: Document = copy_document(document)
    scaled["spec"]["replicas"] = replicas
    sent = (scale.get("metadata") or {}).get("resourceVersion")
    if sent:
        scaled["metadata"]["resourceVersion"] = sent
    return scaled


def selector_text(selector: Document) -> str:
    """A LabelSelector as text: `app=web,tier in (a,b)`. Source: LabelSelectorAsSelector."""
    parts = [
        (name, f"{name}={value}") for name, value in (selector.get("matchLabels") or {}).items()
    ]
    for expression in selector.get("matchExpressions") or ():
        name, operator = expression.get("key", ""), expression.get("operator")
        values = ",".join(sorted(expression.get("values") or ()))
        text = {
            "In": f"{name} in ({values})",
            "NotIn": f"{name} notin ({values})",
            "Exists": name,
            "DoesNotExist": f"!{name}",
        }.get(str(operator), "")
        parts.append((name, text))
    return ",".join(text for _, text in sorted(parts))
