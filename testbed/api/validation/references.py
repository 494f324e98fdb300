"""Fields and resources of a Pod that its variables and its volumes' files may show.

Source: pkg/apis/core/validation/validation.go (validateObjectFieldSelector,
validateContainerResourceFieldSelector), pkg/apis/core/pods/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.names import each, label_key

#: What a variable may show, and what a volume's file may.
VARIABLE_FIELDS = (
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
FILE_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
#: Every field that can be named at all.
_FIELDS = {
    *VARIABLE_FIELDS,
    *FILE_FIELDS,
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
}
#: An old name of a field.
_RENAMED = {"spec.host": "spec.nodeName"}
_SUBSCRIPTED = ("metadata.annotations", "metadata.labels")
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_SIZES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_HUGE_PAGES = re.compile(r"(requests|limits)\.hugepages-")
_SUBSCRIPT = re.compile(r"(.+?)\['(.*)'\]", re.DOTALL)


def field_reference(reference: Document, path: str, allowed: Collection[str]) -> list[FieldError]:
    """`fieldRef`; `allowed` has the fields that may be shown here."""
    version, field = reference.get("apiVersion", ""), reference.get("fieldPath", "")
    if not version:
        return [FieldError.required(f"{path}.apiVersion")]
    if not field:
        return [FieldError.required(f"{path}.fieldPath")]
    refused = "error converting fieldPath:"
    if version != "v1":
        words = f"{refused} unsupported pod version: {version}"
        return [FieldError.invalid(f"{path}.fieldPath", field, words)]
    if found := _SUBSCRIPT.fullmatch(field):
        owner, key = found.groups()
        if owner not in _SUBSCRIPTED:
            words = f"{refused} field label does not support subscript: {field}"
            return [FieldError.invalid(f"{path}.fieldPath", field, words)]
        return each(path, key.lower() if owner.endswith("annotations") else key, label_key)
    if field not in _FIELDS and field not in _RENAMED:
        words = f"{refused} field label not supported: {field}"
        return [FieldError.invalid(f"{path}.fieldPath", field, words)]
    field = _RENAMED.get(field, field)
    if field in allowed:
        return []
    return [FieldError.not_supported(f"{path}.fieldPath", field, sorted(allowed))]


def resource_reference(reference: Document, path: str, *, volume: bool) -> list[FieldError]:
    """`resourceFieldRef`; a volume's file also names the container."""
    resource = reference.get("resource", "")
    errors: list[FieldError] = []
    if volume and not reference.get("containerName"):
        errors.append(FieldError.required(f"{path}.containerName"))
    elif not resource:
        errors.append(FieldError.required(f"{path}.resource"))
    elif resource not in _RESOURCES and not _HUGE_PAGES.match(resource):
        errors.append(FieldError.not_supported(f"{path}.resource", resource, _RESOURCES))
    return errors + _divisor(resource, reference.get("divisor", "0"), f"{path}.divisor")


def _divisor(resource: str, divisor: str, path: str) -> list[FieldError]:
    kind = resource.partition(".")[2]
    if divisor == "0" or not (resource in _RESOURCES or _HUGE_PAGES.match(resource)):
        return []
    names = {"ephemeral-storage": "local ephemeral storage"}
    name = "hugepages" if kind.startswith("hugepages-") else names.get(kind, kind)
    supported = ("1m", "1") if kind == "cpu" else _SIZES
    if divisor in supported:
        return []
    shown = "1m and 1" if kind == "cpu" else ", ".join(_SIZES)
    words = f"only divisor's values {shown} are supported with the {name} resource"
    return [FieldError.invalid(path, resource, words)]
