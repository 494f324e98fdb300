"""Defaults of Deployment, ReplicaSet, StatefulSet and DaemonSet.

Source: pkg/apis/apps/v1/defaults.go.
"""

from __future__ import annotations

from testbed.api.defaults.pod import claim_spec, pod_template
from testbed.api.documents import Document

HISTORY_LIMIT = 10
PROGRESS_SECONDS = 600


def deployment(document: Document) -> None:
    spec = _spec(document)
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", HISTORY_LIMIT)
    spec.setdefault("progressDeadlineSeconds", PROGRESS_SECONDS)


def replica_set(document: Document) -> None:
    _spec(document).setdefault("replicas", 1)


def stateful_set(document: Document) -> None:
    spec = _spec(document)
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        strategy["rollingUpdate"].setdefault("partition", 0)
        strategy["rollingUpdate"].setdefault("maxUnavailable", 1)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    for name in ("whenDeleted", "whenScaled"):
        if not retention.get(name):
            retention[name] = "Retain"
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", HISTORY_LIMIT)
    for claim in spec.get("volumeClaimTemplates", ()):
        claim_spec(claim.setdefault("spec", {}))
        claim["status"] = {"phase": "Pending"}
        claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"


def daemon_set(document: Document) -> None:
    spec = _spec(document)
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", HISTORY_LIMIT)


def _spec(document: Document) -> Document:
    """`spec`, with the defaults of its template."""
    spec: Document = document.setdefault("spec", {})
    pod_template(spec.setdefault("template", {}))
    return spec


def template_object(document: Document) -> None:
    """A PodTemplate."""
    pod_template(document.setdefault("template", {}))
