"""Validation of annotations that mean something to Pods.

Source: pkg/apis/core/validation/validation.go (ValidatePodSpecificAnnotations,
ValidatePodSpecificAnnotationUpdates).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.profiles import APP_ARMOR, profile_annotations
from testbed.api.validation.scheduling import tolerations

MIRROR = "kubernetes.io/config.mirror"
TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

#: Go's strconv.ParseInt takes more: a plus and leading zeros.
_INTEGER = re.compile(r"0|-[0-9]{1,10}|[1-9][0-9]{0,9}")
_TYPES = {"key": str, "operator": str, "value": str, "effect": str, "tolerationSeconds": int}


def pod_annotations(annotations: Mapping[str, str], spec: Document, path: str) -> list[FieldError]:
    """Annotations of a Pod or a template with this spec."""
    errors: list[FieldError] = []
    if MIRROR in annotations and not spec.get("nodeName"):
        words = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(FieldError.invalid(f"{path}[{MIRROR}]", annotations[MIRROR], words))
    if annotations.get(TOLERATIONS):
        errors += _tolerations(annotations[TOLERATIONS], path)
    cost = annotations.get(DELETION_COST)
    if cost is not None and not _is_cost(cost):
        words = "must be a 32bit integer"
        errors.append(FieldError.invalid(f"{path}[{DELETION_COST}]", cost, words))
    return errors + profile_annotations(annotations, spec, path)


def changed_pod_annotations(
    annotations: Mapping[str, str], old: Mapping[str, str], spec: Document, path: str
) -> list[FieldError]:
    """Annotations of a Pod that stay as they were created."""
    errors: list[FieldError] = []
    for key in sorted(old):
        if annotations.get(key) != old[key]:
            errors += _fixed(key, path, "may not remove or update")
    for key in sorted(annotations):
        if key not in old:
            errors += _fixed(key, path, "may not add")
    return errors + pod_annotations(annotations, spec, path)


def _fixed(key: str, path: str, refused: str) -> list[FieldError]:
    if key.startswith(APP_ARMOR):
        return [FieldError.forbidden(f"{path}[{key}]", f"{refused} AppArmor annotations")]
    if key == MIRROR:
        return [FieldError.forbidden(f"{path}[{key}]", f"{refused} mirror pod annotation")]
    return []


def _is_cost(text: str) -> bool:
    """An integer of 32 bits, without a leading zero or plus."""
    return bool(_INTEGER.fullmatch(text)) and -(2**31) <= int(text) < 2**31


def _tolerations(text: str, path: str) -> list[FieldError]:
    """Tolerations as they were written before there was a field for them."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        return [FieldError.invalid(path, TOLERATIONS, str(error))]
    known = [_toleration(entry) for entry in entries] if isinstance(entries, list) else [None]
    good = [entry for entry in known if entry is not None]
    if len(good) < len(known):
        words = "json: cannot unmarshal into Go value of type []core.Toleration"
        return [FieldError.invalid(path, TOLERATIONS, words)]
    return tolerations(good, f"{path}.{TOLERATIONS}")


def _toleration(entry: object) -> Document | None:
    """The fields of a toleration, or None where one has another type."""
    if not isinstance(entry, dict):
        return None
    known = {name: entry[name] for name in _TYPES if entry.get(name) is not None}
    right = all(isinstance(value, _TYPES[name]) for name, value in known.items())
    return known if right else None
