"""Validation of resource requests and limits, of a container and of a Pod.

Source: pkg/apis/core/validation/validation.go (validateResourceRequirements, validatePodResources).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import TypeAlias

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.status import ErrorType, FieldError
from testbed.api.validation.names import NOT_NEGATIVE, dns_label, each, label_key

#: Resources of a container that need no domain.
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
#: Other resources that need no domain.
_STANDARD_RESOURCES = (
    "configmaps",
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
    "services.loadbalancers",
    "services.nodeports",
    "storage",
)
#: Resources that are counted in whole numbers.
COUNTED = (
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
)
_HUGE_PAGES = "hugepages-"
_POD_RESOURCES = ("cpu", _HUGE_PAGES, "memory")
_NONE = (Decimal(0), "decimal")

#: Amounts by resource: the value and the form in which it is written.
Amounts: TypeAlias = dict[str, tuple[Decimal, str]]


def resources(value: Document, path: str, claims: Collection[str]) -> list[FieldError]:
    """A container's: names and amounts, and that no request is above its limit.

    `claims` are the names of the Pod's resource claims.
    """
    return amounts(value, path) + _claims(value.get("claims", ()), f"{path}.claims", claims)


def pod_resources(spec: Document, path: str) -> list[FieldError]:
    """The Pod's own, which its containers share."""
    value: Document | None = spec.get("resources")
    if value is None:
        return []
    if spec.get("os", {}).get("name") == "windows":
        return [FieldError.forbidden(path, "may not be set for a windows pod")]
    errors: list[FieldError] = []
    if "claims" in value:
        words = "claims may not be set for Resources at pod-level"
        errors.append(FieldError.forbidden(f"{path}.claims", words))
    errors += amounts(value, path, is_pod=True)
    known = [entry["name"] for entry in spec.get("resourceClaims", ()) if entry.get("name")]
    errors += _claims(value.get("claims", ()), f"{path}.claims", known)
    limits: Document = value.get("limits", {})
    huge = {k: v for k, v in aggregate_limits(spec).items() if k.startswith(_HUGE_PAGES)}
    for kind, totals in (("requests", aggregate_requests(spec)), ("limits", huge)):
        errors += _covers(value.get(kind, {}), totals, kind, path)
    for i, container in enumerate(spec.get("containers", ())):
        for name, limit in sorted(container.get("resources", {}).get("limits", {}).items()):
            if name in limits and quantity.parse(limit)[0] > quantity.parse(limits[name])[0]:
                words = f"must be less than or equal to pod limits of {limits[name]}"
                where = f"{path}.containers[{i}][{name}].limits"
                errors.append(FieldError.invalid(where, limit, words))
    return errors


def _covers(own: Document, totals: Amounts, kind: str, path: str) -> list[FieldError]:
    """What a Pod has of a resource is enough for what its containers have together."""
    errors: list[FieldError] = []
    for name, total in sorted(totals.items()):
        if name in own and total[0] > quantity.parse(own[name])[0]:
            shown = quantity.written(*total)
            words = f"must be greater than or equal to aggregate container {kind} of {shown}"
            errors.append(FieldError.invalid(f"{path}.{kind}[{name}]", own[name], words))
    return errors


def aggregate_requests(spec: Document) -> Amounts:
    """What the containers ask for together: sidecars with all, other init containers one by one.

    Source: component-helpers resource/helpers.go (AggregateContainerRequests).
    """
    return _aggregate(spec, "requests")


def aggregate_limits(spec: Document) -> Amounts:
    """What the containers may have together (AggregateContainerLimits)."""
    return _aggregate(spec, "limits")


def _aggregate(spec: Document, kind: str) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers", ()):
        total = _sum(total, _of(container, kind))
    peak: Amounts = {}
    sidecars: Amounts = {}
    for container in spec.get("initContainers", ()):
        own = _of(container, kind)
        if container.get("restartPolicy") == "Always":
            total, sidecars = _sum(total, own), _sum(sidecars, own)
            own = sidecars
        else:
            own = _sum(own, sidecars)
        peak = _largest(peak, own)
    return _largest(total, peak)


def _of(container: Document, kind: str) -> Amounts:
    amounts_of = container.get("resources", {}).get(kind, {})
    return {name: quantity.parse(amount) for name, amount in amounts_of.items()}


def _sum(one: Amounts, other: Amounts) -> Amounts:
    """Amount by amount; a sum is written as its first part is."""
    out = dict(one)
    for name, (value, form) in other.items():
        known, known_form = one.get(name, (Decimal(0), form))
        out[name] = (known + value, known_form if known else form)
    return out


def _largest(one: Amounts, other: Amounts) -> Amounts:
    larger = {name: own for name, own in other.items() if own[0] > one.get(name, _NONE)[0]}
    return other | one | larger


def amounts(value: Document, path: str, *, is_pod: bool = False) -> list[FieldError]:
    """`limits` and `requests`, of a container or of a Pod."""
    errors: list[FieldError] = []
    check = _pod_name if is_pod else _name
    limits, requests = value.get("limits", {}), value.get("requests", {})
    for name, amount in sorted(limits.items()):
        where = f"{path}.limits[{name}]"
        errors += check(name, where) + _amount(name, amount, where)
        errors += _whole_pages(name, amount, where)
    for name, amount in sorted(requests.items()):
        where = f"{path}.requests[{name}]"
        errors += check(name, where) + _amount(name, amount, where)
        errors += _against_limit(name, amount, limits, path)
        errors += _whole_pages(name, amount, where)
    names = {*limits, *requests}
    if not names & {"cpu", "memory"} and any(name.startswith(_HUGE_PAGES) for name in names):
        errors.append(FieldError.forbidden(path, "HugePages require cpu or memory"))
    return errors


def _amount(name: str, amount: str, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    value = quantity.parse(amount)[0]
    if value < 0:
        errors.append(FieldError.invalid(path, amount, NOT_NEGATIVE))
    counted = name in COUNTED or _extended(name)
    if counted and value != value.to_integral_value():
        errors.append(FieldError.invalid(path, amount, "must be an integer"))
    return errors


def _whole_pages(name: str, amount: str, path: str) -> list[FieldError]:
    """Huge pages are asked for in whole pages, and at least one."""
    if not name.startswith(_HUGE_PAGES):
        return []
    try:
        size = quantity.parse(name.removeprefix(_HUGE_PAGES))[0]
    except ValueError:
        size = Decimal(0)
    if size > 0 and quantity.divides(size, quantity.parse(amount)[0]):
        return []
    words = f"{amount} is not positive integer multiple of {name}"
    return [FieldError.invalid(path, amount, words)]


def _claims(entries: Sequence[Document], path: str, known: Collection[str]) -> list[FieldError]:
    """References to the Pod's resource claims, each once."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        where, name, request = f"{path}[{i}]", entry.get("name", ""), entry.get("request", "")
        if not name:
            errors.append(FieldError.required(where))
            continue
        if name in seen:
            errors.append(FieldError.duplicate(where, name))
        else:
            key = f"{name}/{request}" if request else name
            if request:
                errors += each(f"{where}.request", request, dns_label)
            if key in seen:
                errors.append(FieldError.duplicate(where, key))
            elif not request:
                parts = [other for other in seen if other.startswith(f"{name}/")]
                errors += [FieldError.duplicate(where, name) for _ in parts]
            seen.add(key)
        if name not in known:
            listed = ": " + ", ".join(sorted(known)) if known else " which is empty"
            words = f"must be one of the names in pod.spec.resourceClaims{listed}"
            errors.append(FieldError(where, ErrorType.NOT_FOUND, name, words))
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


def _any_name(name: str, path: str) -> list[FieldError]:
    """A qualified name; without a domain, one of Kubernetes' own."""
    errors = each(path, name, label_key)
    known = (*_RESOURCES, *_STANDARD_RESOURCES)
    huge = name.startswith((_HUGE_PAGES, f"requests.{_HUGE_PAGES}"))
    if not errors and "/" not in name and name not in known and not huge:
        words = "must be a standard resource type or fully qualified"
        errors.append(FieldError.invalid(path, name, words))
    return errors


def _name(name: str, path: str) -> list[FieldError]:
    """The name of a container's resource."""
    errors = _any_name(name, path)
    if "/" not in name:
        if name not in _RESOURCES and not name.startswith(_HUGE_PAGES):
            words = "must be a standard resource for containers"
            errors.append(FieldError.invalid(path, name, words))
    elif not _native(name) and not _extended(name):
        words = "doesn't follow extended resource name standard"
        errors.append(FieldError.invalid(path, name, words))
    return errors


def _pod_name(name: str, path: str) -> list[FieldError]:
    """The name of a resource that a Pod can have as a whole."""
    errors = _any_name(name, path)
    if errors or name in _POD_RESOURCES or name.startswith(_HUGE_PAGES):
        return errors
    return [FieldError.not_supported(path, name, _POD_RESOURCES)]
