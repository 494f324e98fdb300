"""IP families of a Service: filled in and checked against the cluster before allocation.

Source: pkg/registry/core/service/storage/alloc.go (initIPFamilyFields).
"""

from __future__ import annotations

from collections.abc import Collection

from testbed.api import status
from testbed.api.documents import Document
from testbed.api.objects import IPV4, IPV6
from testbed.api.service_fields import (
    NONE,
    WITH_ADDRESS,
    cluster_ips,
    external_name,
    families,
    spec_of,
    type_of,
)
from testbed.api.status import FieldError
from testbed.api.validation.addresses import is_ipv6
from testbed.api.validation.service_addresses import cluster_ip_fields

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_POLICY = "spec.ipFamilyPolicy"


def init_families(
    service: Document, old: Document | None, *, default: str, configured: Collection[str]
) -> None:
    """Set `ipFamilyPolicy` and `ipFamilies` of a Service that has addresses.

    `default` is the cluster's first family, `configured` all it has. Raises StatusError (422).
    """
    if external_name(service) or unchanged_dual_stack(service, old):
        return
    spec = spec_of(service)
    if "ipFamilyPolicy" not in spec:
        spec["ipFamilyPolicy"] = _default_policy(service, old)
    _refuse(service, cluster_ip_fields(service, old))
    errors = [] if old is None else _check_reduction(service, old)
    errors += _check_single(service)
    errors += _infer_families(service, configured)
    _refuse(service, errors)
    if _selectorless_headless(service):
        _complete(service, default, always=True)
        return
    _refuse(service, _check_configured(service, configured))
    _complete(service, default, always=len(configured) == 2)


def unchanged_dual_stack(service: Document, old: Document | None) -> bool:
    """A PreferDualStack Service whose addresses and families stay: left as it is.

    So that a cluster's change to or from dual stack doesn't change Services that don't ask for it.
    """
    if old is None or type_of(old) != type_of(service) or type_of(service) not in WITH_ADDRESS:
        return False
    if spec_of(service).get("ipFamilyPolicy") != PREFER:
        return False
    if spec_of(old).get("ipFamilyPolicy", PREFER) != PREFER:
        return False
    return cluster_ips(service) == cluster_ips(old) and families(service) == families(old)


def _default_policy(service: Document, old: Document | None) -> str:
    if old is not None and (stored := spec_of(old).get("ipFamilyPolicy")):
        return str(stored)
    return REQUIRE if _selectorless_headless(service) else SINGLE


def _selectorless_headless(service: Document) -> bool:
    spec = spec_of(service)
    return spec.get("clusterIP") == NONE and not spec.get("selector")


def _refuse(service: Document, errors: list[FieldError]) -> None:
    if errors:
        raise status.invalid("Service", "", service["metadata"].get("name", ""), errors)


def _check_reduction(service: Document, old: Document) -> list[FieldError]:
    """SingleStack drops what is second; another policy refuses that something was dropped."""
    spec, policy = spec_of(service), spec_of(service)["ipFamilyPolicy"]
    pairs = (("clusterIPs", cluster_ips, "cluster IP"), ("ipFamilies", families, "IP family"))
    errors = []
    for name, get, words in pairs:
        value, stored = get(service), get(old)
        if policy == SINGLE:
            if value == stored and len(value) > 1:
                spec[name] = value[:1]
        elif value and len(value) < len(stored):
            text = f"must be 'SingleStack' to release the secondary {words}"
            errors.append(FieldError.invalid(_POLICY, policy, text))
    return errors


def _check_single(service: Document) -> list[FieldError]:
    if spec_of(service)["ipFamilyPolicy"] != SINGLE:
        return []
    errors = []
    for values, words in (
        (cluster_ips(service), "cluster IPs"),
        (families(service), "IP families"),
    ):
        if len(values) == 2:
            text = (
                f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {words} "
                "are specified"
            )
            errors.append(FieldError.invalid(_POLICY, SINGLE, text))
    return errors


def _infer_families(service: Document, configured: Collection[str]) -> list[FieldError]:
    """Families that aren't given follow from the addresses that are."""
    found = list(families(service))
    errors = []
    for i, address in enumerate(cluster_ips(service)):
        if address == NONE:
            break
        family = IPV6 if is_ipv6(address) else IPV4
        if i < len(found):
            continue
        if family in configured:
            found.append(family)
        else:
            words = f"{family} is not configured on this cluster"
            errors.append(FieldError.invalid(f"spec.clusterIPs[{i}]", cluster_ips(service), words))
    if found:
        spec_of(service)["ipFamilies"] = found
    return errors


def _check_configured(service: Document, configured: Collection[str]) -> list[FieldError]:
    errors = []
    if spec_of(service)["ipFamilyPolicy"] == REQUIRE and len(configured) < 2:
        words = "this cluster is not configured for dual-stack services"
        errors.append(FieldError.invalid(_POLICY, REQUIRE, words))
    for i, family in enumerate(families(service)):
        if family not in configured:
            words = "not configured on this cluster"
            errors.append(FieldError.invalid(f"spec.ipFamilies[{i}]", family, words))
    return errors


def _complete(service: Document, default: str, *, always: bool) -> None:
    """Set the first family, and the second where the policy wants it and it can be had."""
    spec = spec_of(service)
    found = list(families(service)) or [default]
    if always and spec["ipFamilyPolicy"] != SINGLE and len(found) == 1:
        found.append(IPV4 if found[0] == IPV6 else IPV6)
    spec["ipFamilies"] = found
