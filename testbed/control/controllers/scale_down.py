"""Which Pods a ReplicaSet gives up first. Pure.

Source: pkg/controller/controller_utils.go ActivePodsWithRanks.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cmp_to_key

from testbed.api.documents import Document
from testbed.control import pods

#: What deleting a Pod costs, compared with others of its set; 0 if it doesn't say.
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
#: No plus sign and no leading zeros. Source: helper.GetDeletionCostFromPodAnnotations.
_NUMBER = re.compile(r"-[0-9]+|0|[1-9][0-9]*")
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


class Ranking:
    """An order of Pods: `related` are those that crowd nodes, `wall` is the time in seconds."""

    def __init__(self, related: Iterable[Document], wall: float) -> None:
        self._crowd = Counter(pod["spec"].get("nodeName") for pod in related)
        self._wall = wall

    def worst(self, active: Sequence[Document]) -> list[Document]:
        """The Pods, the one to delete first at the front.

        Without a node before with one; pending before running; unready before ready; the cheaper
        first; those on crowded nodes; those ready for a shorter time; those that restarted more
        often; the younger. Times count as equal within a power of two; then the uid decides.
        """
        return sorted(active, key=cmp_to_key(self._compare))

    def _compare(self, a: Document, b: Document) -> int:
        for left, right in zip(self._plain(a), self._plain(b), strict=True):
            if left != right:
                return left - right
        if pods.is_ready(a) and pods.is_ready(b):
            since = (str(pods.condition(pod, "Ready").get("lastTransitionTime")) for pod in (a, b))
            if decided := self._compare_times(a, b, *since):
                return decided
        for left, right in zip(_restarts(a), _restarts(b), strict=True):
            if left != right:
                return right - left
        made = (pod["metadata"].get("creationTimestamp", "") for pod in (a, b))
        return self._compare_times(a, b, *made)

    def _plain(self, pod: Document) -> tuple[int, ...]:
        phase = (pod.get("status") or {}).get("phase") or "Pending"
        node = pod["spec"].get("nodeName")
        return (
            int(bool(node)),
            _PHASES.get(phase, 0),
            int(pods.is_ready(pod)),
            deletion_cost(pod),
            -self._crowd[node],
        )

    def _compare_times(self, a: Document, b: Document, first: str, second: str) -> int:
        if first == second:
            return 0
        ranks = [_magnitude(self._wall - _seconds(moment)) for moment in (first, second)]
        if ranks[0] != ranks[1]:
            return ranks[0] - ranks[1]
        return -1 if a["metadata"]["uid"] < b["metadata"]["uid"] else 1


def deletion_cost(pod: Document) -> int:
    """The cost in the Pod's annotation; one that isn't a number of 32 bits counts as 0."""
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    number = int(text) if _NUMBER.fullmatch(text) else 0
    return number if -(2**31) <= number < 2**31 else 0


def _restarts(pod: Document) -> tuple[int, int]:
    """The most restarts of a container, and of a sidecar."""
    status, spec = pod.get("status") or {}, pod["spec"]
    sidecars = {
        c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"
    }
    main = [c.get("restartCount", 0) for c in status.get("containerStatuses") or ()]
    side = [
        c.get("restartCount", 0)
        for c in status.get("initContainerStatuses") or ()
        if c["name"] in sidecars
    ]
    return max(main, default=0), max(side, default=0)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() if moment else 0.0


def _magnitude(age: float) -> int:
    """The power of two that an age (in nanoseconds) reaches; -1 where there is none."""
    return int(math.log2(age * 1e9)) if age > 0 else -1
