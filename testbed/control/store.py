"""The cluster's objects, with versions and watches.

Level-triggered readers look at the whole state; watchers are told only that something changed. The
store holds documents that have already been defaulted, allocated and validated (`testbed.api`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TypeAlias

from testbed.api.documents import Document, copy_document, name_of, namespace_of
from testbed.api.resources import COUNTED
from testbed.clock import Clock
from testbed.control.journal import Journal


class EventType(Enum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one object. `old` is None for ADDED; `object` is the last state for DELETED."""

    type: EventType
    resource: str
    object: Document
    old: Document | None
    version: int


Watcher: TypeAlias = Callable[[Event], None]


class NotFoundError(KeyError):
    """No such object; args: resource, namespace, name."""


class AlreadyExistsError(KeyError):
    """An object of that name exists; args: resource, namespace, name."""


class ConflictError(ValueError):
    """The object has changed since it was read; args: resource, namespace, name."""


class Store:
    """Objects by resource (`services`, `pods` …), namespace ("" if cluster-wide) and name.

    Documents that come out are the stored ones: read them, never change them (copy first). With a
    `journal` it begins with what the journal holds, and every change is written there first.
    """

    def __init__(self, clock: Clock, journal: Journal | None = None) -> None:
        self._clock = clock
        self._journal = journal
        self._watchers: dict[str, list[Watcher]] = {}
        self.version, self._objects = (0, {}) if journal is None else journal.load()

    # reading

    def get(self, resource: str, namespace: str, name: str) -> Document:
        """The object; raises NotFoundError."""
        try:
            return self._objects[resource][namespace, name]
        except KeyError:
            raise NotFoundError(resource, namespace, name) from None

    def find(self, resource: str, namespace: str, name: str) -> Document | None:
        """The object, or None."""
        return self._objects.get(resource, {}).get((namespace, name))

    def list(self, resource: str, namespace: str | None = None) -> list[Document]:
        """All objects of a resource (of one namespace), in order of namespace and name."""
        found = self._objects.get(resource, {})
        return [found[key] for key in sorted(found) if namespace is None or key[0] == namespace]

    def resources(self) -> Iterator[str]:
        """The resources of which an object has ever been stored."""
        return iter(self._objects)

    # writing

    def create(self, resource: str, document: Document) -> Document:
        """Store a new object with uid, creationTimestamp, generation 1 and a version.

        Raises AlreadyExistsError.
        """
        key = namespace_of(document), name_of(document)
        objects = self._objects.setdefault(resource, {})
        if key in objects:
            raise AlreadyExistsError(resource, *key)
        stored = copy_document(document)
        meta = stored["metadata"]
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = self.timestamp()
        if resource in COUNTED:
            meta["generation"] = 1
        return self._put(EventType.ADDED, resource, key, stored, None)

    def update(self, resource: str, document: Document, *, status: bool = False) -> Document:
        """Replace an object; `generation` grows when anything but metadata and status changed.

        An update that changes nothing makes no event. An object whose last finalizer goes while it
        is being deleted disappears. Raises NotFoundError, and ConflictError where the document
        carries a resourceVersion other than the stored one.
        """
        key = namespace_of(document), name_of(document)
        old = self.get(resource, *key)
        sent = document["metadata"].get("resourceVersion")
        if sent and sent != old["metadata"]["resourceVersion"]:
            raise ConflictError(resource, *key)
        stored = copy_document(document)
        meta, old_meta = stored["metadata"], old["metadata"]
        for field in ("uid", "creationTimestamp", "generation", "resourceVersion"):
            if field in old_meta:
                meta[field] = old_meta[field]
        if stored == old:
            return old
        counted = resource in COUNTED and "generation" in old_meta
        if not status and counted and _essence(stored) != _essence(old):
            meta["generation"] = old_meta["generation"] + 1
        if meta.get("deletionTimestamp") and not _held(stored):
            return self._remove(resource, key, stored)
        return self._put(EventType.MODIFIED, resource, key, stored, old)

    def delete(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        grace: int | None = None,
        finalizers: Sequence[str] = (),
    ) -> Document:
        """Delete an object, or mark it (deletionTimestamp) while finalizers or grace hold it.

        `grace` 0 or None removes an object without finalizers at once; a second delete can shorten
        the grace, never lengthen it. `finalizers` are added to the object's own. Raises
        NotFoundError.
        """
        old = self.get(resource, namespace, name)
        meta = old["metadata"]
        held = [*(meta.get("finalizers") or ())]
        held += [f for f in finalizers if f not in held and not meta.get("deletionTimestamp")]
        if not grace and not held and not _namespace_held(old):
            return self._remove(resource, (namespace, name), old)
        if meta.get("deletionTimestamp") and (grace or 0) >= meta["deletionGracePeriodSeconds"]:
            return old
        stored = copy_document(old)
        if held:
            stored["metadata"]["finalizers"] = held
        stored["metadata"]["deletionTimestamp"] = self.timestamp(grace or 0)
        stored["metadata"]["deletionGracePeriodSeconds"] = grace or 0
        if resource == "namespaces":
            stored["status"] = {**(stored.get("status") or {}), "phase": "Terminating"}
        if "generation" in stored["metadata"]:
            stored["metadata"]["generation"] += 1
        return self._put(EventType.MODIFIED, resource, (namespace, name), stored, old)

    # watching

    def watch(self, resource: str, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with every later Event of `resource`; returns the call that ends it."""
        watchers = self._watchers.setdefault(resource, [])
        watchers.append(watcher)
        return lambda: watchers.remove(watcher)

    def timestamp(self, ahead: float = 0) -> str:
        """Wall time as the API prints it, `ahead` seconds from now."""
        moment = datetime.fromtimestamp(self._clock.wall() + ahead, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _put(
        self,
        kind: EventType,
        resource: str,
        key: tuple[str, str],
        stored: Document,
        old: Document | None,
    ) -> Document:
        stored["metadata"]["resourceVersion"] = str(self.version + 1)
        self._note(resource, key, stored)
        self._objects[resource][key] = stored
        self._tell(Event(kind, resource, stored, old, self.version))
        return stored

    def _remove(self, resource: str, key: tuple[str, str], last: Document) -> Document:
        self._note(resource, key, None)
        old = self._objects[resource].pop(key)
        gone = copy_document(last)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Event(EventType.DELETED, resource, gone, old, self.version))
        return gone

    def _note(self, resource: str, key: tuple[str, str], document: Document | None) -> None:
        """Begin the next version; it is in the journal before it is anywhere else."""
        if self._journal is not None:
            if self._journal.is_long:
                with suppress(OSError):  # no room for a snapshot: there may be for this change
                    self._journal.compact(self.version, self._objects)
            self._journal.write(self.version + 1, resource, key, document)
        self.version += 1

    def _tell(self, event: Event) -> None:
        for watcher in tuple(self._watchers.get(event.resource, ())):
            watcher(event)


def _essence(document: Document) -> Document:
    """What `generation` counts changes of; a Deployment's annotations are part of it.

    Source: PrepareForUpdate in pkg/registry/apps/deployment/strategy.go.
    """
    essence = {k: v for k, v in document.items() if k not in ("metadata", "status")}
    if document.get("kind") == "Deployment":
        essence["annotations"] = document["metadata"].get("annotations") or {}
    return essence


def _held(document: Document) -> bool:
    """Whether an object that is being deleted has to stay yet. Source: ShouldDeleteDuringUpdate."""
    meta = document["metadata"]
    grace = meta.get("deletionGracePeriodSeconds")
    return bool(meta.get("finalizers") or grace or _namespace_held(document))


def _namespace_held(document: Document) -> bool:
    """A Namespace keeps its finalizers in spec."""
    return document.get("kind") == "Namespace" and bool(
        (document.get("spec") or {}).get("finalizers")
    )
