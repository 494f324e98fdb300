"""Validation of a container's env and envFrom. Source: ValidateEnv, ValidateEnvFrom."""

from __future__ import annotations

import re

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.names import (
    config_key,
    dns_subdomain,
    each,
    environment_name,
    label_key,
)

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
#: Fields that a volume's files can have and that variables can't.
_OTHER_PATHS = (
    "metadata.annotations",
    "metadata.labels",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
)
_RESOURCE_PATHS = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_SIZES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_HUGE_PAGES = re.compile(r"(requests|limits)\.hugepages-")
_SUBSCRIPT = re.compile(r"(.+)\['(.*)'\]")


def environment(container: Document, path: str) -> list[FieldError]:
    """`env`, then `envFrom`."""
    errors: list[FieldError] = []
    for i, variable in enumerate(container.get("env", ())):
        errors += _variable(variable, f"{path}.env[{i}]")
    for i, source in enumerate(container.get("envFrom", ())):
        errors += _from_source(source, f"{path}.envFrom", i)
    return errors


def _variable(variable: Document, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not variable.get("name"):
        errors.append(FieldError.required(f"{where}.name"))
    else:
        errors += each(f"{where}.name", variable["name"], environment_name)
    source = variable.get("valueFrom")
    if source is None:
        return errors
    path = f"{where}.valueFrom"
    present = [name for name in _SOURCES if name in source]
    if "fieldRef" in source:
        errors += _field_ref(source["fieldRef"], f"{path}.fieldRef")
    if "resourceFieldRef" in source:
        errors += _resource_ref(source["resourceFieldRef"], f"{path}.resourceFieldRef")
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source:
            errors += _key_ref(source[name], f"{path}.{name}")
    if not present:
        options = (
            "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        )
        words = f"must specify one of: {options}"
        errors.append(FieldError.invalid(path, "", words))
    elif variable.get("value"):
        words = "may not be specified when `value` is not empty"
        errors.append(FieldError.invalid(path, "", words))
    elif len(present) > 1:
        words = "may not have more than one field specified at a time"
        errors.append(FieldError.invalid(path, "", words))
    return errors


def _field_ref(reference: Document, path: str) -> list[FieldError]:
    version, field = reference.get("apiVersion", ""), reference.get("fieldPath", "")
    if not version:
        return [FieldError.required(f"{path}.apiVersion")]
    if not field:
        return [FieldError.required(f"{path}.fieldPath")]
    if version != "v1":
        words = "error converting fieldPath: unsupported pod version: " + version
        return [FieldError.invalid(f"{path}.fieldPath", field, words)]
    if found := _SUBSCRIPT.fullmatch(field):
        owner, key = found.groups()
        if owner not in ("metadata.labels", "metadata.annotations"):
            words = f"error converting fieldPath: field label does not support subscript: {field}"
            return [FieldError.invalid(f"{path}.fieldPath", field, words)]
        return each(path, key.lower() if owner.endswith("annotations") else key, label_key)
    if field in _FIELD_PATHS:
        return []
    if field in _OTHER_PATHS:
        return [FieldError.not_supported(f"{path}.fieldPath", field, _FIELD_PATHS)]
    words = f"error converting fieldPath: field label not supported: {field}"
    return [FieldError.invalid(f"{path}.fieldPath", field, words)]


def _resource_ref(reference: Document, path: str) -> list[FieldError]:
    resource = reference.get("resource", "")
    if not resource:
        return [FieldError.required(f"{path}.resource")]
    errors = []
    if resource not in _RESOURCE_PATHS and not _HUGE_PAGES.match(resource):
        errors.append(FieldError.not_supported(f"{path}.resource", resource, _RESOURCE_PATHS))
    return errors + _divisor(resource, reference.get("divisor", "0"), f"{path}.divisor")


def _divisor(resource: str, divisor: str, path: str) -> list[FieldError]:
    kind = resource.partition(".")[2]
    if divisor == "0" or not (resource in _RESOURCE_PATHS or _HUGE_PAGES.match(resource)):
        return []
    names = {"ephemeral-storage": "local ephemeral storage"}
    name = "hugepages" if kind.startswith("hugepages-") else names.get(kind, kind)
    supported = ("1m", "1") if kind == "cpu" else _SIZES
    if divisor in supported:
        return []
    shown = "1m and 1" if kind == "cpu" else ", ".join(_SIZES)
    words = f"only divisor's values {shown} are supported with the {name} resource"
    return [FieldError.invalid(path, resource, words)]


def _key_ref(reference: Document, path: str) -> list[FieldError]:
    errors = each(f"{path}.name", reference.get("name", ""), dns_subdomain)
    if not reference.get("key"):
        return [*errors, FieldError.required(f"{path}.key")]
    return errors + each(f"{path}.key", reference["key"], config_key)


def _from_source(source: Document, path: str, i: int) -> list[FieldError]:
    where = f"{path}[{i}]"
    errors: list[FieldError] = []
    if source.get("prefix"):
        errors += each(f"{where}.prefix", source["prefix"], environment_name)
    present = [name for name in ("configMapRef", "secretRef") if name in source]
    for name in present:
        reference = source[name].get("name", "")
        if not reference:
            errors.append(FieldError.required(f"{where}.{name}.name"))
        else:
            errors += each(f"{where}.{name}.name", reference, dns_subdomain)
    if not present:
        words = "must specify one of: `configMapRef` or `secretRef`"
        errors.append(FieldError.invalid(path, "", words))
    if len(present) > 1:
        words = "may not have more than one field specified at a time"
        errors.append(FieldError.invalid(path, "", words))
    return errors
