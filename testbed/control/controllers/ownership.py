"""What belongs to a controller's object: adoption of orphans, release of those that left.

Source: pkg/controller/controller_ref_manager.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control import names, pods
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
    """The objects of a resource that the object of an event belongs to, or could be adopted by."""
    owned = event.object
    reference = owner_of(owned)
    before = owner_of(event.old) if event.old is not None else None
    if before is not None and before != reference and before["kind"] == kind:
        yield namespace_of(owned), before["name"]
    if reference is not None:
        if reference["kind"] == kind:
            yield namespace_of(owned), reference["name"]
        return
    labels = owned["metadata"].get("labels")
    for owner in api.store.list(resource, namespace_of(owned)):
        if matches(owner["spec"]["selector"], labels):
            yield namespace_of(owned), name_of(owner)


def claim(
    api: ClusterApi,
    owner: Document,
    fits: Callable[[Document], bool] = lambda document: True,
    resource: str = "pods",
    among: Callable[[Document], bool] = lambda document: True,
) -> list[Document]:
    """The owner's Pods, ReplicaSets or revisions; only those `among` are looked at.

    Matching orphans that it `fits` are adopted, those that match no longer are released.
    """
    selector = owner["spec"]["selector"]
    going = bool(owner["metadata"].get("deletionTimestamp"))
    claimed: list[Document] = []
    for each in filter(among, api.store.list(resource, namespace_of(owner))):
        belongs = matches(selector, each["metadata"].get("labels")) and fits(each)
        if is_owned_by(each, owner):
            if belongs:
                claimed.append(each)
            elif not going:
                _set_owner(api, resource, each, None)
        elif not going and belongs and owner_of(each) is None and pods.is_active(each):
            claimed.append(_set_owner(api, resource, each, owner))
    return claimed


def _set_owner(api: ClusterApi, resource: str, owned: Document, owner: Document | None) -> Document:
    meta = dict(owned["metadata"])
    references = [r for r in meta.pop("ownerReferences", None) or () if not r.get("controller")]
    if owner is not None:
        references.append(owner_reference(owner))
    if references:
        meta["ownerReferences"] = references
    return api.update(resource, {**owned, "metadata": meta})


def free_hash(
    api: ClusterApi, resource: str, owner: Document, owners: str, hashed: Document
) -> str:
    """A template hash whose name (`owner-hash`) no object of the resource has yet.

    Source: sync.go getNewReplicaSet, controller_history.go: a clash is counted in the owner's
    `status.collisionCount`, which goes into the hash.
    """
    key = namespace_of(owner), name_of(owner)
    before = count = int((owner.get("status") or {}).get("collisionCount") or 0)
    label = names.template_hash(hashed, count)
    while api.store.find(resource, key[0], f"{key[1]}-{label}") is not None:
        count += 1
        label = names.template_hash(hashed, count)
    if count != before:
        found = api.store.get(owners, *key)
        status = {**(found.get("status") or {}), "collisionCount": count}
        api.update(owners, {**found, "status": status}, status=True)
    return label
