"""ReplicaSet: as many active Pods of the template as `spec.replicas` says.

Source: pkg/controller/replicaset.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from testbed.api.documents import Document, namespace_of
from testbed.api.status import StatusError
from testbed.control import pods
from testbed.control.controllers import ownership
from testbed.control.controllers.base import Controller, Key, RetryError, is_owned_by
from testbed.control.store import Event


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
        owned = ownership.claim(self.api, replica_set)
        active = [pod for pod in owned if pods.is_active(pod)]
        if not replica_set["metadata"].get("deletionTimestamp"):
            self._scale(replica_set, active)
            active = [pod for pod in self._owned(replica_set) if pods.is_active(pod)]
        self._update_status(replica_set, active)

    def _owned(self, replica_set: Document) -> list[Document]:
        found = self.store.list("pods", namespace_of(replica_set))
        return [pod for pod in found if is_owned_by(pod, replica_set)]

    def _scale(self, replica_set: Document, active: list[Document]) -> None:
        missing = replica_set["spec"]["replicas"] - len(active)
        for _ in range(missing):
            pod = pods.from_template(replica_set["spec"]["template"], replica_set)
            try:
                made = self.api.create("pods", pod)
            except StatusError as error:
                self.api.event(replica_set, "Warning", "FailedCreate", f"Error creating: {error}")
                raise RetryError(5, str(error)) from None
            name = made["metadata"]["name"]
            self.api.event(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {name}")
        for pod in sorted(active, key=_kept_longest)[: max(0, -missing)]:
            name = pod["metadata"]["name"]
            self.api.delete("pods", namespace_of(pod), name)
            self.api.event(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")

    def _update_status(self, replica_set: Document, active: list[Document]) -> None:
        """Write the counts; look again when a ready Pod will have been so for minReadySeconds."""
        now, minimum = self.api.clock.wall(), replica_set["spec"].get("minReadySeconds") or 0
        waits = [pods.seconds_until_available(pod, minimum, now) for pod in active]
        template = replica_set["spec"]["template"].get("metadata", {}).get("labels") or {}
        labelled = [
            pod
            for pod in active
            if template.items() <= (pod["metadata"].get("labels") or {}).items()
        ]
        changed = copy.deepcopy(self.store.get("replicasets", *_key(replica_set)))
        status = {
            "replicas": len(active),
            "fullyLabeledReplicas": len(labelled),
            "readyReplicas": sum(wait is not None for wait in waits),
            "availableReplicas": sum(wait == 0 for wait in waits),
            "observedGeneration": changed["metadata"]["generation"],
        }
        changed["status"] = {k: v for k, v in status.items() if v or k == "replicas"}
        self.api.update("replicasets", changed, status=True)
        pending = [wait for wait in waits if wait]
        if pending:
            raise RetryError(min(pending), "waiting for minReadySeconds")


def _key(document: Document) -> Key:
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _kept_longest(pod: Document) -> tuple[bool, bool, bool, str]:
    """Sorts the Pods to delete first to the front.

    Without a node before with one, pending before running, unready before ready, then by age.
    Source: controller_utils ActivePodsWithRanks.
    """
    status = pod.get("status") or {}
    return (
        bool(pod["spec"].get("nodeName")),
        status.get("phase") == "Running",
        pods.is_ready(pod),
        # The newest goes first: timestamps sort as text, so invert them character by character.
        "".join(chr(0x10FF - ord(c)) for c in pod["metadata"].get("creationTimestamp", "")),
    )
