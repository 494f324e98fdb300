"""The options that stand in a request's query, checked. Source: apimachinery meta/v1/validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.api import status
from testbed.api.status import FieldError
from testbed.control.apiserver.requests import flag, number
from testbed.control.envelope import DeleteOptions, WriteOptions
from testbed.control.patching import APPLY_PATCH

PROPAGATIONS = ("Background", "Foreground", "Orphan")
VALIDATIONS = ("Ignore", "Strict", "Warn")
MANAGER_LIMIT = 128


def write_options(
    query: Mapping[str, str], user_agent: str, verb: str, patch: str = ""
) -> WriteOptions:
    """The options of a create, update or patch; `verb` is Create, Update or Patch."""
    errors = _dry_run_errors(query)
    manager = query.get("fieldManager", "")
    if len(manager) > MANAGER_LIMIT:
        errors.append(FieldError.too_long("fieldManager", MANAGER_LIMIT))
    elif not manager.isprintable():
        errors.append(FieldError.invalid("fieldManager", manager, "should be printable"))
    elif patch == APPLY_PATCH and not manager:
        errors.append(FieldError.required("fieldManager", "is required for apply patch"))
    if patch != APPLY_PATCH and "force" in query:
        errors.append(FieldError.forbidden("force", "may not be specified for non-apply patch"))
    validation = query.get("fieldValidation") or "Warn"
    if validation not in VALIDATIONS:
        errors.append(FieldError.not_supported("fieldValidation", validation, VALIDATIONS))
    _raise(f"{verb}Options", errors)
    return WriteOptions(
        manager=manager or user_agent.split("/")[0][:MANAGER_LIMIT] or "unknown",
        dry_run="dryRun" in query,
        field_validation=validation,
        force=flag(query, "force"),
    )


def delete_options(query: Mapping[str, str], body: Any) -> DeleteOptions:
    """The options of a delete, from its query and its body (a DeleteOptions, or None)."""
    sent = body if isinstance(body, dict) else {}
    if sent.get("kind") not in (None, "DeleteOptions"):
        raise status.bad_request(f"unexpected object of kind {sent['kind']}")
    merged: dict[str, Any] = {**query, **sent}
    errors = _dry_run_errors(query)
    propagation = merged.get("propagationPolicy") or ""
    if propagation and propagation not in PROPAGATIONS:
        errors.append(FieldError.not_supported("propagationPolicy", propagation, PROPAGATIONS))
    if merged.get("orphanDependents") in (True, "true"):
        propagation = "Orphan"
    grace = sent.get("gracePeriodSeconds")
    if grace is None:
        grace = number(query, "gracePeriodSeconds")
    if not isinstance(grace, int | None) or isinstance(grace, bool):
        raise status.bad_request("gracePeriodSeconds is not a number")
    preconditions = sent.get("preconditions")
    if not isinstance(preconditions, dict):
        preconditions = {}
    _raise("DeleteOptions", errors)
    return DeleteOptions(
        grace=grace,
        propagation=str(propagation),
        dry_run="dryRun" in query or bool(sent.get("dryRun")),
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
    )


def _dry_run_errors(query: Mapping[str, str]) -> list[FieldError]:
    value = query.get("dryRun", "All")
    return [] if value == "All" else [FieldError.not_supported("dryRun", value, ("All",))]


def _raise(kind: str, errors: list[FieldError]) -> None:
    if errors:
        raise status.invalid(kind, "meta.k8s.io", "", errors)
