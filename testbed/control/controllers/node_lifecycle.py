"""Node lifecycle: a node whose kubelet falls silent becomes NotReady, and its Pods are moved.

Pods leave a node that is tainted NoExecute or deleted, too.

Source: pkg/controller/nodelifecycle, tainteviction and podgc. Silence is told by
`silent_for`, which the lab gives: seconds since the node's kubelet was last heard, None while it is
heard.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable

from testbed.api.documents import Document, name_of
from testbed.api.objects import LABEL_ZONE
from testbed.control import pods
from testbed.control.controllers.base import (
    ClusterApi,
    Controller,
    Key,
    RetryError,
    set_condition,
)
from testbed.control.controllers.taint_eviction import TaintEviction, mark_disrupted
from testbed.control.store import Event, EventType, NotFoundError

#: Silence after which a node is no longer trusted. Source: --node-monitor-grace-period.
GRACE_PERIOD = 50.0
#: Time that a deleted node has to come back before its Pods go. Source: podgc quarantineTime.
QUARANTINE = 40.0
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
#: The taint that a condition in a state stands for. Source: nodeConditionToTaintKeyStatusMap.
TAINT_OF = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
}
#: What a kubelet says of a node that is well: condition → status, reason, message. Nobody knows of
#: them while it is silent. Source: pkg/kubelet/nodestatus/setters.go.
FROM_KUBELET = {
    "MemoryPressure": (
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    "Ready": ("True", "KubeletReady", "kubelet is posting ready status"),
}
#: The part of a zone's nodes from which on their trouble is taken to be the zone's.
PARTIAL = 0.55
EXCLUDED = "node.kubernetes.io/exclude-disruption"
_REGION = "topology.kubernetes.io/region"


def well(now: str) -> list[Document]:
    """The conditions of a node that is well, as its kubelet posts them."""
    return [
        {
            "type": kind,
            "status": status,
            "lastHeartbeatTime": now,
            "reason": reason,
            "message": message,
        }
        for kind, (status, reason, message) in FROM_KUBELET.items()
    ]


class NodeLifecycleController(Controller):
    resources = ("nodes", "pods")

    def __init__(
        self,
        api: ClusterApi,
        silent_for: Callable[[str], float | None],
        evicting: ClusterApi | None = None,
    ) -> None:
        """`evicting` is the client of taint eviction, which is a controller of its own."""
        super().__init__(api)
        self._silent_for = silent_for
        self._eviction = TaintEviction(evicting or api)
        #: The nodes that were told of, as they were last.
        self._known: dict[str, Document] = {}
        #: When nodes with Pods were first missed, on the lab's clock.
        self._missed: dict[str, float] = {}

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "nodes":
            yield from super().keys_for(event)
            if event.old is None or _ready(event.old) != _ready(event.object):
                # Whether Pods are evicted depends on how many nodes there are left.
                for node in self.store.list("nodes"):
                    yield "", name_of(node)
            return
        spec, old = event.object["spec"], (event.old or {}).get("spec") or {}
        new = any(spec.get(field) != old.get(field) for field in ("nodeName", "tolerations"))
        gone = event.type is EventType.DELETED and self._eviction.awaits(event.object)
        if spec.get("nodeName") and (new or gone):
            yield "", spec["nodeName"]

    def reconcile(self, key: Key) -> None:
        node = self.store.find("nodes", *key)
        if node is None:
            self._forget(key[1])
            return
        self._missed.pop(key[1], None)
        self._register(node)
        silence = self._silent_for(key[1])
        waits: list[float] = []
        if silence is None:
            self._hear(node)
        elif silence < GRACE_PERIOD:
            waits.append(GRACE_PERIOD - silence)
        else:
            self._miss(node)
            self._mark_pods(key)
        self._taint(self.store.get("nodes", *key))
        waits += self._eviction.run(self.store.get("nodes", *key), self._pods_on(key[1]))
        if waits:
            raise RetryError(max(min(waits), 0.001), "waiting for the kubelet or for tolerations")

    # nodes that come and go

    def _register(self, node: Document) -> None:
        known = self._known.get(name_of(node))
        self._known[name_of(node)] = node
        if known is None or known["metadata"]["uid"] != node["metadata"]["uid"]:
            self._tell(node, "RegisteredNode", f"Registered Node {name_of(node)} in Controller")

    def _forget(self, name: str) -> None:
        known = self._known.pop(name, None)
        if known is not None:
            self._tell(known, "RemovingNode", f"Removing Node {name} from Controller")
        self._collect(name)

    def _tell(self, node: Document, reason: str, words: str) -> None:
        self.api.event(node, "Normal", reason, f"Node {name_of(node)} event: {words}")

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
                reason, message = "DeletionByPodGC", "PodGC: node no longer exists"
                mark_disrupted(self.api, pod, reason, message, failed=True)
                self.api.delete("pods", *pods.key_of(pod), grace=0)

    # the kubelet

    def _hear(self, node: Document) -> None:
        """The kubelet is heard again: the node is as well as it says."""
        if _ready(node) != "Unknown":
            return
        changed = copy.deepcopy(node)
        now = self.store.timestamp()
        for condition in well(now):
            set_condition(changed["status"], condition, now)
        self.api.update("nodes", changed, status=True)
        message = f"Node {name_of(node)} status is now: NodeReady"
        self.api.event(node, "Normal", "NodeReady", message)

    def _miss(self, node: Document) -> None:
        """The kubelet has been silent for too long: nothing of what it said holds."""
        changed = copy.deepcopy(node)
        status, now = changed.setdefault("status", {}), self.store.timestamp()
        known = {entry["type"]: entry["status"] for entry in status.get("conditions") or ()}
        never = {
            "reason": "NodeStatusNeverUpdated",
            "message": "Kubelet never posted node status.",
            "lastHeartbeatTime": node["metadata"].get("creationTimestamp"),
        }
        stopped = {
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
        }
        for kind in FROM_KUBELET if "Ready" not in known else known:
            if kind in FROM_KUBELET and known.get(kind) != "Unknown":
                words = stopped if kind in known else never
                set_condition(status, {"type": kind, "status": "Unknown", **words}, now)
        if changed == node:
            return
        self.api.update("nodes", changed, status=True)
        message = f"Node {name_of(node)} status is now: NodeNotReady"
        self.api.event(node, "Normal", "NodeNotReady", message)

    def _mark_pods(self, key: Key) -> None:
        """The Pods of a silent node aren't ready either. Source: MarkPodsNotReady.

        Where the kubelet speaks, it has the last word on its Pods.
        """
        for pod in self._pods_on(key[1]):
            if pods.is_ready(pod):
                changed = copy.deepcopy(pod)
                not_ready = {"type": "Ready", "status": "False"}
                set_condition(changed["status"], not_ready, self.store.timestamp())
                self.api.update("pods", changed, status=True)
                self.api.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    def _pods_on(self, node: str) -> list[Document]:
        return [pod for pod in self.store.list("pods") if pod["spec"].get("nodeName") == node]

    # taints

    def _taint(self, node: Document) -> None:
        """Bring the taints that conditions and cordons stand for in line with them.

        Source: doNoScheduleTaintingPass, processTaintBaseEviction.
        """
        have = (node.get("spec") or {}).get("taints") or []
        wanted = self._wanted(node)
        kept = [t for t in have if not _is_ours(t) or (t["key"], t["effect"]) in wanted]
        there = {(t["key"], t["effect"]) for t in kept}
        now = self.store.timestamp()
        added = [
            {"key": key, "effect": effect, "timeAdded": now}
            for key, effect in wanted
            if (key, effect) not in there
        ]
        if not added and kept == have:
            return
        changed = copy.deepcopy(node)
        changed.setdefault("spec", {})["taints"] = [*kept, *added]
        if not changed["spec"]["taints"]:
            del changed["spec"]["taints"]
        self.api.update("nodes", changed)

    def _wanted(self, node: Document) -> list[tuple[str, str]]:
        """(key, effect) of the taints that the node should have."""
        wanted = [
            (TAINT_OF[state], "NoSchedule")
            for entry in (node.get("status") or {}).get("conditions") or ()
            if (state := (entry["type"], entry["status"])) in TAINT_OF
        ]
        if node["spec"].get("unschedulable"):
            wanted.append((UNSCHEDULABLE, "NoSchedule"))
        bad = TAINT_OF.get(("Ready", _ready(node)))
        if bad is not None:
            keys = (NOT_READY, UNREACHABLE)
            held = any(
                t["effect"] == "NoExecute" and t["key"] in keys
                for t in node["spec"].get("taints") or ()
            )
            if self._may_evict(node, held=held):
                wanted.append((bad, "NoExecute"))
        return wanted

    def _may_evict(self, node: Document, *, held: bool) -> bool:
        """Whether Pods should leave a node that isn't ready.

        Not where no node at all is ready: then it is the control plane that is cut off. Nor where
        most of a zone of more than two is gone, unless it was decided already (`held`). Source:
        handleDisruption, ComputeZoneState, ReducedQPSFunc for small clusters.
        """
        counted = [n for n in self.store.list("nodes") if EXCLUDED not in _labels(n)]
        if counted and all(map(self._is_down, counted)):
            return False
        mine = [n for n in counted if _zone(n) == _zone(node)]
        down = sum(map(self._is_down, mine))
        return held or down <= 2 or down / len(mine) < PARTIAL

    def _is_down(self, node: Document) -> bool:
        """Not ready, or about to be called so: nodes that fall silent together count together."""
        silent = (self._silent_for(name_of(node)) or 0) >= GRACE_PERIOD
        return silent or _ready(node) in ("False", "Unknown")


def _labels(node: Document) -> dict[str, str]:
    return node["metadata"].get("labels") or {}


def _zone(node: Document) -> tuple[str, str]:
    labels = _labels(node)
    return labels.get(_REGION, ""), labels.get(LABEL_ZONE, "")


def _ready(node: Document) -> str:
    """The status of condition Ready; "" where the kubelet never posted one, which counts as well.

    A node that a user's program writes has no kubelet here that could fall silent.
    """
    for entry in (node.get("status") or {}).get("conditions") or ():
        if entry.get("type") == "Ready":
            return str(entry.get("status"))
    return ""


def _is_ours(taint: Document) -> bool:
    """Whether a taint is one that this controller gives and takes away."""
    if taint["effect"] == "NoSchedule":
        return taint["key"] == UNSCHEDULABLE or taint["key"] in TAINT_OF.values()
    return taint["effect"] == "NoExecute" and taint["key"] in (NOT_READY, UNREACHABLE)
