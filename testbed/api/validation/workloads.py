"""Validation of Deployment, ReplicaSet, StatefulSet, DaemonSet, ControllerRevision, PodTemplate.

Source: pkg/apis/apps/validation/validation.go.
"""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.amounts import amount, at_most_all, int_or_percent
from testbed.api.validation.meta import (
    empty_selector,
    go_selector,
    label_selector,
    not_negative,
    selector_matches,
)
from testbed.api.validation.names import IMMUTABLE, dns_label, dns_subdomain
from testbed.api.validation.pod import pod_template

_MISMATCH = "`selector` does not match template `labels`"
_ALWAYS = ("Always",)


def deployment(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    return errors + _deployment_spec(document["spec"])


def deployment_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _deployment_spec(document["spec"])
    return errors + _selector_unchanged(document, old)


def deployment_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    names = (
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    )
    bounded = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return errors + _counts(document, old, names, bounded)


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


def _selector(spec: Document, empty: str) -> list[FieldError]:
    selector = spec.get("selector")
    if selector is None:
        return [FieldError.required("spec.selector")]
    errors = label_selector(selector, "spec.selector")
    if empty_selector(selector):
        errors.append(FieldError.invalid("spec.selector", go_selector(selector), empty))
    return errors


def _selected_template(spec: Document) -> list[FieldError]:
    """Selector and template of a Deployment or ReplicaSet.

    With a selector that can't be used, the template isn't looked at.
    """
    errors = _selector(spec, "empty selector is invalid for deployment")
    selector = spec.get("selector")
    if selector is not None and label_selector(selector, ""):
        value, words = go_selector(selector), "invalid label selector"
        return [*errors, FieldError.invalid("spec.selector", value, words)]
    return errors + _template(spec, "ReplicaSet")


def _selector_unchanged(document: Document, old: Document) -> list[FieldError]:
    """Of apps/v1, the selector can't be changed."""
    selector = document["spec"].get("selector")
    if selector == old["spec"].get("selector"):
        return []
    value = None if selector is None else go_selector(selector)
    return [FieldError.invalid("spec.selector", value, IMMUTABLE)]


def _mismatch(spec: Document) -> list[FieldError]:
    """The template's labels must be selected; no selector selects nothing."""
    selector = spec.get("selector")
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if selector is not None and selector_matches(selector, labels or {}):
        return []
    return [FieldError.invalid("spec.template.metadata.labels", labels, _MISMATCH)]


def _template(spec: Document, kind: str) -> list[FieldError]:
    template = spec.get("template", {})
    errors = _mismatch(spec)
    errors += pod_template(template, "spec.template")
    return errors + _always_restarted(template, f"activeDeadlineSeconds in {kind} is not Supported")


def _always_restarted(template: Document, words: str) -> list[FieldError]:
    pod = template.get("spec", {})
    path = "spec.template.spec"
    errors = []
    policy = pod.get("restartPolicy", "")
    if policy != "Always":
        errors.append(FieldError.not_supported(f"{path}.restartPolicy", policy, _ALWAYS))
    if "activeDeadlineSeconds" in pod:
        errors.append(FieldError.forbidden(f"{path}.activeDeadlineSeconds", words))
    return errors


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
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _replica_set_spec(document["spec"])
    return errors + _selector_unchanged(document, old)


def replica_set_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    counts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    names = ("replicas", *counts, "observedGeneration")
    return errors + _counts(document, old, names, counts)


def _replica_set_spec(spec: Document) -> list[FieldError]:
    errors = not_negative(spec.get("replicas", 0), "spec.replicas")
    errors += not_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    return errors + _selected_template(spec)


def _counts(
    document: Document, old: Document, names: tuple[str, ...], bounded: tuple[str, ...]
) -> list[FieldError]:
    status, stored = document.get("status", {}), old.get("status", {})
    errors: list[FieldError] = []
    for name in names:
        errors += not_negative(status.get(name, 0), f"status.{name}")
    total = status.get("replicas", 0)
    words = "cannot be greater than status.replicas"
    for name in bounded:
        if status.get(name, 0) > total:
            errors.append(FieldError.invalid(f"status.{name}", status[name], words))
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        value = status["availableReplicas"]
        ready = "status.readyReplicas" if document["kind"] == "StatefulSet" else "readyReplicas"
        text = f"cannot be greater than {ready}"
        errors.append(FieldError.invalid("status.availableReplicas", value, text))
    collisions = status.get("collisionCount", 0)
    if collisions < stored.get("collisionCount", 0):
        text = "cannot be decremented"
        errors.append(FieldError.invalid("status.collisionCount", collisions, text))
    return errors


def stateful_set(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_label)
    return errors + _stateful_set_spec(document["spec"])


def stateful_set_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _stateful_set_spec(document["spec"])
    if _fixed_part(document) != _fixed_part(old):
        words = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden"
        )
        errors.append(FieldError.forbidden("spec", words))
    return errors


def _fixed_part(document: Document) -> dict[str, Any]:
    names = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
    return {name: document["spec"].get(name) or None for name in names}


def stateful_set_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    bounded = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    names = ("replicas", *bounded, "observedGeneration")
    return errors + _counts(document, old, names, bounded)


def _stateful_set_spec(spec: Document) -> list[FieldError]:
    errors: list[FieldError] = []
    policies = ("OrderedReady", "Parallel")
    policy = spec.get("podManagementPolicy", "")
    if policy not in policies:
        words = "must be 'OrderedReady' or 'Parallel'"
        errors.append(FieldError.invalid("spec.podManagementPolicy", policy, words))
    errors += _stateful_strategy(spec.get("updateStrategy", {}), "spec.updateStrategy")
    retention = spec.get("persistentVolumeClaimRetentionPolicy", {})
    for name in ("whenDeleted", "whenScaled"):
        value = retention.get(name, "")
        if value not in ("Retain", "Delete"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            errors.append(FieldError.not_supported(path, value, ("Retain", "Delete")))
    errors += not_negative(spec.get("replicas", 0), "spec.replicas")
    errors += not_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    start = spec.get("ordinals", {}).get("start", 0)
    errors += not_negative(start, "spec.ordinals.start")
    if spec.get("serviceName"):
        errors += [
            FieldError.invalid("spec.serviceName", spec["serviceName"], message)
            for message in dns_subdomain(spec["serviceName"])
        ]
    errors += _selector(spec, "empty selector is invalid for statefulset")
    errors += _mismatch(spec)
    template = spec.get("template", {})
    metadata = template.get("metadata", {})
    # The Pod spec isn't checked: its mounts may name volumes that come from the claims.
    errors += meta.labels(metadata.get("labels", {}), "spec.template.labels")
    errors += meta.annotation_map(metadata.get("annotations", {}), "spec.template.annotations")
    return errors + _always_restarted(
        template, "activeDeadlineSeconds in StatefulSet is not Supported"
    )


def _stateful_strategy(strategy: Document, path: str) -> list[FieldError]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    where = f"{path}.rollingUpdate"
    if kind == "OnDelete":
        if rolling is None:
            return []
        value = GoStruct(
            Partition=rolling.get("partition", 0), MaxUnavailable=rolling.get("maxUnavailable")
        )
        words = "only allowed for updateStrategy 'RollingUpdate'"
        return [FieldError.invalid(where, value, words)]
    if kind != "RollingUpdate":
        words = "must be 'RollingUpdate' or 'OnDelete'"
        value = GoStruct(Type=kind, RollingUpdate=rolling)
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


def daemon_set(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    return errors + _daemon_set_spec(document["spec"])


def daemon_set_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _daemon_set_spec(document["spec"])
    return errors + _selector_unchanged(document, old)


def daemon_set_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    status = document.get("status", {})
    names = (
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    )
    for name in names:
        errors += not_negative(status.get(name, 0), f"status.{name}")
    return errors


def _daemon_set_spec(spec: Document) -> list[FieldError]:
    selector = spec.get("selector")
    errors = label_selector(selector or {}, "spec.selector")
    errors += _mismatch(spec)
    if selector is not None and empty_selector(selector):
        words = "empty selector is invalid for daemonset"
        errors.append(FieldError.invalid("spec.selector", go_selector(selector), words))
    template = spec.get("template", {})
    errors += pod_template(template, "spec.template")
    errors += _always_restarted(template, "activeDeadlineSeconds in DaemonSet is not Supported")
    errors += not_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    errors += _daemon_strategy(spec.get("updateStrategy", {}), "spec.updateStrategy")
    return errors + not_negative(spec.get("revisionHistoryLimit", 0), "spec.revisionHistoryLimit")


def _daemon_strategy(strategy: Document, path: str) -> list[FieldError]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate") or {}
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        value = GoStruct(Type=kind, RollingUpdate=strategy.get("rollingUpdate"))
        return [FieldError.not_supported(path, value, ("RollingUpdate", "OnDelete"))]
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    where = f"{path}.rollingUpdate"
    errors = int_or_percent(unavailable, f"{where}.maxUnavailable")
    errors += at_most_all(unavailable, f"{where}.maxUnavailable")
    errors += int_or_percent(surge, f"{where}.maxSurge")
    errors += at_most_all(surge, f"{where}.maxSurge")
    if amount(unavailable) and amount(surge):
        words = "may not be set when maxUnavailable is non-zero"
        errors.append(FieldError.invalid(f"{where}.maxSurge", surge, words))
    if not amount(unavailable) and not amount(surge):
        words = "cannot be 0 when maxSurge is 0"
        errors.append(FieldError.required(f"{where}.maxUnavailable", words))
    return errors


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
