"""Defaults of Pods and Pod templates.

Sources: pkg/apis/core/v1/{defaults,zz_generated.defaults,conversion}.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.validation.resources import aggregate_limits, aggregate_requests

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
FILE_MODE = 0o644
TOKEN_SECONDS = 3600
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
#: Annotations of old that mean nothing any more.
_OLD_ANNOTATIONS = tuple(
    f"pod.{stage}.kubernetes.io/{name}"
    for stage in ("alpha", "beta")
    for name in ("init-containers", "init-container-statuses")
)
#: Fields of volumes with a default: source -> field -> value.
_VOLUME_FIELDS: dict[str, dict[str, object]] = {
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "iscsi": {"iscsiInterface": "default"},
    "azureDisk": {
        "cachingMode": "ReadWrite",
        "fsType": "ext4",
        "readOnly": False,
        "kind": "Shared",
    },
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
#: Of these, the ones behind a pointer keep an empty value.
_POINTERS = ("azureDisk",)


def pod(document: Document) -> None:
    """Defaults of a Pod."""
    spec = document.setdefault("spec", {})
    pod_spec(spec)
    drop_old_annotations(document["metadata"])
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        requested_as_limited(container.get("resources", {}))
    if "resources" in spec:
        _pod_resources(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    if spec.get("hostNetwork"):
        for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
            for port in container.get("ports", ()):
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)


def drop_old_annotations(metadata: Document) -> None:
    """Annotations that once held init containers are left out."""
    for name in _OLD_ANNOTATIONS:
        metadata.get("annotations", {}).pop(name, None)


def requested_as_limited(resources: Document) -> None:
    """What is limited and not requested is requested up to its limit."""
    for name, amount in resources.get("limits", {}).items():
        resources.setdefault("requests", {}).setdefault(name, amount)


def _pod_resources(spec: Document) -> None:
    """Limits of huge pages and requests of a Pod as a whole, from those of its containers."""
    own: Document = spec["resources"]
    if not own.get("limits") and not own.get("requests"):
        return
    limited = {"limits": {}, **own}["limits"]
    for name, amount in aggregate_limits(spec).items():
        if name.startswith("hugepages-") and name not in own.get("requests", {}):
            limited.setdefault(name, quantity.written(*amount))
    if not limited:
        return
    own["limits"] = limited
    asked = own.setdefault("requests", {})
    for name, amount in aggregate_requests(spec).items():
        if name in ("cpu", "memory"):
            asked.setdefault(name, quantity.written(*amount))
    for name, limit in limited.items():
        if name in ("cpu", "memory") or name.startswith("hugepages-"):
            asked.setdefault(name, limit)


def pod_template(template: Document) -> None:
    """Defaults of the template of a workload."""
    drop_old_annotations(template.setdefault("metadata", {}))
    pod_spec(template.setdefault("spec", {}))


def pod_spec(spec: Document) -> None:
    """Defaults that a Pod and a template share."""
    _unless(spec, "dnsPolicy", "ClusterFirst")
    _unless(spec, "restartPolicy", "Always")
    _unless(spec, "schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in containers(spec):
        _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)
    round_amounts(spec, "overhead")
    for name in ("limits", "requests"):
        round_amounts(spec.get("resources", {}), name)


def round_amounts(owner: Document, name: str) -> None:
    """Amounts of resources are whole thousandths."""
    for resource, amount in owner.get(name, {}).items():
        owner[name][resource] = quantity.rounded_up(amount)


def containers(spec: Document) -> Iterator[Document]:
    """The init containers, containers and ephemeral containers."""
    for name in CONTAINER_LISTS:
        yield from spec.get(name, ())


def _unless(target: Document, field: str, value: object) -> None:
    if not target.get(field):
        target[field] = value


def _container(container: Document) -> None:
    resources = container.setdefault("resources", {})
    for name in ("limits", "requests"):
        round_amounts(resources, name)
    _unless(container, "terminationMessagePath", "/dev/termination-log")
    _unless(container, "terminationMessagePolicy", "File")
    _unless(container, "imagePullPolicy", pull_policy(container.get("image", "")))
    for port in container.get("ports", ()):
        _unless(port, "protocol", "TCP")
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        _references(source)
        if "fileKeyRef" in source:
            source["fileKeyRef"].setdefault("optional", False)
    for name in _PROBES:
        if name in container:
            _probe(container[name])
    for handler in container.get("lifecycle", {}).values():
        if isinstance(handler, dict) and "httpGet" in handler:
            _http_get(handler["httpGet"])


def pull_policy(image: str) -> str:
    """Always for the tag `latest` (also where no tag is given), else IfNotPresent."""
    name = image.rpartition("/")[2]
    if not name:
        return "IfNotPresent"
    tagged = re.fullmatch(r"[^:@]+(?::([^@]+))?(@.+)?", name)
    if tagged is None:
        return "IfNotPresent"
    tag = tagged[1] or ("" if tagged[2] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _probe(probe: Document) -> None:
    _unless(probe, "timeoutSeconds", 1)
    _unless(probe, "periodSeconds", 10)
    _unless(probe, "successThreshold", 1)
    _unless(probe, "failureThreshold", 3)
    if "httpGet" in probe:
        _http_get(probe["httpGet"])
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http_get(action: Document) -> None:
    _unless(action, "path", "/")
    _unless(action, "scheme", "HTTP")


def _volume(volume: Document) -> None:
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        if name in volume:
            volume[name].setdefault("defaultMode", FILE_MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    if "image" in volume:
        _unless(volume["image"], "pullPolicy", pull_policy(volume["image"].get("reference", "")))
    for name, values in _VOLUME_FIELDS.items():
        if name in volume:
            for key, value in values.items():
                if key not in volume[name] or (name not in _POINTERS and not volume[name][key]):
                    volume[name][key] = value
    if "volumeClaimTemplate" in volume.get("ephemeral", {}):
        claim_spec(volume["ephemeral"]["volumeClaimTemplate"].setdefault("spec", {}))
    for projection in volume.get("projected", {}).get("sources", ()):
        if "serviceAccountToken" in projection:
            projection["serviceAccountToken"].setdefault("expirationSeconds", TOKEN_SECONDS)
        _field_references(projection.get("downwardAPI", {}))
    _field_references(volume.get("downwardAPI", {}))


def claim_spec(spec: Document) -> None:
    """Defaults of the spec of a PersistentVolumeClaim."""
    spec.setdefault("volumeMode", "Filesystem")
    for name in ("limits", "requests"):
        round_amounts(spec.get("resources", {}), name)


def _field_references(source: Document) -> None:
    for item in source.get("items", ()):
        _references(item)


def _references(source: Document) -> None:
    if "fieldRef" in source:
        _unless(source["fieldRef"], "apiVersion", "v1")
    if "resourceFieldRef" in source:
        source["resourceFieldRef"].setdefault("divisor", "0")
