"""Garbage collection: what an object owns goes when it goes.

Source: pkg/controller/garbagecollector: background deletion by missing owners, and the finalizers
`orphan` and `foregroundDeletion` that a deletion's propagation policy leaves.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control.controllers.base import ClusterApi, Controller, Key
from testbed.control.store import Event, EventType, NotFoundError

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
#: Resources whose objects own others or are owned.
RESOURCES = (
    "configmaps",
    "controllerrevisions",
    "daemonsets",
    "deployments",
    "endpoints",
    "endpointslices",
    "pods",
    "replicasets",
    "secrets",
    "serviceaccounts",
    "services",
    "statefulsets",
)
_Place = tuple[str, str, str]


class GarbageCollector(Controller):
    """Works on owners by uid: its keys are ("", uid)."""

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
        return [("", each) for each in (uid, *sorted(before | owners))]

    def reconcile(self, key: Key) -> None:
        uid = key[1]
        place = self._places.get(uid)
        owner = self.store.find(*place) if place else None
        if owner is None:
            for dependent in list(self._existing_dependents(uid)):
                self._release(dependent, uid)
            self._dependents.pop(uid, None)
        elif owner["metadata"].get("deletionTimestamp") and place:
            finalizers = owner["metadata"].get("finalizers") or ()
            if ORPHAN in finalizers:
                for dependent in list(self._existing_dependents(uid)):
                    self._drop_reference(dependent, uid)
                self._drop_finalizer(place, ORPHAN)
            elif FOREGROUND in finalizers:
                self._delete_in_foreground(place, uid)

    def _existing_dependents(self, uid: str) -> Iterator[tuple[str, Document]]:
        for resource, namespace, name in list(self._dependents.get(uid, {}).values()):
            document = self.store.find(resource, namespace, name)
            if document is not None and uid in _owners(document):
                yield resource, document

    def _release(self, dependent: tuple[str, Document], uid: str) -> None:
        """Delete what has no owner left; otherwise only forget the one that is gone."""
        resource, document = dependent
        others = [o for o in _owners(document) if o != uid and o in self._places]
        if others:
            self._drop_reference(dependent, uid)
        else:
            self._delete(resource, document)

    def _delete(self, resource: str, document: Document) -> None:
        if not document["metadata"].get("deletionTimestamp"):
            with contextlib.suppress(NotFoundError):
                self.api.delete(resource, namespace_of(document), name_of(document))

    def _delete_in_foreground(self, place: _Place, uid: str) -> None:
        left = list(self._existing_dependents(uid))
        for resource, document in left:
            self._delete(resource, document)
        if not [1 for _, document in self._existing_dependents(uid) if _blocks(document, uid)]:
            self._drop_finalizer(place, FOREGROUND)

    def _drop_reference(self, dependent: tuple[str, Document], uid: str) -> None:
        resource, document = dependent
        changed = copy.deepcopy(document)
        kept = [r for r in changed["metadata"]["ownerReferences"] if r["uid"] != uid]
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


def _blocks(document: Document, uid: str) -> bool:
    return any(
        reference["uid"] == uid and reference.get("blockOwnerDeletion")
        for reference in document["metadata"].get("ownerReferences") or ()
    )
