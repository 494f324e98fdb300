"""Validation of a Pod's volumes. Source: ValidateVolumes, validateVolumeSource."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.names import config_key, dns_label, each

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)


def volumes(entries: Sequence[Document], path: str) -> list[FieldError]:
    """Every volume has a name of its own and one source."""
    errors: list[FieldError] = []
    names: set[str] = set()
    for i, volume in enumerate(entries):
        where, name = f"{path}[{i}]", volume.get("name", "")
        wrong = _source(volume, where)
        if not name:
            wrong.append(FieldError.required(f"{where}.name"))
        else:
            wrong += each(f"{where}.name", name, dns_label)
        if name in names:
            wrong.append(FieldError.duplicate(f"{where}.name", name))
        if not wrong:
            names.add(name)
        errors += wrong
    return errors


def _source(volume: Document, where: str) -> list[FieldError]:
    present = [name for name in volume if name != "name"]
    if not present:
        return [FieldError.required(where, "must specify a volume type")]
    errors = []
    for name in present[1:]:
        words = "may not specify more than 1 volume type"
        errors.append(FieldError.forbidden(f"{where}.{name}", words))
    kind, source = present[0], volume[present[0]]
    path = f"{where}.{kind}"
    match kind:
        case "configMap":
            if not source.get("name"):
                errors.append(FieldError.required(f"{path}.name"))
            errors += _modes(source, path) + _items(source, path)
        case "secret":
            if not source.get("secretName"):
                errors.append(FieldError.required(f"{path}.secretName"))
            errors += _modes(source, path) + _items(source, path)
        case "hostPath":
            errors += _host_path(source, path)
        case "emptyDir":
            limit = source.get("sizeLimit")
            if limit is not None and quantity.parse(limit)[0] < 0:
                words = "SizeLimit field must be a valid resource quantity"
                errors.append(FieldError.forbidden(f"{path}.sizeLimit", words))
        case "persistentVolumeClaim":
            if not source.get("claimName"):
                errors.append(FieldError.required(f"{path}.claimName"))
        case "nfs":
            errors += [
                FieldError.required(f"{path}.{name}")
                for name in ("server", "path")
                if not source.get(name)
            ]
            if source.get("path") and not source["path"].startswith("/"):
                words = "must be an absolute path"
                errors.append(FieldError.invalid(f"{path}.path", source["path"], words))
        case "projected" | "downwardAPI":
            errors += _modes(source, path)
    return errors


def _host_path(source: Document, path: str) -> list[FieldError]:
    errors = []
    target, kind = source.get("path", ""), source.get("type", "")
    if not target:
        errors.append(FieldError.required(f"{path}.path"))
    if ".." in target.split("/"):
        errors.append(FieldError.invalid(f"{path}.path", target, "must not contain '..'"))
    if kind not in _HOST_PATH_TYPES:
        supported = [name for name in _HOST_PATH_TYPES if name]
        errors.append(FieldError.not_supported(f"{path}.type", kind, supported))
    return errors


def _modes(source: Document, path: str) -> list[FieldError]:
    mode = source.get("defaultMode")
    if mode is None or 0 <= mode <= 0o777:
        return []
    return [FieldError.invalid(f"{path}.defaultMode", mode, _MODE)]


def _items(source: Document, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, item in enumerate(source.get("items", ())):
        where = f"{path}.items[{i}]"
        if not item.get("key"):
            errors.append(FieldError.required(f"{where}.key"))
        else:
            errors += each(f"{where}.key", item["key"], config_key)
        target = item.get("path", "")
        if not target:
            errors.append(FieldError.required(f"{where}.path"))
        if target.startswith("/"):
            errors.append(FieldError.invalid(f"{where}.path", target, "must be a relative path"))
        if ".." in target.split("/"):
            errors.append(FieldError.invalid(f"{where}.path", target, "must not contain '..'"))
        mode = item.get("mode")
        if mode is not None and not 0 <= mode <= 0o777:
            errors.append(FieldError.invalid(f"{where}.mode", mode, _MODE))
    return errors
