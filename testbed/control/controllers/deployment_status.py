"""What a Deployment's status says: counts, and conditions with upstream's words. Pure.

Source: pkg/controller/deployment (progress.go, sync.go calculateStatus).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from datetime import datetime

from testbed.api.documents import Document, name_of
from testbed.control.controllers.rollout import bounds, count, replicas, total

AVAILABLE, PROGRESSING, FAILURE = "Available", "Progressing", "ReplicaFailure"
COMPLETE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"
#: A deadline of this length is none. Source: HasProgressDeadline.
NO_DEADLINE = 2**31 - 1
#: Counts that a status leaves out when they are 0; `terminatingReplicas` it doesn't.
_COUNTS = (
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
)


def find(status: Document, kind: str) -> Document | None:
    """The condition of that type."""
    return next((c for c in status.get("conditions") or () if c["type"] == kind), None)


def put(status: Document, condition: Document, now: str) -> None:
    """Set a condition, as the last one; one of the same status and reason stays as it is."""
    old = find(status, condition["type"])
    same = old is not None and old["status"] == condition["status"]
    if old is not None and same and old.get("reason") == condition["reason"]:
        return
    since = old["lastTransitionTime"] if old is not None and same else now
    drop(status, condition["type"])
    times = {"lastUpdateTime": now, "lastTransitionTime": since}
    status["conditions"] = [*(status.get("conditions") or ()), {**times, **condition}]


def drop(status: Document, kind: str) -> None:
    """Remove the condition of that type."""
    kept = [c for c in status.get("conditions") or () if c["type"] != kind]
    status.pop("conditions", None)
    if kept:
        status["conditions"] = kept


def condition(kind: str, value: str, reason: str, message: str) -> Document:
    return {"type": kind, "status": value, "reason": reason, "message": message}


def has_deadline(deployment: Document) -> bool:
    return (deployment["spec"].get("progressDeadlineSeconds") or NO_DEADLINE) != NO_DEADLINE


def with_pause(deployment: Document, now: str) -> Document:
    """The status with the condition that pausing or resuming leaves. checkPausedConditions."""
    status: Document = copy.deepcopy(deployment.get("status") or {})
    old = find(status, PROGRESSING) or {}
    if not has_deadline(deployment) or old.get("reason") == TIMED_OUT:
        return status
    paused = bool(deployment["spec"].get("paused"))
    if paused != (old.get("reason") == PAUSED):
        reason, words = (PAUSED, "paused") if paused else (RESUMED, "resumed")
        put(status, condition(PROGRESSING, "Unknown", reason, f"Deployment is {words}"), now)
    return status


def calculate(
    deployment: Document, current: Document | None, old: Sequence[Document], now: str
) -> Document:
    """The status by the ReplicaSets' own; of the conditions only Available is looked at."""
    everyone = [*old, *([current] if current is not None else [])]
    available = sum(count(rs, "availableReplicas") for rs in everyone)
    before = deployment.get("status") or {}
    counts = {
        "replicas": sum(count(rs, "replicas") for rs in everyone),
        "updatedReplicas": count(current, "replicas"),
        "readyReplicas": sum(count(rs, "readyReplicas") for rs in everyone),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total(everyone) - available),
    }
    status: Document = {"observedGeneration": deployment["metadata"]["generation"]}
    status |= {name: value for name, value in counts.items() if value}
    terminating = _terminating(everyone)
    if terminating is not None:
        status["terminatingReplicas"] = terminating
    if before.get("collisionCount"):
        status["collisionCount"] = before["collisionCount"]
    if before.get("conditions"):
        status["conditions"] = copy.deepcopy(before["conditions"])
    _, unavailable = bounds(deployment)
    good = available >= replicas(deployment) - unavailable
    reason = "MinimumReplicasAvailable" if good else "MinimumReplicasUnavailable"
    words = f"Deployment {'has' if good else 'does not have'} minimum availability."
    put(status, condition(AVAILABLE, str(good), reason, words), now)
    return status


def _terminating(everyone: Sequence[Document]) -> int | None:
    """Pods of all sets that are ending; None where a set that was looked at doesn't say."""
    seen = [rs for rs in everyone if count(rs, "observedGeneration")]
    if any("terminatingReplicas" not in rs["status"] for rs in seen):
        return None
    return sum(count(rs, "terminatingReplicas") for rs in everyone)


def add_progress(
    deployment: Document,
    status: Document,
    current: Document | None,
    old: Sequence[Document],
    now: str,
    wall: float,
) -> None:
    """Bring Progressing and ReplicaFailure of a calculated status up to date. syncRolloutStatus.

    `now` is the moment as a timestamp, `wall` the same in seconds.
    """
    if not has_deadline(deployment):
        drop(status, PROGRESSING)
    else:
        _judge(deployment, status, current, now, wall)
    failures = [
        entry
        for rs in (current, *old)
        for entry in ((rs or {}).get("status") or {}).get("conditions") or ()
        if entry["type"] == FAILURE
    ]
    if not failures:
        drop(status, FAILURE)
    else:
        since = failures[0].get("lastTransitionTime", now)
        put(status, {**failures[0], "lastUpdateTime": since}, now)


def _judge(
    deployment: Document, status: Document, current: Document | None, now: str, wall: float
) -> None:
    before: Document = deployment.get("status") or {}
    last = find(before, PROGRESSING) or {}
    done = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if done and last.get("reason") == COMPLETE:
        return
    who = f'ReplicaSet "{name_of(current)}"' if current else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, status):
        words = f"{who} has successfully progressed."
        put(status, condition(PROGRESSING, "True", COMPLETE, words), now)
    elif _has_moved(before, status):
        words = f"{who} is progressing."
        new = condition(PROGRESSING, "True", "ReplicaSetUpdated", words)
        if last.get("status") == "True":
            new["lastTransitionTime"] = last["lastTransitionTime"]
        # Progress counts anew from now, also where the reason stays.
        drop(status, PROGRESSING)
        put(status, new, now)
    elif _is_late(deployment, status, wall):
        words = f"{who} has timed out progressing."
        put(status, condition(PROGRESSING, "False", TIMED_OUT, words), now)


def is_complete(deployment: Document, status: Document) -> bool:
    """Whether all Pods are of the current template and available, and no others are left."""
    counts = ("updatedReplicas", "replicas", "availableReplicas")
    return (
        all(status.get(name, 0) == replicas(deployment) for name in counts)
        and status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    )


def _has_moved(before: Document, now: Document) -> bool:
    def older(status: Document) -> int:
        return int(status.get("replicas", 0) - status.get("updatedReplicas", 0))

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return older(now) < older(before) or any(now.get(n, 0) > before.get(n, 0) for n in grown)


def _is_late(deployment: Document, status: Document, wall: float) -> bool:
    last = find(status, PROGRESSING)
    if last is None or last["reason"] == COMPLETE:
        return False
    return last["reason"] == TIMED_OUT or _left(deployment, last, wall) < 0


def seconds_left(deployment: Document, status: Document, wall: float) -> float | None:
    """Seconds until the deadline has to be looked at; None where nothing is awaited."""
    last = find(status, PROGRESSING)
    if not has_deadline(deployment) or last is None or last["reason"] == TIMED_OUT:
        return None
    if is_complete(deployment, status):
        return None
    return max(_left(deployment, last, wall), 0) + 1


def _left(deployment: Document, progressing: Document, wall: float) -> float:
    deadline = deployment["spec"].get("progressDeadlineSeconds") or math.inf
    updated = datetime.fromisoformat(progressing["lastUpdateTime"].replace("Z", "+00:00"))
    return float(updated.timestamp() + deadline - wall)
