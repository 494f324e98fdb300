"""How the endpoints of one Service and family are laid out in slices, with few writes.

Source: staging/src/k8s.io/endpointslice/reconciler.go (reconcileByPortMapping). Pure but for
`write_packing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control.controllers.base import ClusterApi

MAX_ENDPOINTS = 100

#: (name, port, protocol, appProtocol) of every port, in the Service's order: what groups endpoints
#: into slices.
PortMap: TypeAlias = tuple[tuple[str, int, str, str], ...]


def identity(endpoint: Document) -> str:
    """What makes an endpoint the same one in another state: its target and its address."""
    target = (endpoint.get("targetRef") or {}).get("name", "")
    return f"{target}/{endpoint['addresses'][0]}"


@dataclass
class Packing:
    """What to do to the slices of one Service and family; endpoints as lists of documents."""

    create: list[tuple[PortMap, list[Document]]] = field(default_factory=list)
    update: list[tuple[Document, PortMap, list[Document]]] = field(default_factory=list)
    delete: list[Document] = field(default_factory=list)


def pack(
    wanted: Mapping[PortMap, Mapping[str, Document]],
    existing: list[Document],
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    limit: int = MAX_ENDPOINTS,
) -> Packing:
    """Bring the slices of one family to `wanted` (by `identity`), `limit` endpoints in each.

    Slices that change anyway are filled first, fullest first; then one unchanged slice with just
    enough room; then new slices. Without endpoints one empty slice without ports remains.
    """
    plan = Packing()
    by_ports: dict[PortMap, list[Document]] = {}
    for slice_ in existing:
        by_ports.setdefault(_ports_of(slice_), []).append(slice_)
    groups: dict[PortMap, Mapping[str, Document]] = dict(wanted) or {(): {}}
    for ports, endpoints in groups.items():
        slices = by_ports.pop(ports, [])
        stale = [s for s in slices if not _has_meta(s, labels, annotations or {})]
        _pack_group(plan, ports, endpoints, slices, stale, limit)
    plan.delete += [slice_ for slices in by_ports.values() for slice_ in slices]
    # A slice to create takes the place of one to delete: one write instead of two.
    while plan.create and plan.delete:
        ports, members = plan.create.pop()
        plan.update.append((plan.delete.pop(), ports, members))
    return plan


def _pack_group(
    plan: Packing,
    ports: PortMap,
    wanted: Mapping[str, Document],
    slices: list[Document],
    stale: list[Document],
    limit: int,
) -> None:
    left = dict(wanted)
    touched: list[tuple[Document, list[Document]]] = []
    unchanged: list[tuple[Document, list[Document]]] = []
    for slice_ in slices:
        before = slice_.get("endpoints") or []
        kept = []
        for endpoint in before:
            new = left.pop(identity(endpoint), None)
            if new is not None:
                kept.append(new)
        if before and not kept and (len(slices) > 1 or ports):
            plan.delete.append(slice_)
        elif kept != before or slice_ in stale:
            touched.append((slice_, kept))
        else:
            unchanged.append((slice_, kept))
    for _, members in sorted(touched, key=lambda entry: -len(entry[1])):
        _fill(members, left, limit)
    if 0 < len(left) < limit:
        fitting = [entry for entry in unchanged if len(entry[1]) + len(left) <= limit]
        if fitting:
            chosen = max(fitting, key=lambda entry: len(entry[1]))
            unchanged.remove(chosen)
            _fill(chosen[1], left, limit)
            touched.append(chosen)
    plan.update += [(slice_, ports, members) for slice_, members in touched]
    while left:
        members = []
        _fill(members, left, limit)
        plan.create.append((ports, members))
    if not wanted and not slices:
        plan.create.append((ports, []))


def _has_meta(slice_: Document, labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    meta = slice_["metadata"]
    return meta.get("labels") == labels and (meta.get("annotations") or {}) == annotations


def _fill(members: list[Document], left: dict[str, Document], limit: int) -> None:
    while left and len(members) < limit:
        members.append(left.pop(next(iter(left))))


def _ports_of(slice_: Document) -> PortMap:
    return tuple(
        (p.get("name") or "", p.get("port") or 0, p["protocol"], p.get("appProtocol") or "")
        for p in slice_.get("ports") or ()
    )


def port_documents(ports: PortMap) -> list[Document] | None:
    documents: list[Document] = []
    for name, port, protocol, app_protocol in ports:
        document: Document = {"name": name, "port": port, "protocol": protocol}
        if app_protocol:
            document["appProtocol"] = app_protocol
        documents.append(document)
    return documents or None


def write_packing(api: ClusterApi, plan: Packing, family: str, meta: Document) -> None:
    """Carry a plan out; `meta` is the metadata of new slices, and its labels those of all."""
    for slice_ in plan.delete:
        api.delete("endpointslices", namespace_of(slice_), name_of(slice_))
    for slice_, ports, endpoints in plan.update:
        changed = {name: slice_["metadata"][name] for name in slice_["metadata"]}
        changed["labels"] = meta["labels"]
        changed.pop("annotations", None)
        if meta.get("annotations"):
            changed["annotations"] = meta["annotations"]
        contents = {"ports": port_documents(ports), "endpoints": endpoints or None}
        api.update("endpointslices", {**slice_, "metadata": changed, **contents})
    for ports, endpoints in plan.create:
        api.create(
            "endpointslices",
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": meta,
                "addressType": family,
                "ports": port_documents(ports),
                "endpoints": endpoints or None,
            },
        )
