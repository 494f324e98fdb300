"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had.

Source: pkg/controller/history, and getPatch of the two controllers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control.controllers import ownership
from testbed.control.controllers.base import ClusterApi, owner_reference

#: The label of a Pod: its revision's name in a StatefulSet, its hash in a DaemonSet.
LABEL = "controller-revision-hash"
#: The label of a StatefulSet's revision; a DaemonSet's has that of its Pods.
HASH_LABEL = "controller.kubernetes.io/hash"
RESOURCE = "controllerrevisions"


def ensure(api: ClusterApi, owner: Document) -> tuple[Document, list[Document]]:
    """(the revision of the present template, all others from oldest to newest)."""
    data = {"spec": {"template": {**copy.deepcopy(owner["spec"]["template"]), "$patch": "replace"}}}
    known = ownership.claim(api, owner, resource=RESOURCE)
    known.sort(key=lambda revision: int(revision["revision"]))
    newest = max((int(revision["revision"]) for revision in known), default=0)
    current = next((revision for revision in known if revision["data"] == data), None)
    if current is None:
        owners = f"{owner['kind'].lower()}s"
        label = ownership.free_hash(api, RESOURCE, owner, owners, data)
        labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
        meta: Document = {
            "name": f"{name_of(owner)}-{label}",
            "namespace": namespace_of(owner),
            "labels": {**labels, hash_label(owner): label},
            "ownerReferences": [owner_reference(owner)],
        }
        if owner["metadata"].get("annotations"):
            meta["annotations"] = dict(owner["metadata"]["annotations"])
        document = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta}
        current = api.create(RESOURCE, {**document, "data": data, "revision": newest + 1})
    elif int(current["revision"]) < newest:
        current = api.update(RESOURCE, {**current, "revision": newest + 1})
    uid = current["metadata"]["uid"]
    return current, [revision for revision in known if revision["metadata"]["uid"] != uid]


def hash_label(owner: Document) -> str:
    """The label that tells the revisions of an owner apart."""
    return LABEL if owner["kind"] == "DaemonSet" else HASH_LABEL


def trim(api: ClusterApi, owner: Document, others: list[Document], live: Iterable[str]) -> None:
    """Delete the oldest revisions past revisionHistoryLimit that nobody (`live`) uses."""
    limit = owner["spec"].get("revisionHistoryLimit", 10)
    in_use = set(live)
    unused = [revision for revision in others if name_of(revision) not in in_use]
    for revision in unused[: max(0, len(unused) - limit)]:
        api.delete(RESOURCE, namespace_of(revision), name_of(revision))


def template_of(revision: Document) -> Document:
    """The Pod template that a revision holds."""
    template = copy.deepcopy(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return dict(template)
