"""Namespace deletion: everything in it goes first, then the namespace.

Source: pkg/controller/namespace/deletion.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable

from testbed.api.documents import name_of, namespace_of
from testbed.api.resources import RESOURCES
from testbed.control.controllers.base import Controller, Key
from testbed.control.store import Event, EventType, NotFoundError

#: Spec finalizer that the controller takes off when the namespace is empty.
FINALIZER = "kubernetes"
#: Deleted with grace, so that their controllers may still see them off.
NAMESPACED = tuple(
    dict.fromkeys(r.resource for r in RESOURCES if r.namespaced and "list" in r.verbs)
)


class NamespaceController(Controller):
    resources = ("namespaces", *NAMESPACED)

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "namespaces":
            yield from super().keys_for(event)
        elif event.type is EventType.DELETED:
            yield "", namespace_of(event.object)

    def reconcile(self, key: Key) -> None:
        namespace = self.store.find("namespaces", *key)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return
        if (namespace.get("status") or {}).get("phase") != "Terminating":
            changed = copy.deepcopy(namespace)
            changed.setdefault("status", {})["phase"] = "Terminating"
            self.api.update("namespaces", changed, status=True)
        name = key[1]
        for resource in NAMESPACED:
            for document in self.store.list(resource, name):
                if not document["metadata"].get("deletionTimestamp"):
                    with contextlib.suppress(NotFoundError):
                        self.api.delete(resource, name, name_of(document))
        if any(self.store.list(resource, name) for resource in NAMESPACED):
            return
        changed = copy.deepcopy(self.store.get("namespaces", *key))
        finalizers = (changed.get("spec") or {}).get("finalizers") or []
        if FINALIZER in finalizers:
            changed["spec"]["finalizers"] = [f for f in finalizers if f != FINALIZER]
            self.api.update("namespaces", changed)
        with contextlib.suppress(NotFoundError):
            self.api.delete("namespaces", *key, grace=0)
