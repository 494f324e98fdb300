"""A Deployment's arithmetic: how large its ReplicaSets are, and what their annotations say. Pure.

Source: pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

from testbed.api.documents import Document, name_of

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
#: Characters that the revisions of a ReplicaSet's past may take.
HISTORY_LIMIT = 2000
#: Annotations of the Deployment that its ReplicaSets don't get.
NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
)


def replicas(document: Document) -> int:
    """`spec.replicas` of a Deployment or ReplicaSet."""
    return int(document["spec"]["replicas"])


def count(replica_set: Document | None, name: str) -> int:
    """A number in the status; 0 where there is no ReplicaSet."""
    return int(((replica_set or {}).get("status") or {}).get(name) or 0)


def total(replica_sets: Sequence[Document]) -> int:
    return sum(map(replicas, replica_sets))


def active(replica_sets: Sequence[Document]) -> list[Document]:
    return [replica_set for replica_set in replica_sets if replicas(replica_set)]


def age(replica_set: Document) -> tuple[str, str]:
    """Sorts the oldest first."""
    return replica_set["metadata"].get("creationTimestamp", ""), name_of(replica_set)


def annotation(document: Document, name: str) -> str | None:
    return (document["metadata"].get("annotations") or {}).get(name)


def number(document: Document, name: str) -> int | None:
    """The number in an annotation; None where there is none."""
    text = annotation(document, name) or ""
    return int(text) if text.lstrip("-").isdigit() else None


def revision(replica_set: Document) -> int:
    return number(replica_set, REVISION) or 0


def is_rolling(deployment: Document) -> bool:
    return bool(deployment["spec"]["strategy"]["type"] != "Recreate")


def bounds(deployment: Document) -> tuple[int, int]:
    """(surge, unavailable) in Pods: percentages of the replicas, surge up, unavailable down.

    Source: ResolveFenceposts: both 0 would stop the roll, so unavailable is 1.
    """
    spec = deployment["spec"]
    rolling = spec["strategy"].get("rollingUpdate")
    if not is_rolling(deployment) or rolling is None:
        return 0, 0
    surge = math.ceil(_resolve(rolling["maxSurge"], spec["replicas"]))
    unavailable = math.floor(_resolve(rolling["maxUnavailable"], spec["replicas"]))
    if not surge and not unavailable:
        unavailable = 1
    return surge, min(unavailable, spec["replicas"])


def _resolve(value: int | str, whole: int) -> float:
    return value if isinstance(value, int) else int(value.rstrip("%")) * whole / 100


def new_size(deployment: Document, new: int, old: int) -> int:
    """How large the current set may be now, with `old` Pods in the others. NewRSNewReplicas."""
    wanted = replicas(deployment)
    if new > wanted or not is_rolling(deployment):
        return wanted
    surge, _ = bounds(deployment)
    return min(wanted, new + max(0, wanted + surge - new - old))


def is_saturated(deployment: Document, current: Document | None) -> bool:
    """Whether the current set has all the Pods that it shall ever have."""
    if current is None:
        return False
    wanted = replicas(deployment)
    has = replicas(current), number(current, DESIRED), count(current, "availableReplicas")
    return has == (wanted, wanted, wanted)


def proportional_sizes(
    deployment: Document, everyone: Sequence[Document]
) -> list[tuple[Document, int]]:
    """The sizes of active sets when a Deployment is scaled amid a roll, in the order of the writes.

    What is to be added or taken is shared in proportion to the sets' sizes, the largest first; what
    rounding leaves over is the largest's. Source: sync.go scale.
    """
    surge, _ = bounds(deployment)
    allowed = replicas(deployment) + surge if replicas(deployment) else 0
    change = allowed - total(everyone)
    ordered = sorted(everyone, key=age, reverse=change > 0)
    ordered.sort(key=replicas, reverse=True)
    sizes, shared = [], 0
    for replica_set in ordered:
        share = _fraction(deployment, replica_set) if change != shared else 0
        left = change - shared
        share = 0 if not change else min(share, left) if change > 0 else max(share, left)
        sizes.append(replicas(replica_set) + share)
        shared += share
    if change and sizes:
        sizes[0] = max(0, sizes[0] + change - shared)
    return list(zip(ordered, sizes, strict=True))


def _fraction(deployment: Document, replica_set: Document) -> int:
    """By how much one set would grow or shrink, as its part of the Deployment is."""
    size = replicas(replica_set)
    if not replicas(deployment):
        return -size
    before = number(replica_set, MAXIMUM) or count(deployment, "replicas")
    if not before:
        return 0
    surge, _ = bounds(deployment)
    # Half goes up: Go's math.Round.
    return math.floor(size * (replicas(deployment) + surge) / before + 0.5) - size


def sizes(deployment: Document) -> dict[str, str]:
    """The annotations that tell a ReplicaSet its Deployment's size."""
    surge, _ = bounds(deployment)
    wanted = replicas(deployment)
    return {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}


def current_annotations(
    deployment: Document, have: dict[str, str], newest_old: int
) -> dict[str, str]:
    """The annotations of the current set: the Deployment's, and a revision above all older ones.

    A set that comes back keeps the revisions that it had. Source: SetNewReplicaSetAnnotations.
    """
    own = deployment["metadata"].get("annotations") or {}
    wanted = {**have, **{name: own[name] for name in own if name not in NOT_COPIED}}
    before = have.get(REVISION)
    if before and not before.isdigit():
        return wanted
    if int(before or 0) <= newest_old:
        wanted[REVISION] = str(newest_old + 1)
        if before:
            wanted[REVISION_HISTORY] = _history(have.get(REVISION_HISTORY) or "", before)
    return wanted


def _history(past: str, before: str) -> str:
    """Past revisions and one more; the oldest go where there is no room."""
    listed = [*(past.split(",") if past else ()), before]
    while len(listed) > 1 and len(",".join(listed)) > HISTORY_LIMIT:
        del listed[0]
    return ",".join(listed)


def find_current(deployment: Document, owned: Sequence[Document]) -> Document | None:
    """The oldest set of the Deployment's template."""
    wanted = plain_template(deployment["spec"]["template"])
    matching = (rs for rs in owned if plain_template(rs["spec"]["template"]) == wanted)
    return min(matching, key=age, default=None)


def plain_template(template: Document) -> Document:
    """The template without the hash label, which only ReplicaSets carry."""
    plain = copy.deepcopy(template)
    labels = plain.get("metadata", {}).get("labels") or {}
    labels.pop(HASH_LABEL, None)
    return plain
