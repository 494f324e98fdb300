"""ReplicaSet: as many active Pods of the template as `spec.replicas` says.

Source: pkg/controller/replicaset (replica_set.go, replica_set_utils.go), controller_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.status import StatusError
from testbed.control import pods
from testbed.control.controllers import ownership
from testbed.control.controllers.base import (
    Controller,
    Key,
    RetryError,
    is_owned_by,
    matches,
    namespace_is_ending,
    owner_of,
)
from testbed.control.controllers.scale_down import Ranking
from testbed.control.store import Event

#: Pods that one pass makes or deletes at most.
MOST_AT_ONCE = 500
#: Seconds until Pods that couldn't be made are tried again.
RETRY = 5.0
FAILURE = "ReplicaFailure"


class ReplicaSetController(Controller):
    resources = ("replicasets", "pods")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "replicasets":
            yield from super().keys_for(event)
            return
        yield from ownership.concerned(self.api, "replicasets", "ReplicaSet", event)

    def reconcile(self, key: Key) -> None:
        replica_set = self.store.find("replicasets", *key)
        if replica_set is None:
            return
        active = ownership.claim(self.api, replica_set, among=pods.is_active)
        problem: StatusError | None = None
        if not pods.is_terminating(replica_set):
            try:
                self._scale(replica_set, active)
            except StatusError as error:
                problem = error
        self._update_status(key, problem)

    def _scale(self, replica_set: Document, active: list[Document]) -> None:
        missing = replica_set["spec"]["replicas"] - len(active)
        if missing > 0:
            self._create(replica_set, min(missing, MOST_AT_ONCE))
        elif missing < 0:
            for pod in self._ranking(replica_set).worst(active)[: min(-missing, MOST_AT_ONCE)]:
                self._delete(replica_set, pod)

    def _create(self, replica_set: Document, missing: int) -> None:
        """Make Pods in batches of 1, 2, 4 …; a batch with a refusal is the last. slowStartBatch."""
        batch = 1
        while missing > 0:
            problems = [
                problem
                for _ in range(min(batch, missing))
                if (problem := self._create_one(replica_set)) is not None
            ]
            if problems:
                raise problems[0]
            missing -= batch
            batch *= 2

    def _create_one(self, replica_set: Document) -> StatusError | None:
        pod = pods.from_template(replica_set["spec"]["template"], replica_set)
        try:
            made = self.api.create("pods", pod)
        except StatusError as error:
            if namespace_is_ending(error):
                return None
            self.api.event(replica_set, "Warning", "FailedCreate", f"Error creating: {error}")
            return error
        self.api.event(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {name_of(made)}")
        return None

    def _delete(self, replica_set: Document, pod: Document) -> None:
        try:
            self.api.delete("pods", *pods.key_of(pod))
        except StatusError as error:
            self.api.event(replica_set, "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        self.api.event(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def _ranking(self, replica_set: Document) -> Ranking:
        """How crowded nodes are with Pods of the same Deployment. getIndirectlyRelatedPods."""
        namespace, owner = namespace_of(replica_set), owner_of(replica_set)
        siblings = [
            other
            for other in self.store.list("replicasets", namespace)
            if owner is not None and (owner_of(other) or {}).get("uid") == owner["uid"]
        ]
        selectors = [other["spec"]["selector"] for other in siblings or [replica_set]]
        related = [
            pod
            for pod in self.store.list("pods", namespace)
            if pods.is_active(pod)
            and any(matches(each, pod["metadata"].get("labels")) for each in selectors)
        ]
        return Ranking(related, self.api.clock.wall())

    def _update_status(self, key: Key, problem: StatusError | None) -> None:
        """Write the counts; raises RetryError after a refusal, or where a ready Pod has to wait."""
        replica_set = self.store.find("replicasets", *key)
        if replica_set is None:
            return
        owned = [pod for pod in self.store.list("pods", key[0]) if is_owned_by(pod, replica_set)]
        active = [pod for pod in owned if pods.is_active(pod)]
        now, minimum = self.api.clock.wall(), pods.min_ready(replica_set)
        waits = [pods.seconds_until_available(pod, minimum, now) for pod in active]
        template = replica_set["spec"]["template"].get("metadata", {}).get("labels") or {}
        counts = {
            "fullyLabeledReplicas": sum(
                template.items() <= (pod["metadata"].get("labels") or {}).items() for pod in active
            ),
            "readyReplicas": sum(wait is not None for wait in waits),
            "availableReplicas": sum(wait == 0 for wait in waits),
        }
        status: Document = {
            "replicas": len(active),
            **{name: value for name, value in counts.items() if value},
            "terminatingReplicas": sum(map(pods.is_ending, owned)),
            "observedGeneration": replica_set["metadata"]["generation"],
        }
        if conditions := self._conditions(replica_set, len(active), problem):
            status["conditions"] = conditions
        if replica_set.get("status") != status:
            self.api.update("replicasets", {**replica_set, "status": status}, status=True)
        if problem is not None:
            raise RetryError(RETRY, str(problem))
        if pending := [wait for wait in waits if wait]:
            raise RetryError(min(pending), "waiting for minReadySeconds")

    def _conditions(
        self, replica_set: Document, active: int, problem: StatusError | None
    ) -> list[Document]:
        """The conditions; a failure stays as it was told first, until all went well again."""
        old = (replica_set.get("status") or {}).get("conditions") or []
        if problem is None:
            return [entry for entry in old if entry["type"] != FAILURE]
        if any(entry["type"] == FAILURE for entry in old):
            return list(old)
        less = active < replica_set["spec"]["replicas"]
        failure = {
            "type": FAILURE,
            "status": "True",
            "lastTransitionTime": self.store.timestamp(),
            "reason": "FailedCreate" if less else "FailedDelete",
            "message": str(problem),
        }
        return [*old, failure]
