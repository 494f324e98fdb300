"""Node lifecycle: a node whose kubelet falls silent becomes NotReady, and its Pods are moved.

Pods leave a node that is tainted NoExecute or deleted, too.

Source: pkg/controller/nodelifecycle, tainteviction and podgc. Silence is told by
`silent_for`, which the lab gives: seconds since the node's kubelet was last heard, None while it is
heard.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Sequence

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control import pods
from testbed.control.controllers.base import (
    ClusterApi,
    Controller,
    Key,
    RetryError,
    set_condition,
)
from testbed.control.store import Event, NotFoundError

#: Silence after which a node is no longer trusted. Source: --node-monitor-grace-period.
GRACE_PERIOD = 50.0
UNREACHABLE = "node.kubernetes.io/unreachable"
#: Time that a deleted node has to come back before its Pods go. Source: podgc quarantineTime.
QUARANTINE = 40.0
_MESSAGE = "Kubelet stopped posting node status."


class NodeLifecycleController(Controller):
    resources = ("nodes", "pods")

    def __init__(self, api: ClusterApi, silent_for: Callable[[str], float | None]) -> None:
        super().__init__(api)
        self._silent_for = silent_for
        #: When nodes with Pods were first missed, on the lab's clock.
        self._missed: dict[str, float] = {}
        #: Since when (on the lab's clock) the Pods of a node, by uid, bear its taints for a time.
        self._bearing: dict[str, dict[str, float]] = {}

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "nodes":
            yield from super().keys_for(event)
            return
        spec, old = event.object["spec"], (event.old or {}).get("spec") or {}
        if spec.get("nodeName") and any(
            spec.get(field) != old.get(field) for field in ("nodeName", "tolerations")
        ):
            yield "", spec["nodeName"]

    def reconcile(self, key: Key) -> None:
        node = self.store.find("nodes", *key)
        if node is None:
            self._collect(key[1])
            return
        self._missed.pop(key[1], None)
        silence = self._silent_for(key[1])
        waits: list[float] = []
        if silence is None:
            self._recover(node)
        elif silence < GRACE_PERIOD:
            waits.append(GRACE_PERIOD - silence)
        else:
            self._mark_unreachable(node)
            self._mark_pods_not_ready(key[1])
        waits += self._evict(self.store.get("nodes", *key))
        if waits:
            raise RetryError(max(min(waits), 0.001), "waiting for the kubelet or for tolerations")

    def _collect(self, name: str) -> None:
        """Delete the Pods of a node that stays away, without asking its kubelet."""
        orphans = self._pods_on(name)
        if not orphans:
            self._missed.pop(name, None)
            return
        now = self.api.clock.now()
        left = self._missed.setdefault(name, now) + QUARANTINE - now
        if left > 0:
            raise RetryError(left, "waiting for the node to come back")
        for pod in orphans:
            with contextlib.suppress(NotFoundError):
                self.api.delete("pods", *pods.key_of(pod), grace=0)

    def _recover(self, node: Document) -> None:
        taints = (node.get("spec") or {}).get("taints") or []
        kept = [t for t in taints if t["key"] != UNREACHABLE]
        if kept == taints:
            return
        changed = copy.deepcopy(node)
        changed["spec"]["taints"] = kept
        if not kept:
            del changed["spec"]["taints"]
        now = self.store.timestamp()
        set_condition(
            changed["status"],
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": now,
            },
            now,
        )
        self.api.update("nodes", changed)
        self.api.event(
            node, "Normal", "NodeReady", f"Node {name_of(node)} status is now: NodeReady"
        )

    def _mark_unreachable(self, node: Document) -> None:
        taints = (node.get("spec") or {}).get("taints") or []
        if any(t["key"] == UNREACHABLE for t in taints):
            return
        changed = copy.deepcopy(node)
        now = self.store.timestamp()
        changed.setdefault("spec", {})["taints"] = [
            *taints,
            {"key": UNREACHABLE, "effect": "NoSchedule", "timeAdded": now},
            {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": now},
        ]
        set_condition(
            changed["status"],
            {
                "type": "Ready",
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": _MESSAGE,
            },
            now,
        )
        self.api.update("nodes", changed)
        self.api.event(
            node, "Normal", "NodeNotReady", f"Node {name_of(node)} status is now: NodeNotReady"
        )

    def _pods_on(self, node: str) -> list[Document]:
        return [pod for pod in self.store.list("pods") if pod["spec"].get("nodeName") == node]

    def _mark_pods_not_ready(self, node: str) -> None:
        for pod in self._pods_on(node):
            if pods.is_ready(pod):
                changed = copy.deepcopy(pod)
                set_condition(
                    changed["status"], {"type": "Ready", "status": "False"}, self.store.timestamp()
                )
                self.api.update("pods", changed, status=True)
                self.api.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    def _evict(self, node: Document) -> list[float]:
        """Delete Pods that bear the NoExecute taints no longer; seconds until the others won't."""
        taints = [t for t in node["spec"].get("taints") or () if t["effect"] == "NoExecute"]
        before = self._bearing.pop(name_of(node), {})
        now, waits = self.api.clock.now(), []
        bearing: dict[str, float] = {}
        for pod in self._pods_on(name_of(node)) if taints else ():
            tolerated = toleration_seconds(pod, taints)
            if tolerated is None or pods.is_terminating(pod):
                continue
            uid = pod["metadata"]["uid"]
            bearing[uid] = before.get(uid, now)
            left = bearing[uid] + tolerated - now
            if left > 0:
                waits.append(left)
                continue
            full = f"{namespace_of(pod)}/{name_of(pod)}"
            message = f"Marking for deletion Pod {full}"
            self.api.event(pod, "Normal", "TaintManagerEviction", message)
            with contextlib.suppress(NotFoundError):
                self.api.delete("pods", *pods.key_of(pod))
        if bearing:
            self._bearing[name_of(node)] = bearing
        return waits


def toleration_seconds(pod: Document, taints: Sequence[Document]) -> float | None:
    """How long the Pod bears these NoExecute taints: 0 at once, None for ever.

    Of each taint the first toleration that fits counts. Source: tainteviction processPodOnNode.
    """
    limits: list[float] = []
    for taint in taints:
        fitting = (t for t in pod["spec"].get("tolerations") or () if _tolerates(t, taint))
        toleration = next(fitting, None)
        if toleration is None:
            return 0.0
        if toleration.get("tolerationSeconds") is not None:
            limits.append(max(0.0, float(toleration["tolerationSeconds"])))
    return min(limits, default=None)


def _tolerates(toleration: Document, taint: Document) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (
        taint.get("value") or ""
    )
