"""Validation of Nodes. Source: pkg/apis/core/validation (ValidateNode, ValidateNodeUpdate)."""

from __future__ import annotations

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import legacy_cidr
from testbed.api.validation.names import NOT_NEGATIVE, dns_subdomain, label_key
from testbed.api.validation.resources import COUNTED
from testbed.api.validation.scheduling import taints


def create(document: Document) -> list[FieldError]:
    """Everything wrong with a new Node; what is in its status counts."""
    errors = meta.object_meta(document["metadata"], namespaced=False, name=dns_subdomain)
    spec = document.get("spec", {})
    errors += taints(spec.get("taints", ()), "metadata.taints")
    errors += _amounts(document.get("status", {}))
    return errors + _pod_cidrs(spec.get("podCIDRs", []))


def _amounts(status: Document) -> list[FieldError]:
    errors = []
    for name in ("capacity", "allocatable"):
        for resource, amount in sorted(status.get(name, {}).items()):
            path, value = f"status.{name}.{resource}", quantity.parse(amount)[0]
            if value < 0:
                errors.append(FieldError.invalid(path, amount, NOT_NEGATIVE))
            if _is_counted(resource) and value != value.to_integral_value():
                errors.append(FieldError.invalid(path, amount, "must be an integer"))
    return errors


def _is_counted(resource: str) -> bool:
    """A number of objects or of devices; devices have a domain that isn't Kubernetes' own."""
    if "/" not in resource or "kubernetes.io/" in resource:
        return resource in COUNTED
    return not resource.startswith("requests.") and not label_key(f"requests.{resource}")


def _pod_cidrs(cidrs: list[str]) -> list[FieldError]:
    path = "spec.podCIDRs"
    errors: list[FieldError] = []
    for i, cidr in enumerate(cidrs):
        errors += legacy_cidr(f"{path}[{i}]", cidr)
    if len(cidrs) < 2:
        return errors
    if len(cidrs) > 2 or len({":" in cidr for cidr in cidrs}) != 2:
        words = "may specify no more than one CIDR for each IP family"
        errors.append(FieldError.invalid(path, cidrs, words))
    return errors


def update(document: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a changed Node; much is said twice."""
    return create(document) + update_status(document, old)


def update_status(document: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a change of a Node's status; the rest is looked at as well."""
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _amounts(document.get("status", {}))
    seen: list[Document] = []
    for i, address in enumerate(document.get("status", {}).get("addresses", ())):
        if address in seen:
            value = GoStruct(Type=address.get("type", ""), Address=address.get("address", ""))
            errors.append(FieldError.duplicate(f"status.addresses[{i}]", value))
        seen.append(address)
    spec, stored = document.get("spec", {}), old.get("spec", {})
    cidrs, before = spec.get("podCIDRs", []), stored.get("podCIDRs", [])
    words = 'node updates may not change podCIDR except from "" to valid'
    if before and len(before) != len(cidrs):
        errors.append(FieldError.forbidden("spec.podCIDRs", words))
    elif before:
        changed = [cidr for cidr, was in zip(cidrs, before, strict=True) if cidr != was]
        errors += [FieldError.forbidden("spec.podCIDRs", words) for _ in changed]
    provider = stored.get("providerID", "")
    if provider and provider != spec.get("providerID", ""):
        words = 'node updates may not change providerID except from "" to valid'
        errors.append(FieldError.forbidden("spec.providerID", words))
    errors += taints(spec.get("taints", ()), "metadata.taints")
    if spec.get("externalID", "") != stored.get("externalID", ""):
        errors.append(FieldError.forbidden("spec.externalID", "may not be updated"))
    return errors
