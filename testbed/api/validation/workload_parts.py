"""What the checks of workloads share: selector and template, numbers of Pods.

Source: pkg/apis/apps/validation/validation.go.
"""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.meta import (
    empty_selector,
    go_selector,
    label_selector,
    not_negative,
    selector_matches,
)
from testbed.api.validation.names import IMMUTABLE

_MISMATCH = "`selector` does not match template `labels`"
_SELECTOR = "spec.selector"


def selector(spec: Document, empty: str) -> list[FieldError]:
    """`spec.selector` of a workload that needs one; `empty` says that it selects everything."""
    found = spec.get("selector")
    if found is None:
        return [FieldError.required(_SELECTOR)]
    errors = label_selector(found, _SELECTOR)
    if empty_selector(found):
        errors.append(FieldError.invalid(_SELECTOR, go_selector(found), empty))
    return errors


def usable_selector(spec: Document) -> bool:
    """False for a selector that can't be used; no selector can: it selects nothing."""
    return not label_selector(spec.get("selector") or {}, "")


def mismatch(spec: Document) -> list[FieldError]:
    """The template's labels must be selected."""
    found = spec.get("selector")
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if found is not None and selector_matches(found, labels or {}):
        return []
    return [FieldError.invalid("spec.template.metadata.labels", labels, _MISMATCH)]


def always_restarted(template: Document, kind: str) -> list[FieldError]:
    """Pods of a workload run until it ends them."""
    pod = template.get("spec", {})
    path = "spec.template.spec"
    errors = []
    policy = pod.get("restartPolicy", "")
    if policy != "Always":
        errors.append(FieldError.not_supported(f"{path}.restartPolicy", policy, ("Always",)))
    if "activeDeadlineSeconds" in pod:
        words = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(FieldError.forbidden(f"{path}.activeDeadlineSeconds", words))
    return errors


def selector_unchanged(document: Document, old: Document) -> list[FieldError]:
    """Of apps/v1, the selector can't be changed."""
    new, known = document["spec"].get("selector"), old["spec"].get("selector")
    value = None if new is None else go_selector(new)
    if value == (None if known is None else go_selector(known)):
        return []
    return [FieldError.invalid(_SELECTOR, value, IMMUTABLE)]


def counts(document: Document, names: tuple[str, ...]) -> list[FieldError]:
    """Numbers of a status; none is negative."""
    status = document.get("status", {})
    return [
        error for name in names for error in not_negative(status.get(name, 0), f"status.{name}")
    ]


def bounded_counts(document: Document, bounded: tuple[str, ...]) -> list[FieldError]:
    """Parts of a status's `replicas` are no more than all, available ones no more than ready."""
    status = document.get("status", {})
    total, words = status.get("replicas", 0), "cannot be greater than status.replicas"
    errors = [
        FieldError.invalid(f"status.{name}", status[name], words)
        for name in bounded
        if status.get(name, 0) > total
    ]
    available = status.get("availableReplicas", 0)
    if available > status.get("readyReplicas", 0):
        ready = "status.readyReplicas" if document["kind"] == "StatefulSet" else "readyReplicas"
        text = f"cannot be greater than {ready}"
        errors.append(FieldError.invalid("status.availableReplicas", available, text))
    return errors


def collisions(document: Document, old: Document) -> list[FieldError]:
    """Collisions of names are only ever counted up."""
    count = document.get("status", {}).get("collisionCount")
    known = old.get("status", {}).get("collisionCount")
    if known is None or (count is not None and count >= known):
        return []
    return [FieldError.invalid("status.collisionCount", count or 0, "cannot be decremented")]
