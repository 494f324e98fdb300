"""Garbage collection: what an object owns goes when it goes.

Source: pkg/controller/garbagecollector: background deletion by missing owners, and the finalizers
`orphan` and `foregroundDeletion` that a deletion's propagation policy leaves.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.resources import RESOURCES as SERVED
from testbed.api.resources import by_kind
from testbed.control.controllers.base import ClusterApi, Controller, Key
from testbed.control.store import Event, EventType, NotFoundError

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
#: What is looked after: everything that can be deleted, but Events.
RESOURCES = tuple(
    dict.fromkeys(
        each.resource for each in SERVED if "delete" in each.verbs and each.resource != "events"
    )
)
#: (resource, namespace, name).
_Place: TypeAlias = tuple[str, str, str]


class _Owner(Enum):
    """What has become of the owner that a reference names."""

    SOLID = "there"
    DANGLING = "gone"
    WAITING = "waiting for its dependents to be deleted"


class GarbageCollector(Controller):
    """Works on objects by uid: its keys are ("", uid)."""

    resources = RESOURCES

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        self._places: dict[str, _Place] = {}
        self._dependents: dict[str, dict[str, _Place]] = {}

    def keys_for(self, event: Event) -> Iterable[Key]:
        document, uid = event.object, event.object["metadata"]["uid"]
        place = event.resource, namespace_of(document), name_of(document)
        before = set(_owners(event.old)) if event.old else set()
        owners = set(_owners(document))
        if event.type is EventType.DELETED:
            self._places.pop(uid, None)
            owners, before = set(), before | owners
        else:
            self._places[uid] = place
        for owner in before - owners:
            self._dependents.get(owner, {}).pop(uid, None)
        for owner in owners:
            self._dependents.setdefault(owner, {})[uid] = place
        if event.type is EventType.MODIFIED and _state(event.old) == _state(document):
            return []
        return [("", each) for each in (uid, *sorted(before | owners))]

    def reconcile(self, key: Key) -> None:
        uid = key[1]
        place = self._places.get(uid)
        document = self.store.find(*place) if place else None
        if document is None or place is None:
            for resource, dependent in list(self._existing_dependents(uid)):
                self._collect(resource, dependent)
            self._dependents.pop(uid, None)
            return
        finalizers = document["metadata"].get("finalizers") or ()
        if not document["metadata"].get("deletionTimestamp"):
            self._collect(place[0], document)
        elif ORPHAN in finalizers:
            for resource, dependent in list(self._existing_dependents(uid)):
                self._drop_references(resource, dependent, {uid})
            self._drop_finalizer(place, ORPHAN)
        elif FOREGROUND in finalizers:
            self._wait_for_dependents(place, uid)

    def _existing_dependents(self, uid: str) -> Iterator[tuple[str, Document]]:
        for resource, namespace, name in list(self._dependents.get(uid, {}).values()):
            document = self.store.find(resource, namespace, name)
            if document is not None and uid in _owners(document):
                yield resource, document

    def _wait_for_dependents(self, place: _Place, uid: str) -> None:
        """Let an object go once nothing is left that blocks it. processDeletingDependentsItem."""
        for resource, dependent in list(self._existing_dependents(uid)):
            if _blocks(dependent, uid):
                self._collect(resource, dependent)
        if not any(_blocks(document, uid) for _, document in self._existing_dependents(uid)):
            self._drop_finalizer(place, FOREGROUND)

    def _collect(self, resource: str, document: Document) -> None:
        """Delete an object that has no owner left. Source: attemptToDeleteItem."""
        references = document["metadata"].get("ownerReferences") or []
        if not references or document["metadata"].get("deletionTimestamp"):
            return
        states = {each["uid"]: self._owner_state(document, each) for each in references}
        gone = {uid for uid, state in states.items() if state is not _Owner.SOLID}
        if len(gone) < len(states):
            if gone:
                self._drop_references(resource, document, gone)
        elif _Owner.WAITING in states.values() and self._dependents.get(
            document["metadata"]["uid"]
        ):
            self._unblock_circle(resource, document)
            self._delete(resource, document, "Foreground")
        else:
            finalizers = document["metadata"].get("finalizers") or ()
            policy = "Orphan" if ORPHAN in finalizers else "Background"
            self._delete(resource, document, "Foreground" if FOREGROUND in finalizers else policy)

    def _owner_state(self, document: Document, reference: Document) -> _Owner:
        """Whether the owner of a reference exists, under its name, in the object's namespace.

        A kind that isn't served here, or a namespaced owner of a cluster-wide object, is none to
        judge by: such an object stays.
        """
        kind = by_kind(reference["apiVersion"], reference["kind"])
        namespace = namespace_of(document)
        if kind is None or (kind.namespaced and not namespace):
            return _Owner.SOLID
        place = kind.resource, namespace if kind.namespaced else "", reference["name"]
        owner = self.store.find(*place)
        if owner is None or owner["metadata"]["uid"] != reference["uid"]:
            if kind.namespaced and self._places.get(reference["uid"], place)[1] != namespace:
                self._tell_elsewhere(document, reference)
            return _Owner.DANGLING
        meta = owner["metadata"]
        waits = meta.get("deletionTimestamp") and FOREGROUND in (meta.get("finalizers") or ())
        return _Owner.WAITING if waits else _Owner.SOLID

    def _tell_elsewhere(self, document: Document, reference: Document) -> None:
        namespace = namespace_of(document)
        named = (
            f"[{reference['apiVersion']}/{reference['kind']}, namespace: {namespace}, "
            f"name: {reference['name']}, uid: {reference['uid']}]"
        )
        message = f'ownerRef {named} does not exist in namespace "{namespace}"'
        self.api.event(document, "Warning", "OwnerRefInvalidNamespace", message)

    def _unblock_circle(self, resource: str, document: Document) -> None:
        """Where a dependent waits for its own dependents too, nobody waits for this object."""
        waiting = any(
            FOREGROUND in (dependent["metadata"].get("finalizers") or ())
            for _, dependent in self._existing_dependents(document["metadata"]["uid"])
        )
        if waiting:
            changed = copy.deepcopy(document)
            for reference in changed["metadata"]["ownerReferences"]:
                reference["blockOwnerDeletion"] = False
            self.api.update(resource, changed)

    def _delete(self, resource: str, document: Document, propagation: str) -> None:
        with contextlib.suppress(NotFoundError):
            self.api.delete(
                resource, namespace_of(document), name_of(document), propagation=propagation
            )

    def _drop_references(self, resource: str, document: Document, owners: set[str]) -> None:
        changed = copy.deepcopy(document)
        kept = [r for r in changed["metadata"]["ownerReferences"] if r["uid"] not in owners]
        if kept:
            changed["metadata"]["ownerReferences"] = kept
        else:
            del changed["metadata"]["ownerReferences"]
        self.api.update(resource, changed)

    def _drop_finalizer(self, place: _Place, finalizer: str) -> None:
        changed = copy.deepcopy(self.store.get(*place))
        kept = [f for f in changed["metadata"]["finalizers"] if f != finalizer]
        changed["metadata"]["finalizers"] = kept
        if not kept:
            del changed["metadata"]["finalizers"]
        self.api.update(place[0], changed)


def _owners(document: Document) -> list[str]:
    return [reference["uid"] for reference in document["metadata"].get("ownerReferences") or ()]


def _state(document: Document | None) -> tuple[object, ...]:
    """What of an object matters here."""
    meta = (document or {"metadata": {}})["metadata"]
    return tuple(meta.get(n) for n in ("ownerReferences", "finalizers", "deletionTimestamp"))


def _blocks(document: Document, uid: str) -> bool:
    return any(
        reference["uid"] == uid and reference.get("blockOwnerDeletion")
        for reference in document["metadata"].get("ownerReferences") or ()
    )
