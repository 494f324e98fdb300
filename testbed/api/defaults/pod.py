"""Defaults of Pods and Pod templates, with what admission adds to a Pod.

Sources: pkg/apis/core/v1/defaults.go, plugin/pkg/admission/{defaulttolerationseconds,priority}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from testbed.api import status
from testbed.api.documents import Document

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
FILE_MODE = 0o644
TOKEN_SECONDS = 3600
TOLERATION_SECONDS = 300

_SYSTEM_PRIORITIES = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def pod(document: Document) -> None:
    """Defaults of a Pod."""
    spec = document.setdefault("spec", {})
    pod_spec(spec)
    for container in containers(spec):
        resources = container.get("resources", {})
        for name, amount in resources.get("limits", {}).items():
            resources.setdefault("requests", {}).setdefault(name, amount)
    spec.setdefault("enableServiceLinks", True)
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    if spec.get("hostNetwork"):
        for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
            for port in container.get("ports", ()):
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)


def pod_template(template: Document) -> None:
    """Defaults of the template of a workload."""
    template.setdefault("metadata", {})
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


def containers(spec: Document) -> Iterator[Document]:
    """The init containers, containers and ephemeral containers."""
    for name in CONTAINER_LISTS:
        yield from spec.get(name, ())


def _unless(target: Document, field: str, value: object) -> None:
    if not target.get(field):
        target[field] = value


def _container(container: Document) -> None:
    container.setdefault("resources", {})
    _unless(container, "terminationMessagePath", "/dev/termination-log")
    _unless(container, "terminationMessagePolicy", "File")
    _unless(container, "imagePullPolicy", pull_policy(container.get("image", "")))
    for port in container.get("ports", ()):
        _unless(port, "protocol", "TCP")
    for variable in container.get("env", ()):
        _references(variable.get("valueFrom", {}))
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
    claim = volume.get("ephemeral", {}).get("volumeClaimTemplate", {}).get("spec")
    if claim is not None:
        claim.setdefault("volumeMode", "Filesystem")
    for projection in volume.get("projected", {}).get("sources", ()):
        if "serviceAccountToken" in projection:
            projection["serviceAccountToken"].setdefault("expirationSeconds", TOKEN_SECONDS)
        _field_references(projection.get("downwardAPI", {}))
    _field_references(volume.get("downwardAPI", {}))


def _field_references(source: Document) -> None:
    for item in source.get("items", ()):
        _references(item)


def _references(source: Document) -> None:
    if "fieldRef" in source:
        _unless(source["fieldRef"], "apiVersion", "v1")
    if "resourceFieldRef" in source:
        source["resourceFieldRef"].setdefault("divisor", "0")


def admit_pod(document: Document) -> None:
    """What the admission plugins put into a new Pod; raises StatusError (403)."""
    _priority(document, document["spec"])
    _tolerate_node_taints(document["spec"])


def admit_changed_pod(document: Document, old: Document) -> None:
    """What the admission plugins put back into a Pod that is written as it was first given."""
    spec, stored = document["spec"], old.get("spec", {})
    for name in ("priority", "preemptionPolicy"):
        if name in stored:
            spec.setdefault(name, stored[name])
    _tolerate_node_taints(spec)


def _tolerate_node_taints(spec: Document) -> None:
    tolerations: list[Document] = spec.setdefault("tolerations", [])
    for taint in _NODE_TAINTS:
        if not any(_tolerates(toleration, taint) for toleration in tolerations):
            tolerations.append(
                {
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": TOLERATION_SECONDS,
                }
            )


def _tolerates(toleration: Document, taint: str) -> bool:
    return toleration.get("key", "") in ("", taint) and toleration.get("effect", "") in (
        "",
        "NoExecute",
    )


def _priority(document: Document, spec: Document) -> None:
    name, asked = spec.get("priorityClassName", ""), spec.get("priority")
    pod_name = document["metadata"].get("name", "")
    if name and name not in _SYSTEM_PRIORITIES:
        words = f"no PriorityClass with name {name} was found"
        raise status.forbidden("pods", pod_name, "", words)
    priority = _SYSTEM_PRIORITIES.get(name, 0)
    if asked is not None and asked != priority:
        words = (
            f"the integer value of priority ({asked}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name"
        )
        raise status.forbidden("pods", pod_name, "", words)
    spec["priority"] = priority
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def gated_condition() -> Document:
    """The condition of a Pod that isn't to be scheduled yet."""
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }


def quality_of_service(spec: Document) -> str:
    """BestEffort, Burstable or Guaranteed, from the containers' requests and limits.

    Source: pkg/apis/core/helper/qos/qos.go.
    """
    requests: list[tuple[str, str]] = []
    limits: list[tuple[str, str]] = []
    guaranteed = True
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        resources = container.get("resources", {})
        counted = {
            kind: {
                name: amount
                for name, amount in resources.get(kind, {}).items()
                if name in ("cpu", "memory") and amount != "0"
            }
            for kind in ("requests", "limits")
        }
        requests += counted["requests"].items()
        limits += counted["limits"].items()
        guaranteed &= set(counted["limits"]) == {"cpu", "memory"}
        guaranteed &= counted["requests"] == counted["limits"]
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
