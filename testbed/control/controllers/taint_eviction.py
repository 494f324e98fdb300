"""Taint eviction: Pods leave a node whose NoExecute taints they don't bear, or no longer.

Source: pkg/controller/tainteviction.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Sequence

from testbed.api.documents import Document, name_of
from testbed.control import pods
from testbed.control.controllers.base import ClusterApi, set_condition
from testbed.control.store import NotFoundError

DISRUPTION = "DisruptionTarget"


class TaintEviction:
    """Deletes the Pods of tainted nodes in their time."""

    def __init__(self, api: ClusterApi) -> None:
        self._api = api
        #: Since when (on the lab's clock) the Pods of a node, by uid, bear its taints for a time.
        self._bearing: dict[str, dict[str, float]] = {}

    def run(self, node: Document, on_it: Iterable[Document]) -> list[float]:
        """Evict whoever's time is over; seconds until that of the others is."""
        taints = [t for t in node["spec"].get("taints") or () if t["effect"] == "NoExecute"]
        before = self._bearing.pop(name_of(node), {})
        now, waits = self._api.clock.now(), []
        bearing: dict[str, float] = {}
        for pod in on_it:
            uid = pod["metadata"]["uid"]
            tolerated = toleration_seconds(pod, taints) if taints else None
            if tolerated is None or pods.is_terminating(pod):
                if uid in before and not pods.is_terminating(pod):
                    self._tell(pod, "Cancelling deletion of Pod")
                continue
            bearing[uid] = before.get(uid, now)
            left = bearing[uid] + tolerated - now
            if left > 0:
                waits.append(left)
                continue
            self._tell(pod, "Marking for deletion Pod")
            reason = "DeletionByTaintManager"
            message = "Taint manager: deleting due to NoExecute taint"
            with contextlib.suppress(NotFoundError):
                mark_disrupted(self._api, pod, reason, message)
                self._api.delete("pods", *pods.key_of(pod))
        if bearing:
            self._bearing[name_of(node)] = bearing
        return waits

    def _tell(self, pod: Document, words: str) -> None:
        message = f"{words} {'/'.join(pods.key_of(pod))}"
        self._api.event(pod, "Normal", "TaintManagerEviction", message)


def mark_disrupted(
    api: ClusterApi, pod: Document, reason: str, message: str, *, failed: bool = False
) -> None:
    """Say in the Pod's status that it is about to be deleted, and why; with `failed` as its end."""
    changed = copy.deepcopy(pod)
    status = changed.setdefault("status", {})
    condition = {"type": DISRUPTION, "status": "True", "reason": reason, "message": message}
    if generation := pod["metadata"].get("generation"):
        condition["observedGeneration"] = generation
    set_condition(status, condition, api.store.timestamp())
    if failed and status.get("phase") not in pods.TERMINAL_PHASES:
        status["phase"] = "Failed"
    api.update("pods", changed, status=True)


def toleration_seconds(pod: Document, taints: Sequence[Document]) -> float | None:
    """How long the Pod bears these NoExecute taints: 0 at once, None for ever.

    Of each taint the first toleration that fits counts. Source: processPodOnNode.
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
