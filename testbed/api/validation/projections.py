"""Validation of volumes whose files come from the API: secrets, ConfigMaps, fields of the Pod.

Source: pkg/apis/core/validation/validation.go (validateSecretVolumeSource,
validateConfigMapVolumeSource, validateDownwardAPIVolumeSource, validateProjectedVolumeSource).
"""

from __future__ import annotations

from collections.abc import Iterable

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.paths import file_mode, unreserved_path
from testbed.api.validation.references import FILE_FIELDS, field_reference, resource_reference

MIN_TOKEN_SECONDS = 600
MAX_TOKEN_SECONDS = 2**32

_DUPLICATE = "conflicting duplicate paths"
_SOURCES = ("secret", "configMap", "downwardAPI", "serviceAccountToken")


def secret(source: Document, path: str) -> list[FieldError]:
    errors = [] if source.get("secretName") else [FieldError.required(f"{path}.secretName")]
    return errors + _files(source, path)


def config_map(source: Document, path: str) -> list[FieldError]:
    errors = [] if source.get("name") else [FieldError.required(f"{path}.name")]
    return errors + _files(source, path)


def downward_api(source: Document, path: str) -> list[FieldError]:
    errors = file_mode(source.get("defaultMode"), f"{path}.defaultMode")
    for item in source.get("items", ()):
        errors += _downward_file(item, path)
    return errors


def projected(source: Document, path: str) -> list[FieldError]:
    errors = file_mode(source.get("defaultMode"), f"{path}.defaultMode")
    taken: set[str] = set()
    for i, entry in enumerate(source.get("sources", ())):
        errors += _projection(entry, path, f"{path}.sources[{i}]", taken)
    return errors


def _files(source: Document, path: str) -> list[FieldError]:
    errors = file_mode(source.get("defaultMode"), f"{path}.defaultMode")
    for i, item in enumerate(source.get("items", ())):
        errors += _key_to_path(item, f"{path}.items[{i}]")
    return errors


def _key_to_path(item: Document, where: str) -> list[FieldError]:
    target = item.get("path", "")
    errors = [
        FieldError.required(f"{where}.{name}") for name in ("key", "path") if not item.get(name)
    ]
    errors += unreserved_path(target, f"{where}.path")
    return errors + file_mode(item.get("mode"), f"{where}.mode")


def _downward_file(item: Document, path: str) -> list[FieldError]:
    """One file; the path of its errors is the volume's, without an index."""
    target = item.get("path", "")
    errors = [] if target else [FieldError.required(f"{path}.path")]
    errors += unreserved_path(target, f"{path}.path")
    if "fieldRef" in item:
        errors += field_reference(item["fieldRef"], f"{path}.fieldRef", FILE_FIELDS)
        if "resourceFieldRef" in item:
            words = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(FieldError.invalid(path, "resource", words))
    elif "resourceFieldRef" in item:
        where = f"{path}.resourceFieldRef"
        errors += resource_reference(item["resourceFieldRef"], where, volume=True)
    else:
        words = "one of fieldRef and resourceFieldRef is required"
        errors.append(FieldError.required(path, words))
    return errors + file_mode(item.get("mode"), f"{path}.mode")


def _projection(entry: Document, path: str, where: str, taken: set[str]) -> list[FieldError]:
    """One source of a projected volume; `taken` grows by the paths of its files."""
    errors: list[FieldError] = []
    for name in ("secret", "configMap"):
        if name in entry:
            errors += _projected_files(entry[name], path, f"{where}.{name}", taken)
    if "downwardAPI" in entry:
        items = entry["downwardAPI"].get("items", ())
        for item in items:
            errors += _downward_file(item, f"{where}.downwardAPI")
            errors += _taken(item.get("path", ""), item.get("path", ""), path, taken)
    if "serviceAccountToken" in entry:
        errors += _token(entry["serviceAccountToken"], path, f"{where}.serviceAccountToken")
    if sum(name in entry for name in _SOURCES) > 1:
        words = "may not specify more than 1 volume type per source"
        errors.append(FieldError.forbidden(where, words))
    return errors


def _projected_files(
    source: Document, path: str, where: str, taken: set[str]
) -> Iterable[FieldError]:
    name = source.get("name", "")
    errors = [] if name else [FieldError.required(f"{where}.name")]
    for i, item in enumerate(source.get("items", ())):
        errors += _key_to_path(item, f"{where}.items[{i}]")
        errors += _taken(item.get("path", ""), name, path, taken)
    return errors


def _taken(target: str, shown: str, path: str, taken: set[str]) -> list[FieldError]:
    if target and target in taken:
        return [FieldError.invalid(path, shown, _DUPLICATE)]
    taken.add(target)
    return []


def _token(source: Document, path: str, where: str) -> list[FieldError]:
    """A ServiceAccount's token; the path of its file is named as the volume's."""
    seconds, target = source.get("expirationSeconds", 0), source.get("path", "")
    errors = []
    if seconds < MIN_TOKEN_SECONDS:
        words = "may not specify a duration less than 10 minutes"
        errors.append(FieldError.invalid(f"{where}.expirationSeconds", seconds, words))
    if seconds > MAX_TOKEN_SECONDS:
        words = "may not specify a duration larger than 2^32 seconds"
        errors.append(FieldError.invalid(f"{where}.expirationSeconds", seconds, words))
    if not target:
        return [*errors, FieldError.required(f"{path}.path")]
    return errors + unreserved_path(target, f"{path}.path")
