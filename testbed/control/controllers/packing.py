"""How the endpoints of one Service and family are laid out in slices, with few writes.

Source: staging/src/k8s.io/endpointslice/reconciler.go (reconcileByPortMapping, finalize). Pure but
for `write`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import LABEL_HEADLESS, LABEL_SERVICE_NAME
from testbed.control.controllers.base import ClusterApi
from testbed.control.controllers.port_map import PortMap, port_documents, ports_of
from testbed.control.controllers.triggers import TRIGGER_TIME

MAX_ENDPOINTS = 100
LABEL_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
#: Labels that the controller sets itself and never copies from the Service.
RESERVED_LABELS = (LABEL_SERVICE_NAME, LABEL_MANAGED_BY, LABEL_HEADLESS)

#: What makes an endpoint the same one in another state.
Identity: TypeAlias = tuple[object, ...]


def identity(endpoint: Document) -> Identity:
    """What makes an endpoint the same one in another state. Source: endpointset.go."""
    target = endpoint.get("targetRef") or {}
    addresses = tuple(sorted(endpoint["addresses"]))
    name = target.get("namespace") or "", target.get("name") or ""
    return *name, endpoint.get("hostname") or "", addresses


@dataclass(eq=False)
class Draft:
    """A slice as it shall be; `document` is the stored one, None for one to make."""

    document: Document | None
    ports: PortMap
    endpoints: list[Document]
    labels: Mapping[str, str]


@dataclass
class Packing:
    """What to do to the slices of one Service and family."""

    create: list[Draft] = field(default_factory=list)
    update: list[Draft] = field(default_factory=list)
    delete: list[Document] = field(default_factory=list)
    unchanged: list[Draft] = field(default_factory=list)

    @property
    def changing(self) -> list[Draft]:
        return [*self.create, *self.update]

    def touch(self, drafts: Sequence[Draft]) -> None:
        """Write these unchanged slices after all."""
        self.unchanged = [draft for draft in self.unchanged if draft not in drafts]
        self.update += drafts


def pack(
    wanted: Mapping[PortMap, Mapping[Identity, Document]],
    existing: Sequence[Document],
    labels: Mapping[str, str],
    limit: int = MAX_ENDPOINTS,
) -> Packing:
    """Bring the slices of one family to `wanted` (by `identity`), `limit` endpoints in each.

    Slices that change anyway are filled first, fullest first; then one unchanged slice with just
    enough room; then new slices. Without endpoints one empty slice without ports remains.
    """
    plan = Packing()
    by_ports: dict[PortMap, list[Document]] = {}
    for slice_ in existing:
        by_ports.setdefault(ports_of(slice_), []).append(slice_)
    for ports, endpoints in wanted.items():
        _pack_group(plan, ports, dict(endpoints), by_ports.pop(ports, []), labels, limit)
    plan.delete += [slice_ for slices in by_ports.values() for slice_ in slices]
    if len(existing) == len(plan.delete) and not plan.create:
        _keep_placeholder(plan, labels)
    return plan


def _pack_group(
    plan: Packing,
    ports: PortMap,
    left: dict[Identity, Document],
    slices: Sequence[Document],
    labels: Mapping[str, str],
    limit: int,
) -> None:
    touched: list[Draft] = []
    unchanged: list[Draft] = []
    for slice_ in slices:
        before = slice_.get("endpoints") or []
        found = [(left.pop(identity(endpoint), None), endpoint) for endpoint in before]
        draft = Draft(slice_, ports, [new for new, _ in found if new is not None], labels)
        if before and not draft.endpoints:
            plan.delete.append(slice_)
        elif any(new is None or not alike(new, old) for new, old in found):
            touched.append(draft)
        elif _own_labels(slice_["metadata"].get("labels")) != _own_labels(labels):
            draft.endpoints = list(before)
            touched.append(draft)
        else:
            draft.endpoints = list(before)
            unchanged.append(draft)
    for draft in sorted(touched, key=lambda draft: -len(draft.endpoints)):
        _fill(draft, left, limit)
    while left:
        target = _closest(unchanged, len(left), limit)
        if target is None:
            target = Draft(None, ports, [], labels)
            plan.create.append(target)
        else:
            unchanged.remove(target)
            touched.append(target)
        _fill(target, left, limit)
    plan.update += touched
    plan.unchanged += unchanged


def _closest(unchanged: Sequence[Draft], count: int, limit: int) -> Draft | None:
    """The slice that `count` endpoints more fill best; None where they fit in none."""
    fitting = [d for d in unchanged if count < limit and len(d.endpoints) + count <= limit]
    return max(fitting, key=lambda draft: len(draft.endpoints), default=None)


def _keep_placeholder(plan: Packing, labels: Mapping[str, str]) -> None:
    """Leave the slice that stands for no endpoints, or make it."""
    only = plan.delete[0] if len(plan.delete) == 1 else None
    if only is None or only.get("endpoints") or only.get("ports"):
        plan.create.append(Draft(None, (), [], labels))
    elif only["metadata"].get("labels") == labels:
        plan.delete.clear()
        plan.unchanged.append(Draft(only, (), [], labels))
    else:
        plan.create.append(Draft(None, (), [], labels))


def alike(new: Document, old: Document) -> bool:
    """Whether an endpoint that stayed the same one needs no write. Hints are not looked at.

    Source: EndpointsEqualBeyondHash.
    """
    names = "ready", "serving", "terminating"
    was, now = old.get("conditions") or {}, new.get("conditions") or {}
    return (
        all(was.get(name) == now.get(name) for name in names)
        and all(old.get(name) == new.get(name) for name in ("nodeName", "zone"))
        and _target(old) == _target(new)
    )


def _target(endpoint: Document) -> Document:
    target = endpoint.get("targetRef") or {}
    return {name: value for name, value in target.items() if name != "resourceVersion"}


def _own_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    return {k: v for k, v in (labels or {}).items() if k not in RESERVED_LABELS}


def _fill(draft: Draft, left: dict[Identity, Document], limit: int) -> None:
    while left and len(draft.endpoints) < limit:
        draft.endpoints.append(left.pop(next(iter(left))))


def write(
    api: ClusterApi, plan: Packing, family: str, meta: Document, trigger: str, *, creating: bool
) -> None:
    """Carry a plan out; `meta` is the metadata of new slices.

    A slice to make takes the place of one to delete: one write instead of two. None is made unless
    `creating` (the Service is being deleted). `trigger` is the time that the slices are given.
    """
    gone, recycled = list(plan.delete), []
    made = list(plan.create)
    while made and gone:
        recycled.append((gone.pop(0), made.pop()))
    for draft in made if creating else ():
        contents = {"ports": port_documents(draft.ports), "endpoints": draft.endpoints or None}
        document = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
        new = _stamped({**meta, "labels": dict(draft.labels)}, trigger)
        api.create(
            "endpointslices",
            {**document, "metadata": new, "addressType": family, **contents},
        )
    updates = [(draft.document, draft) for draft in plan.update if draft.document is not None]
    for old, draft in [*updates, *recycled]:
        kept = dict(old["metadata"])
        if draft.document is None:
            kept.pop("annotations", None)
        kept["labels"] = dict(draft.labels)
        contents = {"ports": port_documents(draft.ports), "endpoints": draft.endpoints or None}
        api.update("endpointslices", {**old, "metadata": _stamped(kept, trigger), **contents})
    for slice_ in gone:
        api.delete("endpointslices", namespace_of(slice_), name_of(slice_))


def _stamped(meta: Document, trigger: str) -> Document:
    """The metadata with the trigger time, or without one."""
    others = {k: v for k, v in (meta.get("annotations") or {}).items() if k != TRIGGER_TIME}
    annotations = {**others, TRIGGER_TIME: trigger} if trigger else others
    meta = {name: value for name, value in meta.items() if name != "annotations"}
    return {**meta, "annotations": annotations} if annotations else meta
