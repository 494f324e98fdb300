"""Validation of a Pod's volumes. Source: ValidateVolumes, validateVolumeSource."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation import projections
from testbed.api.validation import volume_drivers as drivers
from testbed.api.validation.claims import claim_template
from testbed.api.validation.names import dns_label, dns_subdomain, each, one_of
from testbed.api.validation.paths import no_backsteps
from testbed.api.validation.volume_drivers import Check, required

PULL_POLICIES = ("Always", "IfNotPresent", "Never")

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


@dataclass(frozen=True, slots=True)
class Owner:
    """What a volume's validation needs of its Pod: its name ("" in a template)."""

    name: str = ""
    is_pod: bool = False


def _empty_dir(source: Document, path: str) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is None or quantity.parse(limit)[0] >= 0:
        return []
    words = "SizeLimit field must be a valid resource quantity"
    return [FieldError.forbidden(f"{path}.sizeLimit", words)]


def _host_path(source: Document, path: str) -> list[FieldError]:
    target, kind = source.get("path", ""), source.get("type", "")
    if not target:
        return [FieldError.required(f"{path}.path")]
    errors = no_backsteps(target, f"{path}.path")
    if kind not in _HOST_PATH_TYPES:
        errors.append(FieldError.not_supported(f"{path}.type", kind, _HOST_PATH_TYPES))
    return errors


def _ephemeral(source: Document, path: str) -> list[FieldError]:
    where = f"{path}.volumeClaimTemplate"
    if "volumeClaimTemplate" not in source:
        return [FieldError.required(where)]
    return claim_template(source["volumeClaimTemplate"], where)


#: Sources of volumes in the order in which the API server looks for them.
_CHECKS: dict[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": drivers.git_repo,
    "gcePersistentDisk": drivers.disk("pdName"),
    "awsElasticBlockStore": drivers.disk("volumeID"),
    "secret": projections.secret,
    "nfs": drivers.nfs,
    "iscsi": drivers.iscsi,
    "glusterfs": required("endpoints", "path"),
    "flocker": drivers.flocker,
    "persistentVolumeClaim": required("claimName"),
    "rbd": required("monitors", "image"),
    "cinder": drivers.cinder,
    "cephfs": required("monitors"),
    "quobyte": drivers.quobyte,
    "downwardAPI": projections.downward_api,
    "fc": drivers.fibre_channel,
    "flexVolume": drivers.flex,
    "configMap": projections.config_map,
    "azureFile": required("secretName", "shareName"),
    "vsphereVolume": required("volumePath"),
    "photonPersistentDisk": required("pdID"),
    "portworxVolume": required("volumeID"),
    "azureDisk": drivers.azure_disk,
    "storageos": drivers.storage_os,
    "projected": projections.projected,
    "scaleIO": required("gateway", "system", "volumeName"),
    "csi": drivers.csi,
    "ephemeral": _ephemeral,
    "image": lambda source, path: [],
}
#: Sources whose errors go by another name, and whose name is another one when they are too many.
_PATHS = {"gcePersistentDisk": "persistentDisk"}
_EXTRA_PATHS = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}


def volumes(
    entries: Sequence[Document], path: str, owner: Owner
) -> tuple[dict[str, Document], list[FieldError]]:
    """The volumes that mounts can name, and what is wrong with the others.

    Every volume has a name of its own and one source.
    """
    errors: list[FieldError] = []
    good: dict[str, Document] = {}
    created = {
        f"{owner.name}-{volume.get('name', '')}"
        for volume in entries
        if owner.name and "ephemeral" in volume
    }
    for i, volume in enumerate(entries):
        where, name = f"{path}[{i}]", volume.get("name", "")
        wrong = _source(volume, where, owner)
        if not name:
            wrong.append(FieldError.required(f"{where}.name"))
        else:
            wrong += each(f"{where}.name", name, dns_label)
        if name in good:
            wrong.append(FieldError.duplicate(f"{where}.name", name))
        if not wrong:
            good[name] = volume
        errors += wrong
        claim = volume.get("persistentVolumeClaim", {}).get("claimName", "")
        if claim in created:
            words = "must not reference a PVC that gets created for an ephemeral volume"
            at = f"{where}.persistentVolumeClaim.claimName"
            errors.append(FieldError.invalid(at, claim, words))
    return good, errors


def _source(volume: Document, where: str, owner: Owner) -> list[FieldError]:
    present = [name for name in _CHECKS if name in volume]
    if not present:
        return [FieldError.required(where, "must specify a volume type")]
    kind = present[0]
    source = volume[kind]
    errors = _CHECKS[kind](source, f"{where}.{_PATHS.get(kind, kind)}")
    name = volume.get("name", "")
    if kind == "iscsi" and "initiatorName" in source:
        errors += _portal_length(name, source, where)
    if kind == "ephemeral" and owner.name and name:
        claim = f"{owner.name}-{name}"
        errors += [
            FieldError.invalid(f"{where}.name", name, f'PVC name "{claim}": {message}')
            for message in dns_subdomain(claim)
        ]
    if kind == "image":
        errors += _image(source, f"{where}.image", owner)
    for other in present[1:]:
        words = "may not specify more than 1 volume type"
        errors.append(FieldError.forbidden(f"{where}.{_EXTRA_PATHS.get(other, other)}", words))
    return errors


def _portal_length(name: str, source: Document, where: str) -> list[FieldError]:
    if len(f"{name}:{source.get('targetPortal', '')}".encode()) <= 64:
        return []
    words = (
        "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters "
        "if iscsi.initiatorName is specified."
    )
    return [FieldError.invalid(f"{where}.name", name, words)]


def _image(source: Document, path: str, owner: Owner) -> list[FieldError]:
    """A template's image may be left out."""
    errors = []
    if owner.is_pod and not source.get("reference"):
        errors.append(FieldError.required(f"{path}.reference"))
    return errors + one_of(f"{path}.pullPolicy", source.get("pullPolicy", ""), PULL_POLICIES)
