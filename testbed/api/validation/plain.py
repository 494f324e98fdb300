"""Validation of Namespace, ConfigMap, Secret, ServiceAccount and Lease.

Sources: pkg/apis/core/validation/validation.go, pkg/apis/coordination/validation.
"""

from __future__ import annotations

import base64

from testbed.api import jsontext
from testbed.api.decoding import json_type
from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.meta import not_negative
from testbed.api.validation.names import (
    config_key,
    dns_label,
    dns_subdomain,
    each,
    label_key,
)

#: Size of all data of a ConfigMap or Secret, in bytes.
MAX_DATA_SIZE = 1024 * 1024

_WHEN_IMMUTABLE = "field is immutable when `immutable` is set"


# Namespace


def namespace(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=False, name=dns_label)
    for name in document.get("spec", {}).get("finalizers", ()):
        errors += _namespace_finalizer(name, "spec.finalizers")
    return errors


def namespace_update(document: Document, old: Document) -> list[FieldError]:
    errors = namespace(document)
    return errors + meta.object_meta_update(document["metadata"], old["metadata"])


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
        value = jsontext.parse(base64.b64decode(encoded))
    except jsontext.JsonError as error:
        return [FieldError.invalid(path, hidden, str(error))]
    if isinstance(value, dict) or value is None:
        return []
    words = (
        f"json: cannot unmarshal {json_type(value)} into Go value of type map[string]interface {{}}"
    )
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


# Lease


def lease(document: Document) -> list[FieldError]:
    """A Lease's finalizers need no domain."""
    errors = meta.any_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    return errors + _lease_spec(document.get("spec", {}))


def lease_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.any_meta_update(document["metadata"], old["metadata"])
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
