"""Scheduler: gives each Pod without a node the fitting one that runs the fewest like it.

Source: pkg/scheduler (schedule_one.go, framework/types.go FitError, preemption.go); the filters are
in `placement`. Of the scores there is what decides in a lab without load. Nobody is preempted: all
Pods of a lab have one priority.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control import pods
from testbed.control.controllers.base import (
    ClusterApi,
    Controller,
    Key,
    RetryError,
    owner_of,
    set_condition,
)
from testbed.control.controllers.fitting import labels_of, named_nodes
from testbed.control.controllers.placement import Placement, Refusal, Snapshot, terms
from testbed.control.store import Event

NAME = "default-scheduler"
CONFLICT = "pod affinity terms conflict"
NO_NODES = "no nodes available to schedule pods"
_HOPELESS = "Preemption is not helpful for scheduling"
_NO_VICTIMS = "No preemption victims found for incoming pod"


class Scheduler(Controller):
    resources = ("pods", "nodes")

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        #: Pods that nowhere took which may go where others have gone: by affinity or spread.
        self._hoping: set[Key] = set()

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods" and event.type.value != "DELETED":
            if not event.object["spec"].get("nodeName"):
                yield from super().keys_for(event)
            elif event.old is None or _changed(event.old, event.object):
                yield from tuple(self._hoping)
            return
        # A node that came, or room that was freed, may fit Pods that are waiting.
        for pod in self.store.list("pods"):
            if not pod["spec"].get("nodeName"):
                yield namespace_of(pod), name_of(pod)

    def reconcile_all(self, keys: Sequence[Key]) -> dict[Key, RetryError]:
        self._hoping.difference_update(keys)
        waiting = [pod for key in keys if (pod := self.store.find("pods", *key)) and _waits(pod)]
        if not waiting:
            return {}
        placed = [pod for pod in self.store.list("pods") if pod["spec"].get("nodeName")]
        namespaces = {
            name_of(each): each["metadata"].get("labels") or {}
            for each in self.store.list("namespaces")
        }
        snapshot = Snapshot(self.store.list("nodes"), placed, namespaces)
        alike: dict[str, Counter[str]] = {}
        everyone: Counter[str] = Counter()
        for pod in placed:
            if pods.is_active(pod):
                everyone[pod["spec"]["nodeName"]] += 1
                alike.setdefault(_group(pod), Counter())[pod["spec"]["nodeName"]] += 1
        for pod in waiting:
            self._place(pod, snapshot, alike.setdefault(_group(pod), Counter()), everyone)
        return {}

    def _place(
        self, pod: Document, snapshot: Snapshot, alike: Counter[str], everyone: Counter[str]
    ) -> None:
        placement = Placement(pod, snapshot)
        named = named_nodes(pod["spec"])
        looked_at = [n for name, n in snapshot.nodes.items() if named is None or name in named]
        refusals = {name_of(node): placement.refusal(node) for node in looked_at}
        fitting = [node for node in looked_at if refusals[name_of(node)] is None]
        if not fitting:
            refused = {name: no for name, no in refusals.items() if no is not None}
            if terms(pod, "podAffinity") or pod["spec"].get("topologySpreadConstraints"):
                self._hoping.add((namespace_of(pod), name_of(pod)))
            self._refuse(pod, why_nowhere(pod, len(snapshot.nodes), refused, named))
            return
        costs = {name_of(node): placement.cost(node) for node in fitting}
        chosen = min(costs, key=lambda name: (costs[name], alike[name], everyone[name], name))
        alike[chosen] += 1
        everyone[chosen] += 1
        snapshot.add(self.api.bind(pod, chosen))
        full = f"{namespace_of(pod)}/{name_of(pod)}"
        self.api.event(pod, "Normal", "Scheduled", f"Successfully assigned {full} to {chosen}")

    def _refuse(self, pod: Document, message: str) -> None:
        if pods.condition(pod, "PodScheduled").get("message") == message:
            return
        changed = copy.deepcopy(pod)
        condition: Document = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": None,
        }
        if generation := pod["metadata"].get("generation"):
            condition["observedGeneration"] = generation
        set_condition(changed.setdefault("status", {}), condition, self.store.timestamp())
        self.api.update("pods", changed, status=True)
        self.api.event(pod, "Warning", "FailedScheduling", message)


def why_nowhere(
    pod: Document, total: int, refusals: Mapping[str, Refusal], named: set[str] | None
) -> str:
    """Why no node of `total` fits, in the scheduler's words.

    `refusals` are those of the nodes that were looked at; `named` those that affinity names.
    """
    if not total:
        return NO_NODES
    skipped = total - len(refusals)
    if named == set():
        return f"0/{total} nodes are available: {CONFLICT}. {_preemption(pod, total, {})}"
    reasons = Counter(reason for no in refusals.values() for reason in no.reasons)
    if skipped:
        reasons["node(s) didn't satisfy plugin(s) [NodeAffinity]"] += skipped
    return f"{_listed(total, reasons)} {_preemption(pod, total, refusals)}"


def _preemption(pod: Document, total: int, refusals: Mapping[str, Refusal]) -> str:
    """What the plugins that look for a way out say: claims to deallocate, Pods to preempt."""
    claims = "no new claims to deallocate, preemption:"
    if pod["spec"].get("preemptionPolicy") == "Never":
        return f"{claims} not eligible due to preemptionPolicy=Never."
    open_ones = sum(no.resolvable for no in refusals.values())
    return f"{claims} {_listed(total, {_NO_VICTIMS: open_ones, _HOPELESS: total - open_ones})}"


def _listed(total: int, reasons: Mapping[str, int]) -> str:
    """Source: FitError.Error: sorted as text, the count first."""
    parts = sorted(f"{count} {reason}" for reason, count in reasons.items() if count)
    return f"0/{total} nodes are available: {', '.join(parts)}."


def _changed(old: Document, new: Document) -> bool:
    """Whether a placed Pod means something else to those who wait."""
    nodes = {state["spec"].get("nodeName") for state in (old, new)}
    return len(nodes) > 1 or dict(labels_of(old)) != dict(labels_of(new))


def _waits(pod: Document) -> bool:
    """Whether the Pod is this scheduler's to place, now."""
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and pods.is_active(pod)
        and not spec.get("schedulingGates")
        and (spec.get("schedulerName") or NAME) == NAME
    )


def _group(pod: Document) -> str:
    """Pods alike: those of one owner, or by themselves."""
    owner = owner_of(pod)
    return str(owner["uid"]) if owner else f"{namespace_of(pod)}/{name_of(pod)}"
