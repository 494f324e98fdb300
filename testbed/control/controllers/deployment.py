"""Deployment: one ReplicaSet per template, scaled by the strategy.

Source: pkg/controller/deployment (deployment_controller.go, sync.go, rolling.go, recreate.go). What
sizes and annotations sets get is in `rollout`, what the status says in `deployment_status`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.status import StatusError
from testbed.control import pods
from testbed.control.controllers import deployment_status as words
from testbed.control.controllers import ownership, rollout
from testbed.control.controllers.base import (
    Controller,
    Key,
    RetryError,
    is_owned_by,
    owner_of,
    owner_reference,
)
from testbed.control.controllers.rollout import REVISION, active, count, replicas
from testbed.control.store import Event

#: A history limit of this length is none. Source: HasRevisionHistoryLimit.
NO_LIMIT = 2**31 - 1


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
        """One step: scale, or roll, then write the status; raises RetryError to see a deadline."""
        deployment = self.store.find("deployments", *key)
        if deployment is None:
            return
        owned = ownership.claim(self.api, deployment, resource="replicasets")
        if pods.is_terminating(deployment):
            current = rollout.find_current(deployment, owned)
            old = [rs for rs in owned if rs is not current]
            self._write_status(deployment, current, old, rolling=False)
            return
        deployment = self._put_status(deployment, words.with_pause(deployment, self._now()))
        scaling = any(
            (told := rollout.number(rs, rollout.DESIRED)) is not None
            and told != replicas(deployment)
            for rs in active(owned)
        )
        if deployment["spec"].get("paused") or scaling:
            self._sync(deployment, owned)
        elif rollout.is_rolling(deployment):
            self._roll(deployment, owned)
        else:
            self._recreate(deployment, owned)
        self._await_deadline(key)

    def _now(self) -> str:
        return self.store.timestamp()

    # the ReplicaSets

    def _sets(
        self, deployment: Document, owned: Sequence[Document], *, create: bool
    ) -> tuple[Document, Document | None, list[Document]]:
        """(the Deployment, the set of its template, the others); revisions are brought up to date.

        With `create` the set is made where it is missing. Source: getNewReplicaSet.
        """
        current = rollout.find_current(deployment, owned)
        old = sorted((rs for rs in owned if rs is not current), key=rollout.age)
        newest = max(map(rollout.revision, old), default=0)
        if current is None:
            if create:
                deployment, current = self._create(deployment, newest, old)
            return deployment, current, old
        changed = copy.deepcopy(current)
        have = changed["metadata"].get("annotations") or {}
        wanted = rollout.current_annotations(deployment, have, newest)
        minimum = deployment["spec"].get("minReadySeconds") or 0
        if wanted != have or (current["spec"].get("minReadySeconds") or 0) != minimum:
            changed["metadata"]["annotations"] = wanted
            changed["spec"]["minReadySeconds"] = minimum
            if not minimum:
                del changed["spec"]["minReadySeconds"]
            return deployment, self.api.update("replicasets", changed), old
        told = None
        status = deployment.get("status") or {}
        if words.has_deadline(deployment) and words.find(status, words.PROGRESSING) is None:
            told = "FoundNewReplicaSet", f'Found new replica set "{name_of(current)}"'
        revision = rollout.annotation(current, REVISION) or ""
        return self._tell_found(deployment, revision, told), current, old

    def _create(
        self, deployment: Document, newest: int, old: Sequence[Document]
    ) -> tuple[Document, Document]:
        template = copy.deepcopy(deployment["spec"]["template"])
        label = ownership.free_hash(self.api, "replicasets", deployment, "deployments", template)
        deployment = self._fresh("deployments", deployment)
        template.setdefault("metadata", {}).setdefault("labels", {})[rollout.HASH_LABEL] = label
        selector = copy.deepcopy(deployment["spec"]["selector"])
        selector.setdefault("matchLabels", {})[rollout.HASH_LABEL] = label
        size = rollout.new_size(deployment, 0, rollout.total(old))
        annotations = rollout.current_annotations(deployment, {}, newest)
        document: Document = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{name_of(deployment)}-{label}",
                "namespace": namespace_of(deployment),
                "labels": template["metadata"]["labels"],
                "annotations": {**annotations, **rollout.sizes(deployment)},
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {"replicas": size, "selector": selector, "template": template},
        }
        if deployment["spec"].get("minReadySeconds"):
            document["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        try:
            made = self.api.create("replicasets", document)
        except StatusError as error:
            self._tell_failure(deployment, name_of(document), error)
            raise
        if size:
            self._tell_scaled(deployment, made, 0, size)
        told = None
        if words.has_deadline(deployment):
            told = "NewReplicaSetCreated", f'Created new replica set "{name_of(made)}"'
        return self._tell_found(deployment, annotations[REVISION], told), made

    def _tell_found(
        self, deployment: Document, revision: str, told: tuple[str, str] | None
    ) -> Document:
        """Write the current set's revision, and that it was made or found, to the Deployment.

        That is a write of the status, so it counts as no new generation.
        """
        changed = copy.deepcopy(deployment)
        if rollout.annotation(deployment, REVISION) != revision:
            changed["metadata"].setdefault("annotations", {})[REVISION] = revision
        if told:
            status = changed.setdefault("status", {})
            words.put(status, words.condition(words.PROGRESSING, "True", *told), self._now())
        if changed == deployment:
            return deployment
        return self.api.update("deployments", changed, status=True)

    def _tell_failure(self, deployment: Document, name: str, error: StatusError) -> None:
        message = f'Failed to create new replica set "{name}": {error}'
        if words.has_deadline(deployment):
            status = copy.deepcopy(deployment.get("status") or {})
            reason = words.condition(words.PROGRESSING, "False", "ReplicaSetCreateError", message)
            words.put(status, reason, self._now())
            self._put_status(deployment, status)
        self.api.event(deployment, "Warning", "ReplicaSetCreateError", message)

    def _fresh(self, resource: str, document: Document) -> Document:
        return self.store.get(resource, *pods.key_of(document))

    def _scale(self, deployment: Document, replica_set: Document, size: int) -> bool:
        """Give a set its size and its Deployment's in annotations; True if its size changed."""
        before = replicas(replica_set)
        changed = copy.deepcopy(self._fresh("replicasets", replica_set))
        changed["metadata"].setdefault("annotations", {}).update(rollout.sizes(deployment))
        changed["spec"]["replicas"] = size
        self.api.update("replicasets", changed)
        if before != size:
            self._tell_scaled(deployment, replica_set, before, size)
        return before != size

    def _tell_scaled(self, deployment: Document, rs: Document, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {name_of(rs)} from {before} to {after}"
        self.api.event(deployment, "Normal", "ScalingReplicaSet", message)

    # scaling without a roll

    def _sync(self, deployment: Document, owned: Sequence[Document]) -> None:
        """Scale a Deployment that is paused, or whose size was changed. Source: sync.go sync."""
        deployment, current, old = self._sets(deployment, owned, create=False)
        self._rescale(deployment, current, old)
        if deployment["spec"].get("paused"):
            self._clean_up(deployment, old)
        self._write_status(deployment, current, old, rolling=False)

    def _rescale(
        self, deployment: Document, current: Document | None, old: Sequence[Document]
    ) -> None:
        everyone = [*old, *([current] if current is not None else [])]
        big = active(everyone)
        if len(big) <= 1:
            latest = current or max(old, key=rollout.age, default=None)
            target = big[0] if big else latest
            if target is not None and replicas(target) != replicas(deployment):
                self._scale(deployment, target, replicas(deployment))
        elif rollout.is_saturated(deployment, current):
            for rs in active(old):
                self._scale(deployment, rs, 0)
        elif rollout.is_rolling(deployment):
            for rs, size in rollout.proportional_sizes(deployment, big):
                self._scale(deployment, rs, size)

    # strategies

    def _recreate(self, deployment: Document, owned: Sequence[Document]) -> None:
        deployment, current, old = self._sets(deployment, owned, create=False)
        scaled = [self._scale(deployment, rs, 0) for rs in active(old)]
        if not any(scaled) and not self._has_old_pods(deployment, old):
            if current is None:
                deployment, current, old = self._sets(deployment, owned, create=True)
            if current is not None and replicas(current) != replicas(deployment):
                self._scale(deployment, current, replicas(deployment))
            if words.is_complete(deployment, deployment.get("status") or {}):
                self._clean_up(deployment, old)
        self._write_status(deployment, current, old, rolling=True)

    def _has_old_pods(self, deployment: Document, old: Sequence[Document]) -> bool:
        return any(count(rs, "replicas") for rs in old) or any(
            any(is_owned_by(pod, rs) for rs in old)
            and (pod.get("status") or {}).get("phase") not in pods.TERMINAL_PHASES
            for pod in self.store.list("pods", namespace_of(deployment))
        )

    def _roll(self, deployment: Document, owned: Sequence[Document]) -> None:
        deployment, current, old = self._sets(deployment, owned, create=True)
        assert current is not None
        size = rollout.new_size(deployment, replicas(current), rollout.total(old))
        if size != replicas(current):
            self._scale(deployment, current, size)
        elif not self._shrink_old(deployment, current, old) and words.is_complete(
            deployment, deployment.get("status") or {}
        ):
            self._clean_up(deployment, old)
        self._write_status(deployment, current, old, rolling=True)

    def _shrink_old(self, deployment: Document, current: Document, old: Sequence[Document]) -> bool:
        """Take old Pods away: unhealthy ones first, then as many as stay above the minimum."""
        _, unavailable = rollout.bounds(deployment)
        minimum = replicas(deployment) - unavailable
        missing = replicas(current) - count(current, "availableReplicas")
        room = rollout.total(old) + replicas(current) - minimum - missing
        if not rollout.total(old) or room <= 0:
            return False
        sizes = {name_of(rs): replicas(rs) for rs in old}
        for rs in active(old):
            unhealthy = min(room, replicas(rs) - count(rs, "availableReplicas"))
            if unhealthy > 0:
                sizes[name_of(rs)] -= unhealthy
                room -= unhealthy
                self._scale(deployment, rs, sizes[name_of(rs)])
        spare = sum(count(rs, "availableReplicas") for rs in (*active(old), current)) - minimum
        for rs in active(old):
            size = sizes[name_of(rs)]
            down = min(spare, size)
            if down > 0:
                spare -= down
                self._scale(deployment, self._fresh("replicasets", rs), size - down)
                sizes[name_of(rs)] -= down
        return any(sizes[name_of(rs)] != replicas(rs) for rs in old)

    def _clean_up(self, deployment: Document, old: Sequence[Document]) -> None:
        """Delete old, empty ReplicaSets past revisionHistoryLimit, oldest revision first."""
        limit = deployment["spec"].get("revisionHistoryLimit")
        if limit in (None, NO_LIMIT):
            return
        alive = [rs for rs in map(self._found, old) if rs and not pods.is_terminating(rs)]
        alive.sort(key=lambda rs: (rollout.revision(rs), rollout.age(rs)))
        for rs in alive[: max(0, len(alive) - limit)]:
            seen = rs["metadata"]["generation"] <= count(rs, "observedGeneration")
            if seen and not replicas(rs) and not count(rs, "replicas"):
                self.api.delete("replicasets", *pods.key_of(rs))

    def _found(self, replica_set: Document) -> Document | None:
        return self.store.find("replicasets", *pods.key_of(replica_set))

    # status

    def _write_status(
        self,
        deployment: Document,
        current: Document | None,
        old: Sequence[Document],
        *,
        rolling: bool,
    ) -> None:
        now = self._now()
        sets = [rs for rs in map(self._found, old) if rs is not None]
        latest = self._found(current) if current is not None else None
        status = words.calculate(deployment, latest, sets, now)
        if rolling:
            wall = self.api.clock.wall()
            words.add_progress(deployment, status, latest, sets, now, wall)
        self._put_status(deployment, status)

    def _put_status(self, deployment: Document, status: Document) -> Document:
        if (deployment.get("status") or {}) == status:
            return deployment
        return self.api.update("deployments", {**deployment, "status": status}, status=True)

    def _await_deadline(self, key: Key) -> None:
        deployment = self.store.find("deployments", *key)
        if deployment is None or deployment["spec"].get("paused"):
            return
        status = deployment.get("status") or {}
        left = words.seconds_left(deployment, status, self.api.clock.wall())
        if left is not None:
            raise RetryError(left, "watching the progress deadline")


def _owner_key(document: Document, kind: str) -> Iterable[Key]:
    reference = owner_of(document)
    if reference is not None and reference["kind"] == kind:
        yield namespace_of(document), reference["name"]
