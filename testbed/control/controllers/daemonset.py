"""DaemonSet: one Pod on every node that it fits, replaced node by node.

Source: pkg/controller/daemon (daemon_controller.go, update.go), daemon/util.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.status import StatusError
from testbed.control import pods
from testbed.control.controllers import ownership, revisions
from testbed.control.controllers.base import Controller, Key, RetryError
from testbed.control.controllers.scheduler import affine, tolerates
from testbed.control.store import Event

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


class DaemonSetController(Controller):
    resources = ("daemonsets", "pods", "nodes")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods":
            yield from ownership.concerned(self.api, "daemonsets", "DaemonSet", event)
        elif event.resource == "daemonsets":
            yield from super().keys_for(event)
        elif event.old is None or _fitness(event.old) != _fitness(event.object):
            for owner in self.store.list("daemonsets"):
                yield namespace_of(owner), name_of(owner)

    def reconcile(self, key: Key) -> None:
        owner = self.store.find("daemonsets", *key)
        if owner is None:
            return
        ownership.claim(self.api, owner)
        update, others = revisions.ensure(self.api, owner)
        again: RetryError | None = None
        if not owner["metadata"].get("deletionTimestamp"):
            try:
                self._manage(owner, update)
                self._roll(owner, update)
            except RetryError as retry:
                again = retry
        by_node = self._pods(owner)
        everyone = [pod for members in by_node.values() for pod in members]
        self._update_status(owner, by_node, update)
        revisions.trim(self.api, owner, others, [str(_revision(pod)) for pod in everyone])
        now = self.api.clock.wall()
        waits = [pods.seconds_until_available(pod, _min_ready(owner), now) for pod in everyone]
        if again is not None:
            raise again
        if any(waits):
            raise RetryError(min(w for w in waits if w), "waiting for minReadySeconds")

    def _pods(self, owner: Document) -> dict[str, list[Document]]:
        """The daemons by the node that they are (or will be) on, oldest first."""
        found: dict[str, list[Document]] = {}
        for pod in ownership.claim(self.api, owner):
            found.setdefault(_node_of(pod), []).append(pod)
        for members in found.values():
            members.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], name_of(pod)))
        return found

    # one Pod on each node

    def _manage(self, owner: Document, update: Document) -> None:
        by_node = self._pods(owner)
        nodes = self.store.list("nodes")
        for node in nodes:
            members = by_node.pop(name_of(node), [])
            should_run, may_stay = fits(owner, node)
            for pod in [p for p in members if _is_over(p)]:
                self._delete(owner, pod)
            live = [p for p in members if pods.is_active(p)]
            if should_run and not live and not any(map(pods.is_terminating, members)):
                self._create(owner, name_of(node), update)
            surplus = live if not may_stay else _surplus(owner, live, update)
            for pod in surplus:
                self._delete(owner, pod)
        for members in by_node.values():  # the node is gone
            for pod in members:
                if pods.is_active(pod):
                    self._delete(owner, pod)

    # replacing

    def _roll(self, owner: Document, update: Document) -> None:
        """Replace Pods of older revisions while few enough nodes are without a daemon."""
        strategy = owner["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        rolling = strategy.get("rollingUpdate") or {}
        by_node = self._pods(owner)
        wanted = [n for n in self.store.list("nodes") if fits(owner, n)[0]]
        unavailable, surge = (
            _count(rolling.get(name, default), len(wanted))
            for name, default in (("maxUnavailable", 1), ("maxSurge", 0))
        )
        old: list[tuple[Document, bool]] = []
        for node in wanted:
            live = [p for p in by_node.get(name_of(node), []) if pods.is_active(p)]
            behind = [p for p in live if _revision(p) != name_of(update)]
            available = any(self._is_available(owner, p) for p in live)
            if surge:
                if behind and len(live) == 1:
                    if surge > 0 or not available:
                        surge -= 1
                        self._create(owner, name_of(node), update)
                elif behind:
                    surge -= 1
            elif behind:
                old.append((behind[0], available))
            elif not available:
                unavailable -= 1
        for pod, available in old:
            if not available:
                self._delete(owner, pod)
                unavailable -= 1
        for pod, available in old:
            if available and unavailable > 0:
                self._delete(owner, pod)
                unavailable -= 1

    def _is_available(self, owner: Document, pod: Document) -> bool:
        now = self.api.clock.wall()
        return pods.seconds_until_available(pod, _min_ready(owner), now) == 0

    def _create(self, owner: Document, node: str, update: Document) -> None:
        template = copy.deepcopy(owner["spec"]["template"])
        pod = pods.from_template(template, owner)
        label = update["metadata"]["labels"][revisions.LABEL]
        pod["metadata"]["labels"] = {**pod["metadata"]["labels"], revisions.LABEL: label}
        spec = pod["spec"]
        spec["tolerations"] = daemon_tolerations(spec)
        spec["affinity"] = pinned(spec.get("affinity"), node)
        try:
            made = self.api.create("pods", pod)
        except StatusError as error:
            self.api.event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise RetryError(5, str(error)) from None
        self.api.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name_of(made)}")

    def _delete(self, owner: Document, pod: Document) -> None:
        self.api.delete("pods", *pods.key_of(pod))
        self.api.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    # status

    def _update_status(
        self, owner: Document, by_node: dict[str, list[Document]], update: Document
    ) -> None:
        found = self.store.find("daemonsets", *pods.key_of(owner))
        if found is None:
            return
        counts = dict.fromkeys(_COUNTS, 0)
        for node in self.store.list("nodes"):
            live = [p for p in by_node.get(name_of(node), []) if pods.is_active(p)]
            if not fits(owner, node)[0]:
                counts["numberMisscheduled"] += bool(live)
                continue
            counts["desiredNumberScheduled"] += 1
            counts["currentNumberScheduled"] += bool(live)
            counts["numberReady"] += any(map(pods.is_ready, live))
            counts["numberAvailable"] += any(self._is_available(owner, p) for p in live)
            counts["updatedNumberScheduled"] += any(_revision(p) == name_of(update) for p in live)
        counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
        status = {k: v for k, v in counts.items() if v or k in _COUNTS[:4]}
        status["observedGeneration"] = found["metadata"]["generation"]
        if collisions := (found.get("status") or {}).get("collisionCount"):
            status["collisionCount"] = collisions
        if found.get("status") != status:
            self.api.update("daemonsets", {**found, "status": status}, status=True)


#: The counts of a status; the first four are always written.
_COUNTS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
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


def _node_of(pod: Document) -> str:
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


def _surplus(owner: Document, live: list[Document], update: Document) -> list[Document]:
    """Daemons to delete: all but the oldest; of two revisions, the old ones once a new is ready."""
    new = [pod for pod in live if _revision(pod) == name_of(update)]
    old = [pod for pod in live if pod not in new]
    if new and old:
        return old + new[1:] if pods.is_ready(new[0]) else new[1:]
    return live[1:]


def _revision(pod: Document) -> str:
    """The name of the ControllerRevision that a daemon was made from."""
    label = (pod["metadata"].get("labels") or {}).get(revisions.LABEL) or ""
    return f"{pods.owner_name(pod)}-{label}"


def _is_over(pod: Document) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in pods.TERMINAL_PHASES and not pods.is_terminating(pod)


def _min_ready(owner: Document) -> int:
    return int(owner["spec"].get("minReadySeconds") or 0)


def _count(value: int | str, total: int) -> int:
    """A number of nodes; percentages are rounded up."""
    return value if isinstance(value, int) else math.ceil(int(value.rstrip("%")) * total / 100)


def _fitness(node: Document) -> tuple[object, ...]:
    """What of a node decides whether a daemon fits."""
    spec = node.get("spec") or {}
    return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable")
