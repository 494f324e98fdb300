"""Validation of DaemonSets. Source: pkg/apis/apps/validation/validation.go."""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.amounts import amount, at_most_all, int_or_percent
from testbed.api.validation.meta import empty_selector, go_selector, label_selector, not_negative
from testbed.api.validation.names import dns_subdomain
from testbed.api.validation.pod_spec import pod_template
from testbed.api.validation.workload_parts import (
    always_restarted,
    collisions,
    counts,
    mismatch,
    selector_unchanged,
    usable_selector,
)


def daemon_set(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    return errors + _spec(document["spec"])


def daemon_set_update(document: Document, old: Document) -> list[FieldError]:
    """A changed DaemonSet is checked as a new one first, and then once more."""
    errors = daemon_set(document)
    errors += meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _spec(document["spec"])
    return errors + selector_unchanged(document, old)


def daemon_set_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    names = (
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    )
    return errors + counts(document, names) + collisions(document, old)


def _spec(spec: Document) -> list[FieldError]:
    selector = spec.get("selector")
    errors = label_selector(selector or {}, "spec.selector")
    if usable_selector(spec):
        errors += mismatch(spec)
    if selector is not None and empty_selector(selector):
        words = "empty selector is invalid for daemonset"
        errors.append(FieldError.invalid("spec.selector", go_selector(selector), words))
    template = spec.get("template", {})
    errors += pod_template(template, "spec.template")
    errors += always_restarted(template, "DaemonSet")
    errors += not_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    errors += _strategy(spec.get("updateStrategy", {}), "spec.updateStrategy")
    return errors + not_negative(spec.get("revisionHistoryLimit", 0), "spec.revisionHistoryLimit")


def _strategy(strategy: Document, path: str) -> list[FieldError]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        value = GoStruct(Type=kind, RollingUpdate=_go_rolling(rolling))
        return [FieldError.not_supported(path, value, ("RollingUpdate", "OnDelete"))]
    unavailable, surge = (
        (rolling or {}).get("maxUnavailable", 0),
        (rolling or {}).get("maxSurge", 0),
    )
    where = f"{path}.rollingUpdate"
    errors = int_or_percent(unavailable, f"{where}.maxUnavailable")
    errors += int_or_percent(surge, f"{where}.maxSurge")
    errors += at_most_all(unavailable, f"{where}.maxUnavailable")
    errors += at_most_all(surge, f"{where}.maxSurge")
    if amount(unavailable) and amount(surge):
        words = "may not be set when maxUnavailable is non-zero"
        errors.append(FieldError.invalid(f"{where}.maxSurge", surge, words))
    if not amount(unavailable) and not amount(surge):
        words = "cannot be 0 when maxSurge is 0"
        errors.append(FieldError.required(f"{where}.maxUnavailable", words))
    return errors


def _go_rolling(rolling: Document | None) -> GoStruct | None:
    if rolling is None:
        return None
    return GoStruct(
        MaxUnavailable=rolling.get("maxUnavailable", 0), MaxSurge=rolling.get("maxSurge", 0)
    )
