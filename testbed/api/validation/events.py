"""Validation of Events. Source: pkg/apis/core/validation/events.go."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.names import dns_subdomain, each, label_key

_MISMATCH = "does not match event.namespace"
#: Fields of events.k8s.io/v1 under the names of core/v1, which messages use.
_RENAMED = {"involvedObject": "regarding", "message": "note"}
_DEPRECATED = {
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "source": "deprecatedSource",
}
#: What a changed Event must keep, in the order of the checks.
_FIXED = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
)
_TIMES = ("firstTimestamp", "lastTimestamp", "eventTime")
_REFERENCE = (
    ("Kind", "kind"),
    ("Namespace", "namespace"),
    ("Name", "name"),
    ("UID", "uid"),
    ("APIVersion", "apiVersion"),
    ("ResourceVersion", "resourceVersion"),
    ("FieldPath", "fieldPath"),
)
_LIMITS = (("reportingInstance", 128), ("action", 128), ("reason", 128))


def event(document: Document) -> list[FieldError]:
    """An Event of core/v1: only the old rules."""
    own = document["metadata"].get("namespace", "")
    involved = document.get("involvedObject", {}).get("namespace", "")
    path = "involvedObject.namespace"
    errors: list[FieldError] = []
    if not document.get("eventTime"):
        allowed = (involved,) if involved else ("", "default")
        if own not in allowed:
            errors.append(FieldError.invalid(path, involved, _MISMATCH))
    else:
        if not involved and own not in ("default", "kube-system"):
            errors.append(FieldError.invalid(path, involved, _MISMATCH))
        errors += _new_event(document)
    return errors + each("namespace", own, dns_subdomain)


def _new_event(document: Document) -> list[FieldError]:
    controller = document.get("reportingComponent") or document.get("reportingController", "")
    errors: list[FieldError] = []
    if not controller:
        errors.append(FieldError.required("reportingController"))
    errors += each("reportingController", controller, label_key)
    for name, limit in _LIMITS:
        value = document.get(name, "")
        if not value:
            errors.append(FieldError.required(name))
        if len(value.encode()) > limit:
            words = f"can have at most {limit} characters"
            errors.append(FieldError.invalid(name, "", words))
    text = document.get("message") or document.get("note", "")
    if len(text.encode()) > 1024:
        words = "can have at most 1024 characters"
        errors.append(FieldError.invalid("message", "", words))
    return errors


def event_update(document: Document, old: Document) -> list[FieldError]:
    return event(document)


def new_event(document: Document) -> list[FieldError]:
    """An Event of events.k8s.io/v1: the strict rules as well."""
    errors = event(_legacy(document))
    errors += meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    errors += _series(document)
    if not document.get("eventTime"):
        errors.append(FieldError.required("eventTime"))
    kind = document.get("type", "")
    if kind not in ("Normal", "Warning"):
        errors.append(FieldError.invalid("type", "", f"has invalid value: {kind}"))
    for path in ("firstTimestamp", "lastTimestamp", "count", "source"):
        value = document.get(_DEPRECATED[path])
        if any(value.values()) if isinstance(value, dict) else value:
            errors.append(FieldError.invalid(path, "", "needs to be unset"))
    return errors


def _legacy(document: Document) -> Document:
    return document | {"involvedObject": document.get("regarding", {})}


def _series(document: Document) -> list[FieldError]:
    series = document.get("series")
    errors: list[FieldError] = []
    if series is None:
        return errors
    if series.get("count", 0) < 2:
        errors.append(FieldError.invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(FieldError.required("series.lastObservedTime"))
    return errors


def new_event_update(document: Document, old: Document) -> list[FieldError]:
    """A changed Event of events.k8s.io/v1: only its series may change."""
    errors = event(_legacy(document))
    errors += meta.object_meta_update(document["metadata"], old["metadata"])
    if document.get("series") != old.get("series"):
        errors += _series(document)
    for path in _FIXED:
        after, before = _internal(document, path), _internal(old, path)
        errors += meta.immutable(after, before, path)
    return errors


def _internal(document: Document, path: str) -> Any:
    """A field as the API server holds and prints it."""
    value = document.get(_DEPRECATED.get(path) or _RENAMED.get(path, path))
    if path in ("involvedObject", "related"):
        if value is None and path == "related":
            return None
        given = value or {}
        return GoStruct({go: given.get(name, "") for go, name in _REFERENCE})
    if path == "source":
        given = value or {}
        return GoStruct(Component=given.get("component", ""), Host=given.get("host", ""))
    if path == "count":
        return value or 0
    return value if path in _TIMES else value or ""
