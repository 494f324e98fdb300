"""Deployment: one ReplicaSet per template, scaled by the strategy.

Source: pkg/controller/deployment (rolling.go, recreate.go, sync.go, progress.go).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from datetime import datetime

from testbed.api.documents import Document, namespace_of
from testbed.control import pods
from testbed.control.controllers import ownership
from testbed.control.controllers.base import (
    Controller,
    Key,
    RetryError,
    is_owned_by,
    owner_of,
    owner_reference,
    set_condition,
)
from testbed.control.store import Event

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
#: Annotations of the Deployment that its ReplicaSets don't get. Source: deployment_util.go.
NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
)


class DeploymentController(Controller):
    resources = ("deployments", "replicasets", "pods")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "deployments":
            yield from super().keys_for(event)
        elif event.resource == "replicasets":
            yield from ownership.concerned(self.api, "deployments", "Deployment", event)
        elif event.type.value == "DELETED":
            # Strategy Recreate waits for the last old Pod to be gone.
            for _, name in _owner_key(event.object, "ReplicaSet"):
                owner = self.store.find("replicasets", namespace_of(event.object), name)
                if owner is not None:
                    yield from _owner_key(owner, "Deployment")

    def reconcile(self, key: Key) -> None:
        deployment = self.store.find("deployments", *key)
        if deployment is None:
            return
        if not deployment["metadata"].get("deletionTimestamp"):
            ownership.claim(self.api, deployment, resource="replicasets")
            current, old = self._replica_sets(deployment)
            if current is not None:
                current = self._annotated(deployment, current, old)
                deployment = self.store.get("deployments", *key)
            if deployment["spec"].get("paused") or self._was_rescaled(deployment, current, old):
                self._rescale(deployment, [*old, *([current] if current else [])])
            elif deployment["spec"]["strategy"]["type"] == "Recreate":
                self._recreate(deployment, current, old)
            else:
                self._roll(deployment, current, old)
        self._clean_up(self.store.get("deployments", *key))
        self._update_status(self.store.get("deployments", *key))

    # the ReplicaSets

    def _replica_sets(self, deployment: Document) -> tuple[Document | None, list[Document]]:
        """(the one of the current template, the others from oldest to newest revision)."""
        owned = [
            replica_set
            for replica_set in self.store.list("replicasets", namespace_of(deployment))
            if is_owned_by(replica_set, deployment)
        ]
        owned.sort(key=_revision)
        wanted = _plain_template(deployment["spec"]["template"])
        current = next(
            (rs for rs in owned if _plain_template(rs["spec"]["template"]) == wanted), None
        )
        return current, [rs for rs in owned if rs is not current]

    def _ensure_current(
        self, deployment: Document, current: Document | None, old: list[Document]
    ) -> Document:
        """The ReplicaSet of the current template, with the newest revision on it."""
        if current is None:
            newest = max((_revision(rs) for rs in old), default=0)
            current = self._create(deployment, newest + 1, old)
        return self._annotated(self.store.get("deployments", *_key(deployment)), current, old)

    def _annotated(self, deployment: Document, current: Document, old: list[Document]) -> Document:
        """Bring the Deployment's annotations to its current set, and the set's revision to it.

        Source: deployment_util.go SetNewReplicaSetAnnotations, sync.go getNewReplicaSet.
        """
        wanted = _copied(deployment)
        newest, own = max((_revision(rs) for rs in old), default=0), _revision(current)
        have = current["metadata"].get("annotations") or {}
        if own <= newest:
            wanted[REVISION] = str(newest + 1)
            if own:
                history = have.get(REVISION_HISTORY)
                wanted[REVISION_HISTORY] = f"{history},{own}" if history else str(own)
        if any(have.get(name) != value for name, value in wanted.items()):
            current = self._annotate(current, wanted)
        revision = str(_revision(current))
        if (deployment["metadata"].get("annotations") or {}).get(REVISION) != revision:
            changed = copy.deepcopy(deployment)
            changed["metadata"].setdefault("annotations", {})[REVISION] = revision
            self.api.update("deployments", changed)
        return current

    def _create(self, deployment: Document, revision: int, old: list[Document]) -> Document:
        template = copy.deepcopy(deployment["spec"]["template"])
        label = ownership.free_hash(self.api, "replicasets", deployment, "deployments", template)
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = label
        selector = copy.deepcopy(deployment["spec"]["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = label
        replicas = 0
        if deployment["spec"]["strategy"]["type"] != "Recreate":
            replicas = self._new_size(deployment, 0, sum(_replicas(rs) for rs in old))
        elif not old:
            replicas = deployment["spec"]["replicas"]
        document: Document = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{deployment['metadata']['name']}-{label}",
                "namespace": namespace_of(deployment),
                "labels": template["metadata"]["labels"],
                "annotations": {
                    **_copied(deployment),
                    **_sizes(deployment),
                    REVISION: str(revision),
                },
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        }
        if deployment["spec"].get("minReadySeconds"):
            document["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        made = self.api.create("replicasets", document)
        if replicas:
            self._tell_scaled(deployment, made, 0, replicas)
        return made

    def _annotate(self, replica_set: Document, annotations: dict[str, str]) -> Document:
        changed = copy.deepcopy(self.store.get("replicasets", *_key(replica_set)))
        changed["metadata"].setdefault("annotations", {}).update(annotations)
        return self.api.update("replicasets", changed)

    def _scale(self, deployment: Document, replica_set: Document, replicas: int) -> None:
        before = _replicas(replica_set)
        changed = copy.deepcopy(self.store.get("replicasets", *_key(replica_set)))
        changed["metadata"].setdefault("annotations", {}).update(_sizes(deployment))
        changed["spec"]["replicas"] = replicas
        self.api.update("replicasets", changed)
        if before != replicas:
            self._tell_scaled(deployment, replica_set, before, replicas)

    def _tell_scaled(self, deployment: Document, rs: Document, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        name = rs["metadata"]["name"]
        self.api.event(
            deployment,
            "Normal",
            "ScalingReplicaSet",
            f"Scaled {way} replica set {name} from {before} to {after}",
        )

    # strategies

    def _was_rescaled(
        self, deployment: Document, current: Document | None, old: list[Document]
    ) -> bool:
        """Whether `spec.replicas` changed since a ReplicaSet was last scaled."""
        wanted = str(deployment["spec"]["replicas"])
        everyone = [*old, *([current] if current else [])]
        return any(
            _replicas(rs) and (rs["metadata"].get("annotations") or {}).get(DESIRED) != wanted
            for rs in everyone
        )

    def _rescale(self, deployment: Document, everyone: list[Document]) -> None:
        """Scale without rolling: the only set, or all in proportion to their size.

        Source: sync.go scale: with several active sets the difference to the allowed total is
        shared in proportion, larger sets first.
        """
        active = [rs for rs in everyone if _replicas(rs)]
        if len(active) <= 1:
            target = active[0] if active else (everyone[-1] if everyone else None)
            if target is not None:
                self._scale(deployment, target, deployment["spec"]["replicas"])
            return
        surge, _ = _bounds(deployment)
        allowed = deployment["spec"]["replicas"] + surge
        difference = left = allowed - sum(_replicas(rs) for rs in active)
        total = sum(_replicas(rs) for rs in active)
        for rs in sorted(active, key=lambda rs: (-_replicas(rs), -_revision(rs))):
            share = round(_replicas(rs) * difference / total)
            share = min(share, left) if difference > 0 else max(share, left)
            self._scale(deployment, rs, max(0, _replicas(rs) + share))
            left -= share

    def _recreate(
        self, deployment: Document, current: Document | None, old: list[Document]
    ) -> None:
        for rs in old:
            if _replicas(rs):
                self._scale(deployment, rs, 0)
        left = [
            pod
            for pod in self.store.list("pods", namespace_of(deployment))
            if any(is_owned_by(pod, rs) for rs in old)
            and (pod.get("status") or {}).get("phase") not in pods.TERMINAL_PHASES
        ]
        if left:
            return
        current = self._ensure_current(deployment, current, old)
        if _replicas(current) != deployment["spec"]["replicas"]:
            self._scale(deployment, current, deployment["spec"]["replicas"])

    def _roll(self, deployment: Document, current: Document | None, old: list[Document]) -> None:
        current = self._ensure_current(deployment, current, old)
        total_old = sum(_replicas(rs) for rs in old)
        size = self._new_size(deployment, _replicas(current), total_old)
        if size != _replicas(current):
            self._scale(deployment, current, size)
            return
        if total_old:
            self._shrink_old(deployment, current, old)

    def _new_size(self, deployment: Document, new: int, old: int) -> int:
        """How large the new set may be now: the surge limits it."""
        wanted: int = deployment["spec"]["replicas"]
        if new > wanted:
            return wanted
        surge, _ = _bounds(deployment)
        return min(wanted, new + max(0, wanted + surge - new - old))

    def _shrink_old(self, deployment: Document, current: Document, old: list[Document]) -> None:
        """Take old Pods away: unhealthy ones first, then as many as stay above the minimum."""
        _, unavailable = _bounds(deployment)
        minimum = deployment["spec"]["replicas"] - unavailable
        everyone = [*old, current]
        missing_new = _replicas(current) - _available(current)
        room = sum(_replicas(rs) for rs in everyone) - minimum - missing_new
        if room <= 0:
            return
        for rs in old:
            unhealthy = min(room, _replicas(rs) - _available(rs))
            if unhealthy > 0:
                self._scale(deployment, rs, _replicas(rs) - unhealthy)
                room -= unhealthy
        spare = sum(_available(rs) for rs in everyone) - minimum
        for rs in old:
            size = _replicas(self.store.get("replicasets", *_key(rs)))
            down = min(spare, size)
            if down > 0:
                self._scale(deployment, rs, size - down)
                spare -= down

    def _clean_up(self, deployment: Document) -> None:
        """Delete old, empty ReplicaSets past revisionHistoryLimit, oldest first."""
        limit = deployment["spec"].get("revisionHistoryLimit")
        if limit is None or deployment["metadata"].get("deletionTimestamp"):
            return
        _, old = self._replica_sets(deployment)
        for rs in old[: max(0, len(old) - limit)]:
            if not _replicas(rs) and not (rs.get("status") or {}).get("replicas"):
                self.api.delete("replicasets", *_key(rs))

    # status

    def _update_status(self, deployment: Document) -> None:
        current, old = self._replica_sets(deployment)
        everyone = [*old, *([current] if current else [])]
        total = sum(_count(rs, "replicas") for rs in everyone)
        available = sum(_available(rs) for rs in everyone)
        changed = copy.deepcopy(deployment)
        status = changed["status"] = {
            "conditions": (changed.get("status") or {}).get("conditions") or [],
            "collisionCount": (changed.get("status") or {}).get("collisionCount") or 0,
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": total,
            "updatedReplicas": _count(current, "replicas"),
            "readyReplicas": sum(_count(rs, "readyReplicas") for rs in everyone),
            "availableReplicas": available,
            "unavailableReplicas": max(0, sum(map(_replicas, everyone)) - available),
        }
        self._set_available(deployment, status, available)
        self._set_progressing(deployment, status, current)
        for name in [k for k, v in status.items() if v in (0, [])]:
            del status[name]
        old_status = deployment.get("status") or {}
        if {**old_status} != status:
            self.api.update("deployments", changed, status=True)
        self._watch_deadline(deployment, status)

    def _set_available(self, deployment: Document, status: Document, available: int) -> None:
        _, unavailable = _bounds(deployment)
        good = available >= deployment["spec"]["replicas"] - unavailable
        self._condition(
            status,
            "Available",
            good,
            "MinimumReplicasAvailable" if good else "MinimumReplicasUnavailable",
            f"Deployment {'has' if good else 'does not have'} minimum availability.",
        )

    def _set_progressing(
        self, deployment: Document, status: Document, current: Document | None
    ) -> None:
        name = current["metadata"]["name"] if current else ""
        wanted = deployment["spec"]["replicas"]
        complete = (
            status["updatedReplicas"] == wanted
            and status["replicas"] == wanted
            and status["availableReplicas"] == wanted
        )
        before = (deployment.get("status") or {}) if current else {}
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        moved = any(before.get(c, 0) != status[c] for c in counts)
        old = next((c for c in status["conditions"] if c["type"] == "Progressing"), None)
        if complete:
            reason, words = "NewReplicaSetAvailable", "has successfully progressed."
        elif old is None:
            reason, words = "NewReplicaSetCreated", ""
            self._condition(
                status, "Progressing", True, reason, f'Created new replica set "{name}"'
            )
            return
        elif moved:
            reason, words = "ReplicaSetUpdated", "is progressing."
        elif self._late(deployment, old):
            self._condition(
                status,
                "Progressing",
                False,
                "ProgressDeadlineExceeded",
                f'ReplicaSet "{name}" has timed out progressing.',
            )
            return
        else:
            return
        self._condition(status, "Progressing", True, reason, f'ReplicaSet "{name}" {words}')

    def _condition(
        self, status: Document, kind: str, good: bool, reason: str, message: str
    ) -> None:
        wanted = {
            "type": kind,
            "status": "True" if good else "False",
            "reason": reason,
            "message": message,
        }
        for old in status["conditions"]:
            if old["type"] == kind and all(old.get(k) == v for k, v in wanted.items()):
                return
        now = self.store.timestamp()
        set_condition(status, {**wanted, "lastUpdateTime": now}, now)

    def _late(self, deployment: Document, progressing: Document) -> bool:
        return self._deadline_left(deployment, progressing) <= 0

    def _deadline_left(self, deployment: Document, progressing: Document) -> float:
        deadline = deployment["spec"].get("progressDeadlineSeconds") or math.inf
        updated = datetime.fromisoformat(progressing["lastUpdateTime"].replace("Z", "+00:00"))
        return float(deadline - (self.api.clock.wall() - updated.timestamp()))

    def _watch_deadline(self, deployment: Document, status: Document) -> None:
        if deployment["spec"].get("paused") or deployment["metadata"].get("deletionTimestamp"):
            return
        for entry in status.get("conditions") or ():
            if entry["type"] == "Progressing" and entry["reason"] not in (
                "NewReplicaSetAvailable",
                "ProgressDeadlineExceeded",
            ):
                left = self._deadline_left(deployment, entry)
                if left < math.inf:
                    raise RetryError(max(left, 1.0), "watching the progress deadline")


def _owner_key(document: Document, kind: str) -> Iterable[Key]:
    reference = owner_of(document)
    if reference is not None and reference["kind"] == kind:
        yield namespace_of(document), reference["name"]


def _key(document: Document) -> Key:
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _plain_template(template: Document) -> Document:
    """The template without the hash label, which only ReplicaSets carry."""
    plain = copy.deepcopy(template)
    labels = plain.get("metadata", {}).get("labels") or {}
    labels.pop(HASH_LABEL, None)
    return plain


def _revision(replica_set: Document) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION) or 0)


def _replicas(replica_set: Document) -> int:
    return int(replica_set["spec"]["replicas"])


def _count(replica_set: Document | None, name: str) -> int:
    return int(((replica_set or {}).get("status") or {}).get(name) or 0)


def _available(replica_set: Document) -> int:
    return _count(replica_set, "availableReplicas")


def _bounds(deployment: Document) -> tuple[int, int]:
    """(surge, unavailable) in Pods: percentages of the replicas, surge up, unavailable down.

    Source: deployment_util.go ResolveFenceposts: both 0 would stop the roll, so unavailable is 1.
    """
    spec = deployment["spec"]
    rolling = spec["strategy"].get("rollingUpdate")
    if spec["strategy"]["type"] == "Recreate" or rolling is None:
        return 0, 0
    surge = math.ceil(_resolve(rolling["maxSurge"], spec["replicas"]))
    unavailable = math.floor(_resolve(rolling["maxUnavailable"], spec["replicas"]))
    if not surge and not unavailable:
        unavailable = 1
    return surge, min(unavailable, spec["replicas"])


def _resolve(value: int | str, total: int) -> float:
    return value if isinstance(value, int) else int(value.rstrip("%")) * total / 100


def _copied(deployment: Document) -> dict[str, str]:
    """The annotations that go to the current ReplicaSet."""
    annotations = deployment["metadata"].get("annotations") or {}
    return {name: value for name, value in annotations.items() if name not in NOT_COPIED}


def _sizes(deployment: Document) -> dict[str, str]:
    surge, _ = _bounds(deployment)
    wanted = deployment["spec"]["replicas"]
    return {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}
