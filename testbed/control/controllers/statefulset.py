"""StatefulSet: Pods with a name and a number that stay, made and replaced in their order.

Source: pkg/controller/statefulset (stateful_set_control.go, stateful_set_utils.go).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable

from testbed.api.documents import Document, name_of
from testbed.api.status import StatusError
from testbed.control import pods
from testbed.control.controllers import ownership, revisions
from testbed.control.controllers.base import Controller, Key, RetryError, namespace_is_ending
from testbed.control.store import Event

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_ORDINAL = re.compile(r"(.*)-(\d+)")


class StatefulSetController(Controller):
    resources = ("statefulsets", "pods")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods":
            return ownership.concerned(self.api, "statefulsets", "StatefulSet", event)
        return super().keys_for(event)

    def reconcile(self, key: Key) -> None:
        owner = self.store.find("statefulsets", *key)
        if owner is None:
            return
        claimed = ownership.claim(self.api, owner, lambda pod: _ordinal(owner, pod) is not None)
        update, others = revisions.ensure(self.api, owner)
        current_name = (owner.get("status") or {}).get("currentRevision") or name_of(update)
        current = next((r for r in others if name_of(r) == current_name), update)
        again: RetryError | None = None
        if not owner["metadata"].get("deletionTimestamp"):
            try:
                self._step(owner, claimed, current, update)
            except RetryError as retry:
                again = retry
        left = ownership.claim(self.api, owner, lambda pod: _ordinal(owner, pod) is not None)
        self._update_status(owner, left, current, update)
        in_use = [name_of(current), *(str(_revision(pod)) for pod in left)]
        revisions.trim(self.api, owner, others, in_use)
        waits = [
            wait
            for pod in left
            if (
                wait := pods.seconds_until_available(
                    pod, pods.min_ready(owner), self.api.clock.wall()
                )
            )
        ]
        if again is not None:
            raise again
        if waits:
            raise RetryError(min(waits), "waiting for minReadySeconds")

    # one step

    def _step(
        self, owner: Document, claimed: list[Document], current: Document, update: Document
    ) -> None:
        """Make, remove or replace Pods: one in OrderedReady sets, any number in Parallel ones."""
        ordered = owner["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        by_ordinal = {_ordinal(owner, pod): pod for pod in claimed}
        wanted = _ordinals(owner)
        unsettled = [pod for pod in _ascending(owner, claimed) if not self._is_settled(owner, pod)]
        for ordinal in wanted:
            pod = by_ordinal.pop(ordinal, None)
            if pod is not None and pods.is_over(pod):
                self._delete(owner, pod)
                pod = None if self.store.find("pods", *pods.key_of(pod)) is None else pod
            if pod is None:
                self._create(owner, ordinal, current, update)
                if ordered:
                    return
            elif ordered and not self._is_settled(owner, pod):
                return
        in_range = [pod for pod in unsettled if _ordinal(owner, pod) in wanted]
        first = next(iter([*in_range, *unsettled]), None)
        if not self._remove(owner, list(by_ordinal.values()), first, ordered):
            return
        if owner["spec"].get("updateStrategy", {}).get("type") != "OnDelete":
            self._roll(owner, claimed, update)

    def _is_settled(self, owner: Document, pod: Document) -> bool:
        """Whether the next in order may follow this Pod."""
        if pods.is_terminating(pod):
            return False
        now = self.api.clock.wall()
        return pods.seconds_until_available(pod, pods.min_ready(owner), now) == 0

    def _remove(
        self, owner: Document, condemned: list[Document], first: Document | None, ordered: bool
    ) -> bool:
        """Delete Pods beyond the range, the last first; True if there are none to wait for.

        An ordered set waits for one that isn't available, unless it is the `first` of those.
        """
        for pod in reversed(_ascending(owner, condemned)):
            if not pods.is_terminating(pod):
                if ordered and not self._is_settled(owner, pod) and pod is not first:
                    return False
                self._delete(owner, pod)
            if ordered:
                return False
        return True

    def _roll(self, owner: Document, claimed: list[Document], update: Document) -> None:
        """Replace Pods of other revisions, the last first, while few enough are unavailable."""
        wanted = _ordinals(owner)
        mine = [pod for pod in _ascending(owner, claimed) if _ordinal(owner, pod) in wanted]
        settled = sum(self._is_settled(owner, pod) for pod in mine)
        room = max_unavailable(owner) - (len(wanted) - settled)
        first = _start(owner) + _partition(owner)
        for pod in reversed(mine):
            if room <= 0 or (_ordinal(owner, pod) or 0) < first:
                return
            if _revision(pod) != name_of(update) and not pods.is_terminating(pod):
                self._delete(owner, pod)
                room -= 1

    def _create(self, owner: Document, ordinal: int, current: Document, update: Document) -> None:
        strategy = owner["spec"].get("updateStrategy", {}).get("type")
        old = strategy != "OnDelete" and ordinal < _start(owner) + _partition(owner)
        revision = current if old else update
        name = f"{name_of(owner)}-{ordinal}"
        pod = pods.from_template(revisions.template_of(revision), owner, name=name)
        pod["metadata"]["labels"] = {
            **pod["metadata"]["labels"],
            NAME_LABEL: name,
            INDEX_LABEL: str(ordinal),
            revisions.LABEL: name_of(revision),
        }
        pod["spec"]["hostname"] = name
        pod["spec"]["subdomain"] = owner["spec"].get("serviceName") or ""
        _add_volumes(owner, pod, name)
        what = f"Pod {name} in StatefulSet {name_of(owner)}"
        try:
            self.api.create("pods", pod)
        except StatusError as error:
            if namespace_is_ending(error):
                return
            message = f"create {what} failed error: {error}"
            self.api.event(owner, "Warning", "FailedCreate", message)
            raise RetryError(5, str(error)) from None
        self.api.event(owner, "Normal", "SuccessfulCreate", f"create {what} successful")

    def _delete(self, owner: Document, pod: Document) -> None:
        self.api.delete("pods", *pods.key_of(pod))
        message = f"delete Pod {name_of(pod)} in StatefulSet {name_of(owner)} successful"
        self.api.event(owner, "Normal", "SuccessfulDelete", message)

    # status

    def _update_status(
        self, owner: Document, claimed: list[Document], current: Document, update: Document
    ) -> None:
        found = self.store.find("statefulsets", *pods.key_of(owner))
        if found is None:
            return
        now, wanted = self.api.clock.wall(), owner["spec"]["replicas"]
        waits = [pods.seconds_until_available(pod, pods.min_ready(owner), now) for pod in claimed]
        live = [pod for pod in claimed if not pods.is_terminating(pod)]
        updated = sum(_revision(pod) == name_of(update) for pod in live)
        ready = sum(wait is not None for wait in waits)
        rolling = owner["spec"].get("updateStrategy", {}).get("type") != "OnDelete"
        complete = rolling and updated == len(claimed) == ready == wanted
        shown = update if complete else current
        status: Document = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": len(claimed),
            "readyReplicas": ready,
            "currentReplicas": sum(_revision(pod) == name_of(shown) for pod in live),
            "updatedReplicas": updated,
            "currentRevision": name_of(shown),
            "updateRevision": name_of(update),
            "collisionCount": (found.get("status") or {}).get("collisionCount") or 0,
            "availableReplicas": sum(wait == 0 for wait in waits),
        }
        optional = ("readyReplicas", "currentReplicas", "updatedReplicas")
        status = {k: v for k, v in status.items() if v or k not in optional}
        if found.get("status") != status:
            self.api.update("statefulsets", {**found, "status": status}, status=True)


def _ordinals(owner: Document) -> range:
    start = _start(owner)
    return range(start, start + int(owner["spec"]["replicas"]))


def _start(owner: Document) -> int:
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def _partition(owner: Document) -> int:
    rolling = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return int(rolling.get("partition") or 0)


def _ascending(owner: Document, members: list[Document]) -> list[Document]:
    return sorted(members, key=lambda pod: _ordinal(owner, pod) or 0)


def max_unavailable(owner: Document) -> int:
    """How many Pods may be unavailable amid a roll: at least one; percentages are rounded down.

    Source: getStatefulSetMaxUnavailable (gate MaxUnavailableStatefulSet, on since 1.35).
    """
    rolling = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    value = rolling.get("maxUnavailable", 1)
    if isinstance(value, str):
        value = int(value.rstrip("%")) * int(owner["spec"]["replicas"]) // 100
    return max(1, int(value))


def _ordinal(owner: Document, pod: Document) -> int | None:
    """The Pod's number, None where its name isn't one of the set's."""
    match = _ORDINAL.fullmatch(name_of(pod))
    return int(match[2]) if match and match[1] == name_of(owner) else None


def _revision(pod: Document) -> str | None:
    return (pod["metadata"].get("labels") or {}).get(revisions.LABEL)


def _add_volumes(owner: Document, pod: Document, name: str) -> None:
    """A volume for every claim template, as the claims would be called."""
    claims = [
        claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates") or ()
    ]
    if claims:
        others = [v for v in pod["spec"].get("volumes") or () if v["name"] not in claims]
        pod["spec"]["volumes"] = [
            *copy.deepcopy(others),
            *(
                {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}}
                for claim in claims
            ),
        ]
