"""Validation of Deployment, ReplicaSet, ControllerRevision and PodTemplate.

Source: pkg/apis/apps/validation/validation.go.
"""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.amounts import amount, at_most_all, int_or_percent
from testbed.api.validation.meta import go_selector, not_negative
from testbed.api.validation.names import dns_subdomain
from testbed.api.validation.pod_spec import pod_template
from testbed.api.validation.workload_parts import (
    always_restarted,
    bounded_counts,
    collisions,
    counts,
    mismatch,
    selector,
    selector_unchanged,
    usable_selector,
)


def deployment(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    return errors + _deployment_spec(document["spec"])


def deployment_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _deployment_spec(document["spec"])
    return errors + selector_unchanged(document, old)


def deployment_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    names = (
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    )
    errors += counts(document, names)
    errors += bounded_counts(document, ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return errors + collisions(document, old)


def _deployment_spec(spec: Document) -> list[FieldError]:
    errors = not_negative(spec.get("replicas", 0), "spec.replicas")
    errors += _selected_template(spec)
    errors += _deployment_strategy(spec.get("strategy", {}), "spec.strategy")
    ready = spec.get("minReadySeconds", 0)
    errors += not_negative(ready, "spec.minReadySeconds")
    errors += not_negative(spec.get("revisionHistoryLimit", 0), "spec.revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        path = "spec.progressDeadlineSeconds"
        errors += not_negative(deadline, path)
        if deadline <= ready:
            words = "must be greater than minReadySeconds"
            errors.append(FieldError.invalid(path, deadline, words))
    return errors


def _selected_template(spec: Document) -> list[FieldError]:
    """Selector and template of a Deployment or ReplicaSet.

    With a selector that can't be used, the template isn't looked at.
    """
    errors = selector(spec, "empty selector is invalid for deployment")
    if not usable_selector(spec):
        value, words = go_selector(spec["selector"]), "invalid label selector"
        return [*errors, FieldError.invalid("spec.selector", value, words)]
    template = spec.get("template", {})
    errors += mismatch(spec)
    errors += pod_template(template, "spec.template")
    return errors + always_restarted(template, "ReplicaSet")


def _deployment_strategy(strategy: Document, path: str) -> list[FieldError]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    where = f"{path}.rollingUpdate"
    if kind == "Recreate":
        if rolling is None:
            return []
        words = "may not be specified when strategy `type` is 'Recreate'"
        return [FieldError.forbidden(where, words)]
    if kind != "RollingUpdate":
        value = GoStruct(Type=kind, RollingUpdate=_go_rolling(rolling))
        return [FieldError.not_supported(path, value, ("Recreate", "RollingUpdate"))]
    unavailable = (rolling or {}).get("maxUnavailable", 0)
    surge = (rolling or {}).get("maxSurge", 0)
    errors = int_or_percent(unavailable, f"{where}.maxUnavailable")
    errors += int_or_percent(surge, f"{where}.maxSurge")
    if amount(unavailable) == 0 and amount(surge) == 0:
        words = "may not be 0 when `maxSurge` is 0"
        errors.append(FieldError.invalid(f"{where}.maxUnavailable", unavailable, words))
    return errors + at_most_all(unavailable, f"{where}.maxUnavailable")


def _go_rolling(rolling: Document | None) -> GoStruct | None:
    if rolling is None:
        return None
    return GoStruct(
        MaxUnavailable=rolling.get("maxUnavailable", 0), MaxSurge=rolling.get("maxSurge", 0)
    )


def replica_set(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    return errors + _replica_set_spec(document["spec"])


def replica_set_update(document: Document, old: Document) -> list[FieldError]:
    """A changed ReplicaSet is checked as a new one first, and then once more."""
    errors = replica_set(document)
    errors += meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _replica_set_spec(document["spec"])
    return errors + selector_unchanged(document, old)


def replica_set_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    bounded = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    names = ("replicas", *bounded, "terminatingReplicas", "observedGeneration")
    return errors + counts(document, names) + bounded_counts(document, bounded)


def _replica_set_spec(spec: Document) -> list[FieldError]:
    errors = not_negative(spec.get("replicas", 0), "spec.replicas")
    errors += not_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    return errors + _selected_template(spec)


def controller_revision(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    if document.get("data") is None:
        errors.append(FieldError.required("data", "data is mandatory"))
    return errors + not_negative(document.get("revision", 0), "revision")


def controller_revision_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += controller_revision(document)
    return errors + meta.immutable(document.get("data"), old.get("data"), "data")


def template_object(document: Document) -> list[FieldError]:
    """A PodTemplate."""
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    return errors + pod_template(document.get("template", {}), "template")


def template_object_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    return errors + pod_template(document.get("template", {}), "template")
