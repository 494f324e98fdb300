"""Node lifecycle: a node whose kubelet falls silent becomes NotReady, and its Pods are moved.

Source: pkg/controller/nodelifecycle and tainteviction. Silence is told by `silent_for`, which the
lab gives: seconds since the node's kubelet was last heard, None while it is heard.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable
from datetime import datetime

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
NOT_READY = "node.kubernetes.io/not-ready"
_MESSAGE = "Kubelet stopped posting node status."


class NodeLifecycleController(Controller):
    resources = ("nodes", "pods")

    def __init__(self, api: ClusterApi, silent_for: Callable[[str], float | None]) -> None:
        super().__init__(api)
        self._silent_for = silent_for

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "nodes":
            yield from super().keys_for(event)
        elif event.old is None and event.object["spec"].get("nodeName"):
            yield "", event.object["spec"]["nodeName"]

    def reconcile(self, key: Key) -> None:
        node = self.store.find("nodes", *key)
        if node is None:
            return
        silence = self._silent_for(key[1])
        if silence is None:
            self._recover(node)
            return
        if silence < GRACE_PERIOD:
            raise RetryError(GRACE_PERIOD - silence, "waiting for the kubelet")
        self._mark_unreachable(node)
        self._mark_pods_not_ready(key[1])
        self._evict(self.store.get("nodes", *key))

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

    def _evict(self, node: Document) -> None:
        """Delete Pods whose toleration of the taint has run out; look again when the next does."""
        taint = next(
            t
            for t in node["spec"]["taints"]
            if (t["key"], t["effect"]) == (UNREACHABLE, "NoExecute")
        )
        added = datetime.fromisoformat(taint["timeAdded"].replace("Z", "+00:00")).timestamp()
        waits: list[float] = []
        for pod in self._pods_on(name_of(node)):
            if pods.is_terminating(pod):
                continue
            tolerated = toleration_seconds(pod, taint)
            if tolerated is None:
                continue
            left = added + tolerated - self.api.clock.wall()
            if left > 0:
                waits.append(left)
                continue
            full = f"{namespace_of(pod)}/{name_of(pod)}"
            self.api.event(
                pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {full}"
            )
            with contextlib.suppress(NotFoundError):
                self.api.delete("pods", namespace_of(pod), name_of(pod))
        if waits:
            raise RetryError(max(min(waits), 0.001), "waiting for tolerations to run out")


def toleration_seconds(pod: Document, taint: Document) -> float | None:
    """How long the Pod bears a NoExecute taint: 0 at once, None for ever."""
    found: list[float] = []
    for toleration in pod["spec"].get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if toleration.get("operator", "Equal") == "Exists":
            fits = toleration.get("key") in (None, "", taint["key"])
        else:
            value = taint.get("value") or ""
            fits = toleration.get("key") == taint["key"] and toleration.get("value", "") == value
        if fits:
            if toleration.get("tolerationSeconds") is None:
                return None
            found.append(float(toleration["tolerationSeconds"]))
    return min(found, default=0.0)
