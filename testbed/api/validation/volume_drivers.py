"""Validation of volumes that storage drivers serve, in-tree ones and CSI.

Source: pkg/apis/core/validation/validation.go (validateISCSIVolumeSource and its neighbours).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.names import dns_label, dns_subdomain, each, in_range
from testbed.api.validation.paths import descending_path

Check: TypeAlias = Callable[[Document, str], list[FieldError]]

_IQN = re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9.-]+)(:[^,;*&$|\s]+)$", re.ASCII)
_EUI = re.compile(r"^eui.[A-Za-z0-9]{16}$")
_NAA = re.compile(r"^naa.[A-Za-z0-9]{32}$")
_ISCSI_NAMES = {"iqn": _IQN, "eui": _EUI, "naa": _NAA}
_HOST_AND_PORT = "must be a host:port pair or multiple pairs separated by commas"
_MANAGED = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/"
    "{disk-id}",
)
_BLOB = ("https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",)


def required(*names: str) -> Check:
    """A check that these fields are set."""

    def check(source: Document, path: str) -> list[FieldError]:
        return [FieldError.required(f"{path}.{name}") for name in names if not source.get(name)]

    return check


def git_repo(source: Document, path: str) -> list[FieldError]:
    errors = required("repository")(source, path)
    return errors + descending_path(source.get("directory", ""), f"{path}.directory")


def disk(identity: str) -> Check:
    """A cloud's disk: its identity, and a partition of it."""

    def check(source: Document, path: str) -> list[FieldError]:
        errors = required(identity)(source, path)
        partition = source.get("partition", 0)
        if not 0 <= partition <= 255:
            words = "must be between 1 and 255, inclusive"
            errors.append(FieldError.invalid(f"{path}.partition", partition, words))
        return errors

    return check


def nfs(source: Document, path: str) -> list[FieldError]:
    errors = required("server", "path")(source, path)
    target = source.get("path", "")
    if not target.startswith("/"):
        errors.append(FieldError.invalid(f"{path}.path", target, "must be an absolute path"))
    return errors


def iscsi(source: Document, path: str) -> list[FieldError]:
    errors = required("targetPortal")(source, path)
    name = source.get("iqn", "")
    if not name:
        errors.append(FieldError.required(f"{path}.iqn"))
    else:
        errors += _iscsi_name(name, f"{path}.iqn")
    lun = source.get("lun", 0)
    errors += [FieldError.invalid(f"{path}.lun", lun, words) for words in in_range(lun, 0, 255)]
    secured = source.get("chapAuthDiscovery") or source.get("chapAuthSession")
    if secured and "secretRef" not in source:
        errors.append(FieldError.required(f"{path}.secretRef"))
    if "initiatorName" in source:
        errors += _iscsi_name(source["initiatorName"], f"{path}.initiatorname")
    return errors


def _iscsi_name(name: str, path: str) -> list[FieldError]:
    pattern = _ISCSI_NAMES.get(name[:3])
    if pattern is None:
        words = "must be valid format starting with iqn, eui, or naa"
        return [FieldError.invalid(path, name, words)]
    if pattern.search(name):
        return []
    return [FieldError.invalid(path, name, "must be valid format")]


def flocker(source: Document, path: str) -> list[FieldError]:
    name, uuid = source.get("datasetName", ""), source.get("datasetUUID", "")
    errors = []
    if not name and not uuid:
        words = "one of datasetName and datasetUUID is required"
        errors.append(FieldError.required(path, words))
    if name and uuid:
        words = "datasetName and datasetUUID can not be specified simultaneously"
        errors.append(FieldError.invalid(path, "resource", words))
    if "/" in name:
        errors.append(FieldError.invalid(f"{path}.datasetName", name, "must not contain '/'"))
    return errors


def cinder(source: Document, path: str) -> list[FieldError]:
    return required("volumeID")(source, path) + _secret_name(source, path)


def quobyte(source: Document, path: str) -> list[FieldError]:
    registry, errors = source.get("registry", ""), []
    if not registry:
        errors.append(FieldError.required(f"{path}.registry", _HOST_AND_PORT))
    elif len(source.get("tenant", "").encode()) >= 65:
        words = "must be a UUID and may not exceed a length of 64 characters"
        errors.append(FieldError.required(f"{path}.tenant", words))
    else:
        errors += [
            FieldError.invalid(f"{path}.registry", registry, _HOST_AND_PORT)
            for pair in registry.split(",")
            if not re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*", pair)
        ]
    return errors + required("volume")(source, path)


def fibre_channel(source: Document, path: str) -> list[FieldError]:
    names, lun = source.get("targetWWNs", ()), source.get("lun")
    errors = []
    if not names and not source.get("wwids"):
        words = "must specify either targetWWNs or wwids, but not both"
        errors.append(FieldError.required(f"{path}.targetWWNs", words))
    if names and source.get("wwids"):
        words = "targetWWNs and wwids can not be specified simultaneously"
        errors.append(FieldError.invalid(f"{path}.targetWWNs", names, words))
    if names and lun is None:
        words = "lun is required if targetWWNs is specified"
        errors.append(FieldError.required(f"{path}.lun", words))
    elif names:
        errors += [FieldError.invalid(f"{path}.lun", lun, m) for m in in_range(lun or 0, 0, 255)]
    return errors


def flex(source: Document, path: str) -> list[FieldError]:
    errors = required("driver")(source, path)
    for key in sorted(source.get("options", {})):
        domain = "." + key.split("/", 1)[0].lower()
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            words = "kubernetes.io and k8s.io namespaces are reserved"
            errors.append(FieldError.invalid(f"{path}.options[{key}]", key, words))
    return errors


def azure_disk(source: Document, path: str) -> list[FieldError]:
    errors = required("diskName", "diskURI")(source, path)
    uri, kind = source.get("diskURI", ""), source.get("kind")
    for name, supported in (
        ("cachingMode", ("None", "ReadOnly", "ReadWrite")),
        ("kind", ("Dedicated", "Managed", "Shared")),
    ):
        value = source.get(name)
        if value is not None and value not in supported:
            errors.append(FieldError.not_supported(f"{path}.{name}", value, supported))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        errors.append(FieldError.not_supported(f"{path}.diskURI", uri, _MANAGED))
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        errors.append(FieldError.not_supported(f"{path}.diskURI", uri, _BLOB))
    return errors


def storage_os(source: Document, path: str) -> list[FieldError]:
    errors = required("volumeName")(source, path)
    for name in ("volumeName", "volumeNamespace"):
        if source.get(name):
            errors += each(f"{path}.{name}", source[name], dns_label)
    return errors + _secret_name(source, path)


def csi(source: Document, path: str) -> list[FieldError]:
    driver = source.get("driver", "")
    errors = [] if driver else [FieldError.required(f"{path}.driver")]
    if len(driver.encode()) > 63:
        errors.append(FieldError.too_long(f"{path}.driver", 63))
    words = dns_subdomain(driver.lower()) if driver else []
    errors += [FieldError.invalid(f"{path}.driver", driver, message) for message in words]
    if "nodePublishSecretRef" in source:
        name = source["nodePublishSecretRef"].get("name", "")
        if not name:
            errors.append(FieldError.required(f"{path}.nodePublishSecretRef.name"))
        else:
            errors += each(f"{path}.name", name, dns_subdomain)
    return errors


def _secret_name(source: Document, path: str) -> list[FieldError]:
    if "secretRef" in source and not source["secretRef"].get("name"):
        return [FieldError.required(f"{path}.secretRef.name")]
    return []
