"""Validation of a container's env and envFrom. Source: ValidateEnv, ValidateEnvFrom."""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.names import (
    config_key,
    dns_label,
    dns_subdomain,
    each,
    environment_name,
)
from testbed.api.validation.paths import no_backsteps
from testbed.api.validation.references import (
    VARIABLE_FIELDS,
    field_reference,
    resource_reference,
)
from testbed.api.validation.windows import containers_with_paths

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def environment(container: Document, path: str) -> list[FieldError]:
    """`env`, then `envFrom`."""
    errors: list[FieldError] = []
    for i, variable in enumerate(container.get("env", ())):
        errors += _variable(variable, f"{path}.env[{i}]")
    for i, source in enumerate(container.get("envFrom", ())):
        errors += _from_source(source, f"{path}.envFrom", i)
    return errors


def file_volumes(spec: Document, path: str) -> list[FieldError]:
    """Files with variables are in empty directories that the Pod has."""
    known = {volume.get("name", ""): volume for volume in spec.get("volumes", ())}
    errors: list[FieldError] = []
    for container, at in containers_with_paths(spec, path):
        for j, variable in enumerate(container.get("env", ())):
            source = variable.get("valueFrom", {})
            if "fileKeyRef" not in source:
                continue
            name = source["fileKeyRef"].get("volumeName", "")
            where = f"{at}.env[{j}].valueFrom.fileKeyRef.volumeName"
            if name not in known:
                errors.append(FieldError.not_found(where, name))
            elif "emptyDir" not in known[name]:
                words = "referenced volume must be of type emptyDir"
                errors.append(FieldError.invalid(where, name, words))
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
        errors += field_reference(source["fieldRef"], f"{path}.fieldRef", VARIABLE_FIELDS)
    if "resourceFieldRef" in source:
        where = f"{path}.resourceFieldRef"
        errors += resource_reference(source["resourceFieldRef"], where, volume=False)
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source:
            errors += _key_ref(source[name], f"{path}.{name}")
    if "fileKeyRef" in source:
        errors += _file_ref(source["fileKeyRef"], f"{path}.fileKeyRef")
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


def _key_ref(reference: Document, path: str) -> list[FieldError]:
    errors = each(f"{path}.name", reference.get("name", ""), dns_subdomain)
    if not reference.get("key"):
        return [*errors, FieldError.required(f"{path}.key")]
    return errors + each(f"{path}.key", reference["key"], config_key)


def _file_ref(reference: Document, path: str) -> list[FieldError]:
    """A key of a file with variables, in a volume of the Pod."""
    errors: list[FieldError] = []
    if not reference.get("key"):
        errors.append(FieldError.required(f"{path}.key"))
    else:
        errors += each(f"{path}.key", reference["key"], environment_name)
    if not reference.get("volumeName"):
        errors.append(FieldError.required(f"{path}.volumeName"))
    else:
        errors += each(f"{path}.volumeName", reference["volumeName"], dns_label)
    if not reference.get("path"):
        return [*errors, FieldError.required(f"{path}.path")]
    return errors + no_backsteps(reference["path"], f"{path}.path")


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
