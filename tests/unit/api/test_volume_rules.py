"""Rules of volumes and of what mounts them, as the API server's sources have them."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.documents import Document

from .rules import answer, create, full, obj

VOLUME = "spec.volumes[0]"
MOUNT = "spec.containers[0].volumeMounts"
DEVICE = "spec.containers[0].volumeDevices"
MODE = "must be a number between 0 and 0777 (octal), both inclusive"
UP = "must not contain '..'"


def pod(container: Document | None = None, **spec: Any) -> Document:
    entry = {"name": "c", "image": "x", **(container or {})}
    return obj("Pod", "p", {"containers": [entry], **spec})


def volume(**source: Any) -> Document:
    return pod(volumes=[{"name": "v", **source}])


def projected(*sources: Document, **spec: Any) -> Document:
    return pod(volumes=[{"name": "v", "projected": {"sources": list(sources)}}], **spec)


def mounts(*entries: Document, **container: Any) -> Document:
    listed = [{"name": "v", "mountPath": "/a", **entry} for entry in entries]
    return pod({"volumeMounts": listed, **container}, volumes=[{"name": "v"}])


def files(*items: Document) -> Document:
    return volume(configMap={"name": "m", "items": list(items)})


def ephemeral(**spec: Any) -> Document:
    return volume(ephemeral={"volumeClaimTemplate": {"spec": spec}})


CLAIM: Document = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "1Gi"}},
}
TEMPLATE = f"{VOLUME}.ephemeral.volumeClaimTemplate"

REFUSED: list[tuple[str, Document, str]] = [
    (
        "a type of host path is listed with the empty one",
        volume(hostPath={"path": "/a", "type": "Bogus"}),
        f'{VOLUME}.hostPath.type: Unsupported value: "Bogus": supported values: "", '
        '"BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", '
        '"Socket"',
    ),
    (
        "a host path without a path isn't looked at further",
        volume(hostPath={"type": "Bogus"}),
        f"{VOLUME}.hostPath.path: Required value",
    ),
    (
        "one source: the first in the order of the API, whatever the order of the document",
        volume(configMap={"name": "m"}, emptyDir={}),
        f"{VOLUME}.configMap: Forbidden: may not specify more than 1 volume type",
    ),
    (
        "a second downward API goes by its old name",
        volume(downwardAPI={}, emptyDir={}),
        f"{VOLUME}.downwarAPI: Forbidden: may not specify more than 1 volume type",
    ),
    (
        "a file's path doesn't start with two dots",
        files({"key": "k", "path": "..a"}),
        f"{VOLUME}.configMap.items[0].path: Invalid value: \"..a\": must not start with '..'",
    ),
    (
        "a file needs a key and a path",
        files({"key": "", "path": ""}),
        f"[{VOLUME}.configMap.items[0].key: Required value, "
        f"{VOLUME}.configMap.items[0].path: Required value]",
    ),
    (
        "a relative path of NFS is refused",
        volume(nfs={"server": "s", "path": ""}),
        f"[{VOLUME}.nfs.path: Required value, "
        f'{VOLUME}.nfs.path: Invalid value: "": must be an absolute path]',
    ),
    (
        "a file of the downward API shows something",
        volume(downwardAPI={"items": [{"path": "f"}]}),
        f"{VOLUME}.downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
    ),
    (
        "a file can't show the node's name",
        volume(downwardAPI={"items": [{"path": "f", "fieldRef": {"fieldPath": "spec.nodeName"}}]}),
        f'{VOLUME}.downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": '
        'supported values: "metadata.annotations", "metadata.labels", "metadata.name", '
        '"metadata.namespace", "metadata.uid"',
    ),
    (
        "a file with a resource names the container",
        volume(downwardAPI={"items": [{"path": "f", "resourceFieldRef": {"resource": "cpu"}}]}),
        f"{VOLUME}.downwardAPI.resourceFieldRef.containerName: Required value",
    ),
    (
        "a mode has three octal digits",
        volume(downwardAPI={"defaultMode": 0o1000}),
        f"{VOLUME}.downwardAPI.defaultMode: Invalid value: 512: {MODE}",
    ),
    (
        "projected files don't share a path",
        projected(
            {"secret": {"name": "s", "items": [{"key": "a", "path": "f"}]}},
            {"configMap": {"name": "m", "items": [{"key": "a", "path": "f"}]}},
        ),
        f'{VOLUME}.projected: Invalid value: "m": conflicting duplicate paths',
    ),
    (
        "a projection has one source",
        projected({"secret": {"name": "s"}, "configMap": {"name": "m"}}),
        f"{VOLUME}.projected.sources[0]: Forbidden: may not specify more than 1 volume type per "
        "source",
    ),
    (
        "a token lives for ten minutes at least",
        projected(
            {"serviceAccountToken": {"path": "t", "expirationSeconds": 599}}, serviceAccountName="a"
        ),
        f"{VOLUME}.projected.sources[0].serviceAccountToken.expirationSeconds: "
        "Invalid value: 599: may not specify a duration less than 10 minutes",
    ),
    (
        "a token is somebody's",
        projected({"serviceAccountToken": {"path": "t"}}),
        f"{VOLUME}.projected.sources[0].serviceAccountToken: Forbidden: "
        "must not be specified when serviceAccountName is not set",
    ),
    (
        "a disk's errors go by its old name",
        volume(gcePersistentDisk={"pdName": "", "partition": 256}),
        f"[{VOLUME}.persistentDisk.pdName: Required value, "
        f"{VOLUME}.persistentDisk.partition: Invalid value: 256: "
        "must be between 1 and 255, inclusive]",
    ),
    (
        "a claim takes labels and annotations over from its template, nothing else",
        volume(
            ephemeral={
                "volumeClaimTemplate": {
                    "metadata": {"uid": "u", "namespace": "n", "name": "a", "generateName": "g"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "1Gi"}},
                    },
                }
            }
        ),
        "["
        + ", ".join(
            f"{VOLUME}.ephemeral.volumeClaimTemplate.metadata.{name}: Forbidden: cannot be set"
            for name in ("name", "generateName", "namespace", "uID")
        )
        + "]",
    ),
    (
        "a CSI volume has a driver",
        volume(csi={"driver": ""}),
        "spec.volumes[0].csi.driver: Required value",
    ),
    (
        "an iSCSI name is in a known form",
        volume(iscsi={"targetPortal": "p", "iqn": "x", "lun": 0}),
        f'{VOLUME}.iscsi.iqn: Invalid value: "x": '
        "must be valid format starting with iqn, eui, or naa",
    ),
    (
        "an image volume of a Pod names its image",
        volume(image={}),
        f"{VOLUME}.image.reference: Required value",
    ),
    (
        "an ephemeral volume has a template of a claim",
        volume(ephemeral={}),
        f"{VOLUME}.ephemeral.volumeClaimTemplate: Required value",
    ),
    (
        "an ephemeral claim asks for storage",
        ephemeral(),
        f"[{TEMPLATE}.spec.accessModes: Required value: at least 1 access mode is required, "
        f"{TEMPLATE}.spec.resources[storage]: Required value]",
    ),
    (
        "an ephemeral claim's modes are known",
        ephemeral(**{**CLAIM, "accessModes": ["Once"]}),
        f'{TEMPLATE}.spec.accessModes: Unsupported value: "Once": supported values: '
        '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"',
    ),
    (
        "a claim that the Pod makes can't be used by name",
        pod(
            volumes=[
                {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}},
                {"name": "w", "persistentVolumeClaim": {"claimName": "p-v"}},
            ]
        ),
        'spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: "p-v": '
        "must not reference a PVC that gets created for an ephemeral volume",
    ),
    (
        "a volume that is refused can't be mounted",
        pod(
            {"volumeMounts": [{"name": "v", "mountPath": "/a"}]},
            volumes=[{"name": "v", "secret": {}}],
        ),
        f'[{VOLUME}.secret.secretName: Required value, {MOUNT}[0].name: Not found: "v"]',
    ),
    (
        "a mount's path doesn't go up",
        mounts({"subPath": "../a"}),
        f'{MOUNT}.subPath: Invalid value: "../a": {UP}',
    ),
    (
        "only a read-only mount is read-only below",
        mounts({"recursiveReadOnly": "Enabled"}),
        f"{MOUNT}.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
    ),
    (
        "a device is a claim",
        pod({"volumeDevices": [{"name": "v", "devicePath": "/d"}]}, volumes=[{"name": "v"}]),
        f'{DEVICE}[0].name: Invalid value: "v": can only use volume source type of '
        "PersistentVolumeClaim or Ephemeral for block mode",
    ),
    (
        "a volume is mounted or a device",
        pod(
            {
                "volumeMounts": [{"name": "v", "mountPath": "/d"}],
                "volumeDevices": [{"name": "v", "devicePath": "/d"}],
            },
            volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "a"}}],
        ),
        f'[{MOUNT}[0].name: Invalid value: "v": must not already exist in volumeDevices, '
        f'{MOUNT}[0].mountPath: Invalid value: "/d": '
        "must not already exist as a path in volumeDevices, "
        f'{DEVICE}[0].name: Invalid value: "v": must not already exist in volumeMounts, '
        f'{DEVICE}[0].devicePath: Invalid value: "/d": '
        "must not already exist as a path in volumeMounts]",
    ),
]


@pytest.mark.parametrize(
    ("rule", "given", "expected"), REFUSED, ids=[rule for rule, _, _ in REFUSED]
)
def test_volume_is_refused(rule: str, given: Document, expected: str) -> None:
    assert answer(given) == full(expected)


def test_a_key_of_a_file_is_not_checked() -> None:
    assert answer(files({"key": "a b", "path": "f"})) == ""


@pytest.mark.parametrize(
    ("source", "given", "stored"),
    [
        (
            "rbd",
            {"monitors": ["m"], "image": "i"},
            {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
        ),
        (
            "iscsi",
            {"targetPortal": "p", "iqn": "iqn.2001-04.com.example:a", "lun": 0},
            {"iscsiInterface": "default"},
        ),
        (
            "azureDisk",
            {"diskName": "d", "diskURI": "https://a"},
            {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
        ),
        ("image", {"reference": "a:latest"}, {"pullPolicy": "Always"}),
        ("hostPath", {"path": "/a"}, {"type": ""}),
    ],
)
def test_a_volume_has_defaults(source: str, given: Document, stored: Document) -> None:
    made, _ = create(volume(**{source: given}))
    assert made["spec"]["volumes"][0][source] == given | stored


def test_a_projection_whose_gate_is_off_is_dropped() -> None:
    made, _ = create(projected({"clusterTrustBundle": {"name": "b", "path": "f"}}))
    assert made["spec"]["volumes"][0]["projected"]["sources"] == [{}]
