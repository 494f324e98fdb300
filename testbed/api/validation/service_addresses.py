"""Validation of a Service's clusterIPs, ipFamilies and ipFamilyPolicy, and of changes to them.

Source: pkg/apis/core/validation (ValidateServiceClusterIPsRelatedFields and what follows it).
"""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.objects import IPV4, IPV6
from testbed.api.service_fields import (
    NONE,
    cluster_ips,
    external_name,
    families,
    headless,
    spec_of,
)
from testbed.api.status import FieldError
from testbed.api.validation.addresses import is_ipv6, legacy_ip

_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_IPS, _FAMILIES, _POLICY = "spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy"
_FIXED = "may not change once set"


def cluster_ip_fields(service: Document, old: Document | None) -> list[FieldError]:
    """The three fields by themselves and against one another."""
    if external_name(service):
        return []
    addresses = cluster_ips(service)
    errors = _check_singular(service) + _check_families(service)
    policy = spec_of(service).get("ipFamilyPolicy")
    if policy is not None and policy not in _POLICIES:
        errors.append(FieldError.not_supported(_POLICY, policy, _POLICIES))
    bad = _check_addresses(addresses, cluster_ips(old) if old is not None else [])
    errors += bad
    if len(addresses) > 2:
        errors.append(FieldError.invalid(_IPS, addresses, "may only hold up to 2 values"))
    if bad:
        return errors
    if len(addresses) > 1 and not _dual_stack(addresses):
        words = "may specify no more than one IP for each IP family"
        errors.append(FieldError.invalid(_IPS, addresses, words))
    return errors + _check_match(service)


def _check_singular(service: Document) -> list[FieldError]:
    addresses, singular = cluster_ips(service), spec_of(service).get("clusterIP", "")
    if singular and not addresses:
        return [FieldError.required(_IPS)]
    if singular and addresses[0] != singular:
        return [FieldError.invalid(_IPS, addresses, "first value must match `clusterIP`")]
    if addresses and not singular:
        words = "must be empty when `clusterIP` is not specified"
        return [FieldError.invalid(_IPS, addresses, words)]
    return []


def _check_families(service: Document) -> list[FieldError]:
    errors = []
    seen: set[str] = set()
    for i, family in enumerate(families(service)):
        if family not in (IPV4, IPV6):
            errors.append(FieldError.not_supported(f"{_FAMILIES}[{i}]", family, (IPV4, IPV6)))
        if family in seen:
            errors.append(FieldError.duplicate(f"{_FAMILIES}[{i}]", family))
        seen.add(family)
    return errors


def _check_addresses(addresses: list[str], stored: list[str]) -> list[FieldError]:
    errors = []
    for i, address in enumerate(addresses):
        if i == 0 and address == NONE:
            if len(addresses) > 1:
                words = "'None' must be the first and only value"
                errors.append(FieldError.invalid(_IPS, addresses, words))
            continue
        errors += legacy_ip(f"{_IPS}[{i}]", address, stored)
    return errors


def _dual_stack(addresses: list[str]) -> bool:
    return len({is_ipv6(address) for address in addresses}) == 2


def _check_match(service: Document) -> list[FieldError]:
    """Every address is of the family that stands at its place."""
    if headless(service):
        return []
    errors = []
    for i, (address, family) in enumerate(
        zip(cluster_ips(service), families(service), strict=False)
    ):
        wrong = (family == IPV4 and is_ipv6(address)) or (family == IPV6 and not is_ipv6(address))
        if wrong:
            words = f"expected an {family} value as indicated by `ipFamilies[{i}]`"
            errors.append(FieldError.invalid(f"{_IPS}[{i}]", address, words))
    return errors


def address_changes(service: Document, old: Document) -> list[FieldError]:
    """Addresses and families stay, but for a second one that comes or goes."""
    if external_name(service) or external_name(old):
        return []
    return _changed_addresses(service, old) + _changed_families(service, old)


def _changed_addresses(service: Document, old: Document) -> list[FieldError]:
    if headless(service) and headless(old):
        return []
    addresses, stored = cluster_ips(service), cluster_ips(old)
    if len(addresses) == len(stored):
        return [
            FieldError.invalid(f"{_IPS}[{i}]", addresses, _FIXED)
            for i, address in enumerate(stored)
            if addresses[i] != address
        ]
    errors = []
    if not addresses:
        words = "primary clusterIP can not be unset"
        errors.append(FieldError.invalid(f"{_IPS}[0]", addresses or None, words))
    if addresses and stored and addresses[0] != stored[0]:
        errors.append(FieldError.invalid(f"{_IPS}[0]", addresses, _FIXED))
    if len(stored) > len(addresses) == 1:
        errors += _must_be_single(service, "clusterIP")
    return errors


def _changed_families(service: Document, old: Document) -> list[FieldError]:
    if headless(service) or headless(old):
        return []
    found, stored = families(service), families(old)
    path = f"{_FAMILIES}[0]"
    if len(found) == len(stored):
        changed = [family for i, family in enumerate(stored) if found[i] != family]
        return [FieldError.invalid(path, found, _FIXED) for _ in changed]
    errors = []
    if len(stored) > len(found) and not cluster_ips(service):
        words = "primary ipFamily can not be unset"
        errors.append(FieldError.invalid(path, found or None, words))
    if found and stored and found[0] != stored[0]:
        errors.append(FieldError.invalid(path, cluster_ips(service) or None, _FIXED))
    if len(stored) > len(found) == 1:
        errors += _must_be_single(service, "ipFamily")
    return errors


def _must_be_single(service: Document, what: str) -> list[FieldError]:
    policy = spec_of(service).get("ipFamilyPolicy")
    if policy == "SingleStack":
        return []
    words = f"must be set to 'SingleStack' when releasing the secondary {what}"
    return [FieldError.invalid(_POLICY, policy, words)]
