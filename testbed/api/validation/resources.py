"""Validation of a container's resource requests and limits.

Source: pkg/apis/core/validation/validation.go (validateResourceRequirements).
"""

from __future__ import annotations

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.names import NOT_NEGATIVE, each, label_key

#: Resources of a container that need no domain.
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
#: Other resources that need no domain.
_STANDARD_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "storage",
)
_HUGE_PAGES = "hugepages-"


def resources(value: Document, path: str) -> list[FieldError]:
    """Names and amounts, and that no request is above its limit."""
    errors: list[FieldError] = []
    limits, requests = value.get("limits", {}), value.get("requests", {})
    for name, amount in sorted(limits.items()):
        errors += _entry(name, amount, f"{path}.limits[{name}]")
    for name, amount in sorted(requests.items()):
        errors += _entry(name, amount, f"{path}.requests[{name}]")
        errors += _against_limit(name, amount, limits, path)
    names = {*limits, *requests}
    if not names & {"cpu", "memory"} and any(name.startswith(_HUGE_PAGES) for name in names):
        errors.append(FieldError.forbidden(path, "HugePages require cpu or memory"))
    return errors


def _entry(name: str, amount: str, path: str) -> list[FieldError]:
    errors = _name(name, path)
    value = quantity.parse(amount)[0]
    if value < 0:
        errors.append(FieldError.invalid(path, amount, NOT_NEGATIVE))
    if _extended(name) and value != value.to_integral_value():
        errors.append(FieldError.invalid(path, amount, "must be an integer"))
    return errors


def _against_limit(name: str, amount: str, limits: Document, path: str) -> list[FieldError]:
    """What can't be overcommitted is requested as it is limited."""
    limit, overcommit = limits.get(name), _native(name) and not name.startswith(_HUGE_PAGES)
    if limit is None:
        words = "Limit must be set for non overcommitable resources"
        return [] if overcommit else [FieldError.required(f"{path}.limits", words)]
    asked, allowed = quantity.parse(amount)[0], quantity.parse(limit)[0]
    if asked != allowed and not overcommit:
        words = f"must be equal to {name} limit of {limit}"
    elif asked > allowed:
        words = f"must be less than or equal to {name} limit of {limit}"
    else:
        return []
    return [FieldError.invalid(f"{path}.requests", amount, words)]


def _native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _extended(name: str) -> bool:
    """A device or the like: with a domain that isn't Kubernetes' own."""
    if _native(name) or name.startswith("requests."):
        return False
    return not label_key(f"requests.{name}")


def _name(name: str, path: str) -> list[FieldError]:
    errors = each(path, name, label_key)
    if "/" in name:
        if not _native(name) and not _extended(name):
            words = "doesn't follow extended resource name standard"
            errors.append(FieldError.invalid(path, name, words))
        return errors
    if name in _RESOURCES or name.startswith(_HUGE_PAGES):
        return errors
    if not errors and name not in _STANDARD_RESOURCES:
        words = "must be a standard resource type or fully qualified"
        errors.append(FieldError.invalid(path, name, words))
    words = "must be a standard resource for containers"
    return [*errors, FieldError.invalid(path, name, words)]
