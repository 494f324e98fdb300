"""ReplicaSet: as many active Pods of the template as `spec.replicas` says.

Source: pkg/controller/replicaset.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from testbed.api.documents import Document, namespace_of
from testbed.api.status import StatusError
from testbed.control import pods
from testbed.control.controllers.base import (
    Controller,
    Key,
    RetryError,
    is_owned_by,
    matches,
    owner_of,
    owner_reference,
)
from testbed.control.store import Event


class ReplicaSetController(Controller):
    resources = ("replicasets", "pods")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "replicasets":
            yield from super().keys_for(event)
            return
        pod = event.object
        reference = owner_of(pod)
        if reference is not None:
            if reference["kind"] == "ReplicaSet":
                yield namespace_of(pod), reference["name"]
            return
        for replica_set in self.store.list("replicasets", namespace_of(pod)):
            if matches(replica_set["spec"]["selector"], pod["metadata"].get("labels")):
                yield namespace_of(pod), replica_set["metadata"]["name"]

    def reconcile(self, key: Key) -> None:
        replica_set = self.store.find("replicasets", *key)
        if replica_set is None:
            return
        owned = self._claim(replica_set)
        active = [pod for pod in owned if pods.is_active(pod)]
        if not replica_set["metadata"].get("deletionTimestamp"):
            self._scale(replica_set, active)
            active = [pod for pod in self._owned(replica_set) if pods.is_active(pod)]
        self._update_status(replica_set, active)

    def _owned(self, replica_set: Document) -> list[Document]:
        found = self.store.list("pods", namespace_of(replica_set))
        return [pod for pod in found if is_owned_by(pod, replica_set)]

    def _claim(self, replica_set: Document) -> list[Document]:
        """The set's Pods; matching orphans are adopted, Pods that no longer match are released."""
        selector = replica_set["spec"]["selector"]
        claimed: list[Document] = []
        for pod in self.store.list("pods", namespace_of(replica_set)):
            fits = matches(selector, pod["metadata"].get("labels"))
            if is_owned_by(pod, replica_set):
                if fits:
                    claimed.append(pod)
                else:
                    self._set_owner(pod, None)
            elif fits and owner_of(pod) is None and pods.is_active(pod):
                claimed.append(self._set_owner(pod, replica_set))
        return claimed

    def _set_owner(self, pod: Document, owner: Document | None) -> Document:
        changed = copy.deepcopy(pod)
        others = [
            ref for ref in changed["metadata"].get("ownerReferences") or () if not ref["controller"]
        ]
        changed["metadata"]["ownerReferences"] = (
            others if owner is None else [*others, owner_reference(owner)]
        )
        if not changed["metadata"]["ownerReferences"]:
            del changed["metadata"]["ownerReferences"]
        return self.api.update("pods", changed)

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
