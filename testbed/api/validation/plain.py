"""Validation of Namespace, Node, ConfigMap, Secret, ServiceAccount, Event and Lease.

Sources: pkg/apis/core/validation/{validation,events}.go, pkg/apis/coordination/validation.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import legacy_cidr
from testbed.api.validation.meta import not_negative
from testbed.api.validation.names import (
    config_key,
    dns_label,
    dns_subdomain,
    each,
    label_key,
)
from testbed.api.validation.scheduling import taints

#: Size of all data of a ConfigMap or Secret, in bytes.
MAX_DATA_SIZE = 1024 * 1024

_WHEN_IMMUTABLE = "field is immutable when `immutable` is set"
_MISMATCH = "does not match event.namespace"
_EVENT_LIMITS = (("reportingInstance", 128), ("action", 128), ("reason", 128))


# Namespace


def namespace(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=False, name=dns_label)
    for name in document.get("spec", {}).get("finalizers", ()):
        errors += _namespace_finalizer(name, "spec.finalizers")
    return errors


def namespace_update(document: Document, old: Document) -> list[FieldError]:
    return meta.object_meta_update(document["metadata"], old["metadata"])


def namespace_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    phase = document.get("status", {}).get("phase", "")
    deleted = bool(document["metadata"].get("deletionTimestamp"))
    wanted = "Terminating" if deleted else "Active"
    if phase != wanted:
        state = "is not empty" if deleted else "is empty"
        words = f"may only be '{wanted}' if `deletionTimestamp` {state}"
        errors.append(FieldError.invalid("status.Phase", phase, words))
    return errors


def _namespace_finalizer(name: str, path: str) -> list[FieldError]:
    errors = each(path, name, label_key)
    if "/" not in name and name not in meta.STANDARD_FINALIZERS:
        words = "name is neither a standard finalizer name nor is it fully qualified"
        errors.append(FieldError.invalid(path, name, words))
    return errors


# Node


def node(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=False, name=dns_subdomain)
    spec = document.get("spec", {})
    errors += taints(spec.get("taints", ()), "metadata.taints")
    return errors + _pod_cidrs(spec.get("podCIDRs", []))


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
    for i, cidr in enumerate(cidrs):
        if cidr in cidrs[:i]:
            errors.append(FieldError.duplicate(f"{path}[{i}]", cidr))
    return errors


def node_update(document: Document, old: Document) -> list[FieldError]:
    """Used for the object and for its status."""
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
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


# ConfigMap and Secret


def config_map(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    data, binary = document.get("data", {}), document.get("binaryData", {})
    for key in sorted(data):
        errors += each(f"data[{key}]", key, config_key)
        if key in binary:
            words = "duplicate of key present in binaryData"
            errors.append(FieldError.invalid(f"data[{key}]", key, words))
    for key in sorted(binary):
        errors += each(f"binaryData[{key}]", key, config_key)
    size = sum(len(text.encode()) for text in data.values()) + _decoded_size(binary)
    return errors + _size("", size)


def _decoded_size(values: Document) -> int:
    return sum(len(base64.b64decode(text)) for text in values.values())


def _size(path: str, size: int) -> list[FieldError]:
    return [FieldError.too_long(path, MAX_DATA_SIZE)] if size > MAX_DATA_SIZE else []


def config_map_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += _frozen(document, old, ("data", "binaryData"))
    return errors + config_map(document)


def _frozen(document: Document, old: Document, fields: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    changed = [] if document.get("immutable") else ["immutable"]
    changed += [name for name in fields if (document.get(name) or {}) != (old.get(name) or {})]
    return [FieldError.forbidden(name, _WHEN_IMMUTABLE) for name in changed]


#: Keys that a Secret of a type must have.
_SECRET_KEYS = {
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}


def secret(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    data, kind = document.get("data", {}), document.get("type", "")
    for key in sorted(data):
        errors += each(f"data[{key}]", key, config_key)
    errors += _size("data", _decoded_size(data))
    if kind == "kubernetes.io/service-account-token":
        name = "kubernetes.io/service-account.name"
        if not document["metadata"].get("annotations", {}).get(name):
            errors.append(FieldError.required(f"metadata.annotations[{name}]"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        errors += [FieldError.required(f"data[{key}]") for key in ("username", "password")]
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data or (kind.endswith("ssh-auth") and not data[key]):
            errors.append(FieldError.required(f"data[{key}]"))
        elif key.startswith(".docker"):
            errors += _json_object(data[key], f"data[{key}]")
    return errors


def _json_object(encoded: str, path: str) -> list[FieldError]:
    hidden = "<secret contents redacted>"
    try:
        value: Any = json.loads(base64.b64decode(encoded))
    except ValueError:
        words = "unexpected end of JSON input" if not encoded else "invalid character in JSON"
        return [FieldError.invalid(path, hidden, words)]
    if isinstance(value, dict) or value is None:
        return []
    words = "json: cannot unmarshal into Go value of type map[string]interface {}"
    return [FieldError.invalid(path, hidden, words)]


def secret_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    errors += meta.immutable(document.get("type", ""), old.get("type", ""), "type")
    errors += _frozen(document, old, ("data",))
    return errors + secret(document)


def service_account(document: Document) -> list[FieldError]:
    return meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)


def service_account_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    return errors + service_account(document)


# Event


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
    for name, limit in _EVENT_LIMITS:
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
    legacy = dict(document)
    legacy["involvedObject"] = document.get("regarding", {})
    errors = event(legacy)
    errors += meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    series = document.get("series")
    if series is not None:
        if series.get("count", 0) < 2:
            errors.append(FieldError.invalid("series.count", "", "should be at least 2"))
        if not series.get("lastObservedTime"):
            errors.append(FieldError.required("series.lastObservedTime"))
    if not document.get("eventTime"):
        errors.append(FieldError.required("eventTime"))
    kind = document.get("type", "")
    if kind not in ("Normal", "Warning"):
        errors.append(FieldError.invalid("type", "", f"has invalid value: {kind}"))
    unset = (
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
        ("source", "deprecatedSource"),
    )
    for path, name in unset:
        if document.get(name):
            errors.append(FieldError.invalid(path, "", "needs to be unset"))
    return errors


def new_event_update(document: Document, old: Document) -> list[FieldError]:
    legacy = dict(document)
    legacy["involvedObject"] = document.get("regarding", {})
    errors = event(legacy)
    errors += meta.object_meta_update(document["metadata"], old["metadata"])
    names = (
        ("involvedObject", "regarding"),
        ("reason", "reason"),
        ("message", "note"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    )
    for path, name in names:
        errors += meta.immutable(document.get(name), old.get(name), path)
    return errors


# Lease


def lease(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    return errors + _lease_spec(document.get("spec", {}))


def lease_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    return errors + _lease_spec(document.get("spec", {}))


def _lease_spec(spec: Document) -> list[FieldError]:
    errors: list[FieldError] = []
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        path = "spec.leaseDurationSeconds"
        errors.append(FieldError.invalid(path, seconds, "must be greater than 0"))
    errors += not_negative(spec.get("leaseTransitions", 0), "spec.leaseTransitions")
    strategy = spec.get("strategy")
    if strategy is not None and "/" in strategy:
        errors += each("spec.strategy.strategy", strategy, label_key)
    elif strategy is not None and strategy != "OldestEmulationVersion":
        supported = ("OldestEmulationVersion",)
        path = "spec.strategy.strategy"
        errors.append(FieldError.not_supported(path, strategy, supported))
    if spec.get("preferredHolder") and not strategy:
        words = "may only be specified if `strategy` is defined"
        errors.append(FieldError.forbidden("spec.preferredHolder", words))
    return errors
