"""Where daemons belong, and which they are: nodes that fit, tolerations, revisions. Pure.

Source: pkg/controller/daemon (NodeShouldRunDaemonPod, findUpdatedPodsOnNode), daemon/util.
"""

from __future__ import annotations

from testbed.api.documents import Document, name_of
from testbed.control import pods
from testbed.control.controllers import revisions
from testbed.control.controllers.fitting import affine, tolerates

_NOT = "node.kubernetes.io/"
#: What every daemon bears. Source: AddOrUpdateDaemonPodTolerations.
TOLERATED = (
    (f"{_NOT}not-ready", "NoExecute"),
    (f"{_NOT}unreachable", "NoExecute"),
    (f"{_NOT}disk-pressure", "NoSchedule"),
    (f"{_NOT}memory-pressure", "NoSchedule"),
    (f"{_NOT}pid-pressure", "NoSchedule"),
    (f"{_NOT}unschedulable", "NoSchedule"),
)


def fits(owner: Document, node: Document) -> tuple[bool, bool]:
    """(a daemon should run on the node, one that runs may stay). Source: NodeShouldRunDaemonPod."""
    spec = owner["spec"]["template"]["spec"]
    labels = node["metadata"].get("labels") or {}
    wanted = (spec.get("nodeSelector") or {}).items()
    if spec.get("nodeName") not in (None, "", name_of(node)):
        return False, False
    if not wanted <= labels.items() or not affine(spec, node):
        return False, False
    tolerations = daemon_tolerations(spec)
    untolerated = {
        taint["effect"]
        for taint in (node.get("spec") or {}).get("taints") or ()
        if not any(tolerates(t, taint) for t in tolerations)
    }
    return not untolerated & {"NoSchedule", "NoExecute"}, "NoExecute" not in untolerated


def daemon_tolerations(spec: Document) -> list[Document]:
    """The template's tolerations and those that every daemon has."""
    added = [*TOLERATED]
    if spec.get("hostNetwork"):
        added.append((f"{_NOT}network-unavailable", "NoSchedule"))
    own = list(spec.get("tolerations") or ())
    return own + [
        toleration
        for key, effect in added
        if (toleration := {"key": key, "operator": "Exists", "effect": effect}) not in own
    ]


def pinned(affinity: Document | None, node: str) -> Document:
    """The affinity with its node terms replaced by the node's name."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    node_affinity = {
        **((affinity or {}).get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": required,
    }
    return {**(affinity or {}), "nodeAffinity": node_affinity}


def node_of(pod: Document) -> str:
    """The node that a daemon is on, or is pinned to."""
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def by_age(members: list[Document], update: Document) -> tuple[list[Document], list[Document]]:
    """(daemons of the present revision, those of others) that aren't going."""
    staying = [pod for pod in members if not pods.is_terminating(pod)]
    new = [pod for pod in staying if revision_of(pod) == name_of(update)]
    return new, [pod for pod in staying if pod not in new]


def revision_of(pod: Document) -> str:
    """The name of the ControllerRevision that a daemon was made from."""
    label = (pod["metadata"].get("labels") or {}).get(revisions.LABEL) or ""
    return f"{pods.owner_name(pod)}-{label}"


def fitness(node: Document) -> tuple[object, ...]:
    """What of a node decides whether a daemon fits."""
    spec = node.get("spec") or {}
    return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable")
