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
        #: By node, by uid: Pods that bear its taints for a time, and when (on the lab's clock) it
        #: is over.
        self._due: dict[str, dict[str, tuple[Document, float]]] = {}

    def awaits(self, pod: Document) -> bool:
        """Whether the Pod is to go."""
        return pod["metadata"]["uid"] in self._due.get(pod["spec"].get("nodeName", ""), ())

    def run(self, node: Document, on_it: Iterable[Document]) -> list[float]:
        """Evict whoever's time is over; seconds until that of the others is.

        A time that is set stays, also where taints come that are borne for longer or shorter.
        """
        taints = [t for t in node["spec"].get("taints") or () if t["effect"] == "NoExecute"]
        before = self._due.pop(name_of(node), {})
        now = self._api.clock.now()
        due: dict[str, tuple[Document, float]] = {}
        for pod in on_it:
            uid = pod["metadata"]["uid"]
            tolerated = toleration_seconds(pod, taints) if taints else None
            if tolerated is None or (pods.is_terminating(pod) and uid not in before):
                continue
            _, when = before.pop(uid, (pod, now + tolerated))
            if tolerated and when > now:
                due[uid] = pod, when
            else:
                self._evict(pod)
        for pod, _ in before.values():
            self._tell(pod, "Cancelling deletion of Pod")
        if due:
            self._due[name_of(node)] = due
        return [when - now for _, when in due.values()]

    def _evict(self, pod: Document) -> None:
        self._tell(pod, "Marking for deletion Pod")
        message = "Taint manager: deleting due to NoExecute taint"
        with contextlib.suppress(NotFoundError):
            mark_disrupted(self._api, pod, "DeletionByTaintManager", message)
            self._api.delete("pods", *pods.key_of(pod))

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
