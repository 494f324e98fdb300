"""Validation of StatefulSets. Source: pkg/apis/apps/validation/validation.go."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.amounts import amount, at_most_all, int_or_percent
from testbed.api.validation.claims import claim_spec
from testbed.api.validation.meta import go_selector, not_negative
from testbed.api.validation.names import dns_label, each
from testbed.api.validation.pod_spec import pod_template, template_metadata
from testbed.api.validation.workload_parts import (
    always_restarted,
    bounded_counts,
    collisions,
    counts,
    mismatch,
    selector,
    usable_selector,
)

_TEMPLATE = "spec.template"


def stateful_set(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_label)
    return errors + _spec(document["spec"])


def stateful_set_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _spec(document["spec"], old["spec"])
    if _fixed_part(document) != _fixed_part(old):
        words = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden"
        )
        errors.append(FieldError.forbidden("spec", words))
    return errors


def stateful_set_status(document: Document, old: Document) -> list[FieldError]:
    bounded = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    names = ("replicas", *bounded, "observedGeneration", "collisionCount")
    errors = counts(document, names) + bounded_counts(document, bounded)
    errors += meta.object_meta_update(document["metadata"], old["metadata"])
    return errors + collisions(document, old)


def _fixed_part(document: Document) -> dict[str, Any]:
    names = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
    return {name: document["spec"].get(name) or None for name in names}


def _spec(spec: Document, old: Document | None = None) -> list[FieldError]:
    """A new spec, or a changed one; what can't change isn't checked again."""
    errors: list[FieldError] = []
    policy = spec.get("podManagementPolicy", "")
    if policy not in ("OrderedReady", "Parallel"):
        words = "must be 'OrderedReady' or 'Parallel'"
        errors.append(FieldError.invalid("spec.podManagementPolicy", policy, words))
    errors += _strategy(spec.get("updateStrategy", {}), "spec.updateStrategy")
    retention = spec.get("persistentVolumeClaimRetentionPolicy", {})
    for name in ("whenDeleted", "whenScaled"):
        value = retention.get(name, "")
        if value not in ("Retain", "Delete"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            errors.append(FieldError.not_supported(path, value, ("Retain", "Delete")))
    if old is None:
        for i, claim in enumerate(spec.get("volumeClaimTemplates", ())):
            errors += claim_spec(claim.get("spec", {}), f"spec.volumeClaimTemplates[{i}].spec")
    errors += not_negative(spec.get("replicas", 0), "spec.replicas")
    errors += not_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    errors += not_negative(spec.get("ordinals", {}).get("start", 0), "spec.ordinals.start")
    if old is None and spec.get("serviceName"):
        errors += each("spec.serviceName", spec["serviceName"], dns_label)
    errors += selector(spec, "empty selector is invalid for statefulset")
    errors += _template(spec, old)
    return errors + always_restarted(spec.get("template", {}), "StatefulSet")


def _template(spec: Document, old: Document | None) -> list[FieldError]:
    """The template, with the volumes of the claims; an unchanged one isn't checked again.

    The hostname and the subdomain are overwritten in every Pod, so they may be anything.
    """
    if not usable_selector(spec):
        return [FieldError.invalid("spec.selector", go_selector(spec["selector"]), "")]
    template = spec.get("template", {})
    if old is not None and template == old.get("template", {}):
        return mismatch(spec) + template_metadata(template, _TEMPLATE)
    pod = {k: v for k, v in template.get("spec", {}).items() if k not in ("hostname", "subdomain")}
    claimed = {
        name: {"name": name, "persistentVolumeClaim": {"claimName": name, "readOnly": False}}
        for claim in spec.get("volumeClaimTemplates", ())
        if (name := claim.get("metadata", {}).get("name", ""))
    }
    extra = list(claimed.values())
    return mismatch(spec) + pod_template({**template, "spec": pod}, _TEMPLATE, extra)


def _strategy(strategy: Document, path: str) -> list[FieldError]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    where = f"{path}.rollingUpdate"
    if kind == "OnDelete":
        if rolling is None:
            return []
        words = "only allowed for updateStrategy 'RollingUpdate'"
        return [FieldError.invalid(where, _go_rolling(rolling), words)]
    if kind != "RollingUpdate":
        words = "must be 'RollingUpdate' or 'OnDelete'"
        value = GoStruct(Type=kind, RollingUpdate=_go_rolling(rolling))
        return [FieldError.invalid(path, value, words)]
    errors = not_negative((rolling or {}).get("partition", 0), f"{where}.partition")
    unavailable = (rolling or {}).get("maxUnavailable")
    if unavailable is None:
        return errors
    errors += int_or_percent(unavailable, f"{where}.maxUnavailable")
    if amount(unavailable) == 0:
        words = "cannot be 0"
        errors.append(FieldError.invalid(f"{where}.maxUnavailable", unavailable, words))
    return errors + at_most_all(unavailable, f"{where}.maxUnavailable")


def _go_rolling(rolling: Document | None) -> GoStruct | None:
    if rolling is None:
        return None
    return GoStruct(
        Partition=rolling.get("partition", 0), MaxUnavailable=rolling.get("maxUnavailable")
    )
