"""Namespace deletion: everything in it goes first, its Pods before all else, then the namespace.

Source: pkg/controller/namespace/deletion (with OrderedNamespaceDeletion, which is always on).
"""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Iterable, Sequence

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.resources import RESOURCES, ResourceType
from testbed.api.status import StatusError
from testbed.control.controllers.base import Controller, Key, RetryError, set_condition
from testbed.control.store import Event, EventType, NotFoundError

#: Spec finalizer that the controller takes off when the namespace is empty.
FINALIZER = "kubernetes"
#: Every resource whose objects are in namespaces, once each.
NAMESPACED: tuple[ResourceType, ...] = tuple(
    {r.resource: r for r in reversed(RESOURCES) if r.namespaced and "list" in r.verbs}.values()
)[::-1]
#: Seconds until objects that couldn't be deleted are tried again.
RETRY = 5.0
#: What the conditions say where nothing is wrong: (reason, message).
_CONTENT_REMOVED = ("ContentRemoved", "All content successfully removed")
FINE = {
    "NamespaceDeletionDiscoveryFailure": (
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": _CONTENT_REMOVED,
    "NamespaceFinalizersRemaining": _CONTENT_REMOVED,
}


class NamespaceController(Controller):
    resources = ("namespaces", *(each.resource for each in NAMESPACED))

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "namespaces":
            yield from super().keys_for(event)
        elif event.type is EventType.DELETED or event.object["metadata"].get("deletionTimestamp"):
            namespace = self.store.find("namespaces", "", namespace_of(event.object))
            if namespace is not None and namespace["metadata"].get("deletionTimestamp"):
                yield "", name_of(namespace)

    def reconcile(self, key: Key) -> None:
        """Empty a namespace that is being deleted; raises RetryError where something refused."""
        namespace = self.store.find("namespaces", *key)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return
        pods = [each for each in NAMESPACED if each.resource == "pods"]
        problems = self._empty(key[1], pods)
        if not self.store.list("pods", key[1]):
            problems += self._empty(key[1], [each for each in NAMESPACED if each not in pods])
        self._tell(key, problems)
        if problems:
            raise RetryError(RETRY, problems[0])
        if any(self.store.list(each.resource, key[1]) for each in NAMESPACED):
            return
        changed = copy.deepcopy(self.store.get("namespaces", *key))
        finalizers = (changed.get("spec") or {}).get("finalizers") or []
        if FINALIZER in finalizers:
            changed["spec"]["finalizers"] = [f for f in finalizers if f != FINALIZER]
            self.api.update("namespaces", changed)
        with contextlib.suppress(NotFoundError):
            self.api.delete("namespaces", *key, grace=0)

    def _empty(self, name: str, resources: Iterable[ResourceType]) -> list[str]:
        """Delete what isn't going already; what was refused, in words."""
        problems = []
        for each in resources:
            for document in self.store.list(each.resource, name):
                if not document["metadata"].get("deletionTimestamp"):
                    try:
                        self.api.delete(each.resource, name, name_of(document))
                    except NotFoundError:
                        continue
                    except StatusError as error:
                        problems.append(str(error))
        return problems

    def _tell(self, key: Key, problems: Sequence[str]) -> None:
        """Bring phase and conditions up to date."""
        namespace = self.store.get("namespaces", *key)
        changed = copy.deepcopy(namespace)
        status = changed.setdefault("status", {})
        status["phase"] = "Terminating"
        found = _trouble(problems, self._left(key[1]))
        for kind, fine in FINE.items():
            reason, message = found.get(kind, fine)
            entry = {
                "type": kind,
                "status": str(kind in found),
                "reason": reason,
                "message": message,
            }
            set_condition(status, entry, self.store.timestamp())
        if changed != namespace:
            self.api.update("namespaces", changed, status=True)

    def _left(self, name: str) -> list[tuple[ResourceType, list[Document]]]:
        # While Pods remain, nothing else has been looked at.
        looked_at = [e for e in NAMESPACED if e.resource == "pods" or not self._has_pods(name)]
        return [
            (each, found) for each in looked_at if (found := self.store.list(each.resource, name))
        ]

    def _has_pods(self, name: str) -> bool:
        return bool(self.store.list("pods", name))


def _trouble(
    problems: Sequence[str], left: Sequence[tuple[ResourceType, list[Document]]]
) -> dict[str, tuple[str, str]]:
    """The conditions that hold: type → (reason, message). Source: status_condition_utils.go."""
    found: dict[str, tuple[str, str]] = {}
    if problems:
        texts = ", ".join(sorted(problems))
        message = f"Failed to delete all resource types, {len(problems)} remaining: {texts}"
        found["NamespaceDeletionContentFailure"] = "ContentDeletionFailed", message
    if left:
        counts = sorted(
            f"{each.resource}.{each.group} has {len(documents)} resource instances"
            for each, documents in left
        )
        message = f"Some resources are remaining: {', '.join(counts)}"
        found["NamespaceContentRemaining"] = "SomeResourcesRemain", message
    held = Counter(
        finalizer
        for _, documents in left
        for document in documents
        for finalizer in document["metadata"].get("finalizers") or ()
    )
    if held:
        texts = ", ".join(
            sorted(
                f"{finalizer} in {count} resource instances" for finalizer, count in held.items()
            )
        )
        message = f"Some finalizers are remaining: {texts}"
        found["NamespaceFinalizersRemaining"] = "SomeFinalizerRemain", message
    return found
