"""Validation of a container's volumeMounts and volumeDevices.

Source: pkg/apis/core/validation/validation.go (ValidateVolumeMounts, ValidateVolumeDevices).
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.paths import descending_path, no_backsteps

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE_READ_ONLY = ("Disabled", "Enabled", "IfPossible")


def mounts(entry: Document, path: str, volumes: Mapping[str, Document]) -> list[FieldError]:
    """`volumeMounts`: of volumes that exist, each at a path of its own."""
    errors: list[FieldError] = []
    paths: set[str] = set()
    devices = {d.get("name", ""): d.get("devicePath", "") for d in entry.get("volumeDevices", ())}
    for i, mount in enumerate(entry.get("volumeMounts", ())):
        where = f"{path}[{i}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(FieldError.required(f"{where}.name"))
        if name not in volumes:
            errors.append(FieldError.not_found(f"{where}.name", name))
        if not target:
            errors.append(FieldError.required(f"{where}.mountPath"))
        if target in paths:
            errors.append(FieldError.invalid(f"{where}.mountPath", target, "must be unique"))
        paths.add(target)
        errors += _apart(where, (name, target), devices, ("mountPath", "volumeDevices"))
        errors += _part_of_volume(mount, path, where)
        errors += _propagation(mount, entry, f"{path}.mountPropagation")
        errors += _recursive_read_only(mount, f"{path}.recursiveReadOnly")
    return errors


def devices(entry: Document, path: str, volumes: Mapping[str, Document]) -> list[FieldError]:
    """`volumeDevices`: of claims, each once and at a path of its own."""
    errors: list[FieldError] = []
    names: set[str] = set()
    paths: set[str] = set()
    mounted = {m.get("name", ""): m.get("mountPath", "") for m in entry.get("volumeMounts", ())}
    for i, device in enumerate(entry.get("volumeDevices", ())):
        where = f"{path}[{i}]"
        name, target = device.get("name", ""), device.get("devicePath", "")
        errors += _device_name(name, f"{where}.name", names, volumes)
        if not target:
            errors.append(FieldError.required(f"{where}.devicePath"))
        if target in paths:
            errors.append(FieldError.invalid(f"{where}.devicePath", target, "must be unique"))
        if target and no_backsteps(target, where):
            words = "can not contain backsteps ('..')"
            errors.append(FieldError.invalid(f"{where}.devicePath", target, words))
        else:
            paths.add(target)
        errors += _apart(where, (name, target), mounted, ("devicePath", "volumeMounts"))
        names |= {name} - {""}
    return errors


def _device_name(
    name: str, path: str, names: set[str], volumes: Mapping[str, Document]
) -> list[FieldError]:
    errors = [] if name else [FieldError.required(path)]
    if name in names:
        errors.append(FieldError.invalid(path, name, "must be unique"))
    volume = volumes.get(name)
    if volume is None:
        errors.append(FieldError.not_found(path, name))
    elif not volume.keys() & {"persistentVolumeClaim", "ephemeral"}:
        words = "can only use volume source type of PersistentVolumeClaim or Ephemeral"
        errors.append(FieldError.invalid(path, name, f"{words} for block mode"))
    return errors


def _apart(
    where: str, own: tuple[str, str], others: Mapping[str, str], words: tuple[str, str]
) -> list[FieldError]:
    """A volume is mounted or a device, not both; nor are two things at one path."""
    (name, target), (field, list_name) = own, words
    errors = []
    if name in others:
        text = f"must not already exist in {list_name}"
        errors.append(FieldError.invalid(f"{where}.name", name, text))
    if target in others.values():
        text = f"must not already exist as a path in {list_name}"
        errors.append(FieldError.invalid(f"{where}.{field}", target, text))
    return errors


def _part_of_volume(mount: Document, path: str, where: str) -> list[FieldError]:
    errors = descending_path(mount.get("subPath", ""), f"{path}.subPath")
    if mount.get("subPath") and mount.get("subPathExpr"):
        words = "subPathExpr and subPath are mutually exclusive"
        errors.append(FieldError.invalid(f"{where}.subPathExpr", mount["subPathExpr"], words))
    return errors + descending_path(mount.get("subPathExpr", ""), f"{path}.subPathExpr")


def _propagation(mount: Document, entry: Document, path: str) -> list[FieldError]:
    mode = mount.get("mountPropagation")
    if mode is None:
        return []
    errors = []
    if mode not in _PROPAGATIONS:
        errors.append(FieldError.not_supported(path, mode, _PROPAGATIONS))
    if mode == "Bidirectional" and not entry.get("securityContext", {}).get("privileged"):
        words = "Bidirectional mount propagation is available only to privileged containers"
        errors.append(FieldError.forbidden(path, words))
    return errors


def _recursive_read_only(mount: Document, path: str) -> list[FieldError]:
    mode = mount.get("recursiveReadOnly")
    if mode in (None, "Disabled"):
        return []
    if mode not in _RECURSIVE_READ_ONLY:
        return [FieldError.not_supported(path, mode, _RECURSIVE_READ_ONLY)]
    errors = []
    if not mount.get("readOnly"):
        words = "may only be specified when readOnly is true"
        errors.append(FieldError.forbidden(path, words))
    if mount.get("mountPropagation", "None") != "None":
        words = "may only be specified when mountPropagation is None or not specified"
        errors.append(FieldError.forbidden(path, words))
    return errors
