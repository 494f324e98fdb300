"""The scale subresource: an object's replica count as an autoscaling/v1 Scale.

Sources: pkg/registry/apps/deployment/storage/storage.go (scaleUpdatedObjectInfo),
pkg/apis/autoscaling/validation/validation.go (ValidateScale).
"""

from __future__ import annotations

from typing import Any

from testbed.api import bodies, status
from testbed.api.documents import Document, copy_document, name_of
from testbed.api.resources import ResourceType
from testbed.api.validation import meta as meta_rules
from testbed.api.validation.names import dns_subdomain
from testbed.control.envelope import prepared

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
        "spec": {"replicas": replicas} if replicas else {},
        "status": state,
    }


def with_scale(resource: ResourceType, namespace: str, document: Document, sent: Any) -> Document:
    """`document`, of `resource`, with the replica count of the Scale `sent`; raises StatusError."""
    name = name_of(document)
    scale, _ = bodies.typed(prepared(RESOURCE, sent, namespace, name), RESOURCE, "Ignore")
    replicas: int = scale.get("spec", {}).get("replicas", 0)
    meta, own = scale["metadata"], document["metadata"]
    errors = meta_rules.object_meta(meta, namespaced=True, name=dns_subdomain)
    errors += meta_rules.not_negative(replicas, "spec.replicas")
    if errors:
        raise status.invalid(RESOURCE.kind, RESOURCE.group, name, errors)
    if meta.get("uid") and meta["uid"] != own["uid"]:
        words = (
            f"Precondition failed: UID in precondition: {meta['uid']}, "
            f"UID in object meta: {own['uid']}"
        )
        raise status.conflict(f"{resource.resource}/scale", name, resource.group, words)
    scaled: Document = copy_document(document)
    scaled["spec"]["replicas"] = replicas
    if meta.get("resourceVersion"):
        scaled["metadata"]["resourceVersion"] = meta["resourceVersion"]
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
