"""Which Pods belong to a controller's object: adoption of orphans, release of those that left.

Source: pkg/controller/controller_ref_manager.go PodControllerRefManager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control import pods
from testbed.control.controllers.base import (
    ClusterApi,
    Key,
    is_owned_by,
    matches,
    owner_of,
    owner_reference,
)
from testbed.control.store import Event


def concerned(api: ClusterApi, resource: str, kind: str, event: Event) -> Iterable[Key]:
    """The objects of a resource that the Pod of an event belongs to, or could be adopted by."""
    pod = event.object
    reference = owner_of(pod)
    if reference is not None:
        if reference["kind"] == kind:
            yield namespace_of(pod), reference["name"]
        return
    labels = pod["metadata"].get("labels")
    for owner in api.store.list(resource, namespace_of(pod)):
        if matches(owner["spec"]["selector"], labels):
            yield namespace_of(pod), name_of(owner)


def claim(
    api: ClusterApi, owner: Document, fits: Callable[[Document], bool] = lambda pod: True
) -> list[Document]:
    """The owner's Pods; matching orphans that it `fits` are adopted, others are released."""
    selector = owner["spec"]["selector"]
    going = bool(owner["metadata"].get("deletionTimestamp"))
    claimed: list[Document] = []
    for pod in api.store.list("pods", namespace_of(owner)):
        if is_owned_by(pod, owner):
            if going or (matches(selector, pod["metadata"].get("labels")) and fits(pod)):
                claimed.append(pod)
            else:
                _set_owner(api, pod, None)
        elif (
            not going
            and owner_of(pod) is None
            and pods.is_active(pod)
            and matches(selector, pod["metadata"].get("labels"))
            and fits(pod)
        ):
            claimed.append(_set_owner(api, pod, owner))
    return claimed


def _set_owner(api: ClusterApi, pod: Document, owner: Document | None) -> Document:
    meta = dict(pod["metadata"])
    references = [r for r in meta.pop("ownerReferences", None) or () if not r.get("controller")]
    if owner is not None:
        references.append(owner_reference(owner))
    if references:
        meta["ownerReferences"] = references
    return api.update("pods", {**pod, "metadata": meta})
