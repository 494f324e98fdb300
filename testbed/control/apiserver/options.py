"""The options that stand in a request's query, checked. Source: apimachinery meta/v1/validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multidict import MultiMapping

from testbed.api import identity, jsontext, schema, status, yamltext
from testbed.api.decoding import DecodeError, decode
from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.api.resources import RESOURCES
from testbed.api.status import FieldError
from testbed.control.apiserver import protobuf
from testbed.control.apiserver.requests import (
    JSON_TYPE,
    YAML_TYPE,
    body_media,
    flag,
    number,
)
from testbed.control.envelope import DeleteOptions, WriteOptions
from testbed.control.patching import APPLY_PATCH

PROPAGATIONS = ("Foreground", "Background", "Orphan")
VALIDATIONS = ("Ignore", "Strict", "Warn")
MANAGER_LIMIT = 128
#: Where the decoder of options looks kinds up, as its errors print it.
_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"


def write_options(
    query: Mapping[str, str], user_agent: str, verb: str, patch: str = ""
) -> WriteOptions:
    """The options of a create, update or patch; `verb` is Create, Update or Patch."""
    errors = dry_run_errors(_all(query, "dryRun") if "dryRun" in query else ())
    manager = query.get("fieldManager", "")
    if len(manager.encode()) > MANAGER_LIMIT:
        errors.append(FieldError.too_long("fieldManager", MANAGER_LIMIT))
    for index, char in enumerate(manager):
        if not char.isprintable():
            place = len(manager[:index].encode())
            words = f"invalid character U+{ord(char):04X} (at position {place})"
            errors.append(FieldError.invalid("fieldManager", manager, words))
    if patch == APPLY_PATCH and not manager:
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


def delete_options(query: Mapping[str, str], data: bytes, content_type: str) -> DeleteOptions:
    """The options of a delete: those of its body, or without one those of its query.

    Raises StatusError. Source: apiserver pkg/endpoints/handlers/delete.go.
    """
    return checked_delete(_delete_body(data, content_type) if data else _delete_query(query))


def checked_delete(sent: Document) -> DeleteOptions:
    """The options in a DeleteOptions document. Raises StatusError (422).

    Source: apimachinery pkg/apis/meta/v1/validation ValidateDeleteOptions.
    """
    errors: list[FieldError] = []
    propagation, orphan = sent.get("propagationPolicy"), sent.get("orphanDependents")
    if propagation is not None and orphan is not None:
        words = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(FieldError.invalid("propagationPolicy", propagation, words))
    if propagation is not None and propagation not in PROPAGATIONS:
        known = (*PROPAGATIONS, "nil")
        errors.append(FieldError.not_supported("propagationPolicy", propagation, known))
    dry_runs = list(sent.get("dryRun") or ())
    errors += dry_run_errors(dry_runs)
    _raise("DeleteOptions", errors)
    preconditions = sent.get("preconditions") or {}
    if propagation is None and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    return DeleteOptions(
        grace=sent.get("gracePeriodSeconds"),
        propagation=propagation or "",
        dry_run=bool(dry_runs),
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        cascades=orphan is False,
    )


def _delete_body(data: bytes, content_type: str) -> Document:
    media = body_media(content_type)
    try:
        if media == JSON_TYPE:
            value = jsontext.parse(data)
        elif media == YAML_TYPE:
            value = yamltext.parse(data)[0]
        else:
            value = protobuf.decode(data)
        api_version, kind = identity.head(value)
    except jsontext.JsonError as error:
        raise status.bad_request(f"couldn't get version/kind; json parse error: {error}") from None
    except yamltext.YamlError as error:
        raise status.bad_request(f"error converting YAML to JSON: {error}") from None
    except ValueError as error:
        raise status.bad_request(str(error)) from None
    if kind not in ("", "DeleteOptions") or not _is_served(api_version):
        raise status.bad_request(
            f"no kind {quote(kind or 'DeleteOptions')} is registered for version "
            f'{quote(api_version or "v1")} in scheme "{_SCHEME}"'
        )
    definition = schema.kind_struct("v1", "DeleteOptions")
    assert definition is not None
    try:
        return decode(value or {}, definition)[0]
    except DecodeError as error:
        raise status.bad_request(str(error)) from None


def _is_served(api_version: str) -> bool:
    known = {resource.api_version for resource in RESOURCES}
    return api_version in known | {"", "meta.k8s.io/v1"}


def _delete_query(query: Mapping[str, str]) -> Document:
    sent: Document = {}
    if (grace := number(query, "gracePeriodSeconds")) is not None:
        sent["gracePeriodSeconds"] = grace
    if "propagationPolicy" in query:
        sent["propagationPolicy"] = query["propagationPolicy"]
    if "orphanDependents" in query:
        sent["orphanDependents"] = query["orphanDependents"].lower() not in ("0", "false")
    if "dryRun" in query:
        sent["dryRun"] = _all(query, "dryRun")
    return sent


def _all(query: Mapping[str, str], name: str) -> list[str]:
    return list(query.getall(name)) if isinstance(query, MultiMapping) else [query[name]]


def dry_run_errors(values: Sequence[str]) -> list[FieldError]:
    """Source: ValidateDryRun."""
    if all(value == "All" for value in values):
        return []
    return [FieldError.not_supported("dryRun", list(values), ("All",))]


def _raise(kind: str, errors: list[FieldError]) -> None:
    if errors:
        raise status.invalid(kind, "meta.k8s.io", "", errors)
