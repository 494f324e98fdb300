"""A World from documents: a dump of a real cluster, or any file with its objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from testbed.api.documents import Document, name_of
from testbed.api.objects import EndpointPort, EndpointSlice, Node, Pod, Service
from testbed.errors import UsageError
from testbed.oracle.world import Settings, World

View = TypeVar("View")


def world_from(documents: Iterable[Document], settings: Settings) -> World:
    """The World that `documents` describe; kinds that don't matter to traffic are passed over.

    Where `settings` leave them out, the cluster CIDRs are taken from the nodes' Pod CIDRs and the
    Pods' addresses, and the Service CIDRs from the ServiceCIDR objects.
    Raises UsageError for an object whose shape is wrong.
    """
    kinds: dict[str, list[Document]] = {}
    for document in documents:
        kinds.setdefault(document["kind"], []).append(document)
    services = _views(kinds.get("Service", []), Service.from_document)
    slices = _views(kinds.get("EndpointSlice", []), EndpointSlice.from_document)
    nodes = _views(kinds.get("Node", []), Node.from_document)
    pods = _views(kinds.get("Pod", []), Pod.from_document)
    if not settings.cluster_cidrs:
        settings = replace(settings, cluster_cidrs=_pod_ranges(nodes, pods))
    if not settings.service_cidrs:
        ranges = [c for d in kinds.get("ServiceCIDR", []) for c in _service_ranges(d)]
        settings = replace(settings, service_cidrs=tuple(ranges))
    return World(services, map(_named_ports, slices), nodes, pods, settings)


def _views(documents: list[Document], view: Callable[[Document], View]) -> list[View]:
    made: list[View] = []
    for document in documents:
        try:
            made.append(view(document))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"{document['kind']} {name_of(document) if _plain(document) else '?'}"
            raise UsageError(f"{what}: not as the API returns it ({error})") from None
    return made


def _plain(document: Document) -> bool:
    return isinstance(document.get("metadata"), dict)


def _pod_ranges(nodes: list[Node], pods: list[Pod]) -> tuple[str, ...]:
    ranges = [cidr for node in nodes for cidr in node.pod_cidrs]
    ranges += [ip for pod in pods if not pod.host_network for ip in pod.ips]
    return tuple(dict.fromkeys(ranges))


def _service_ranges(document: Document) -> list[str]:
    spec = document.get("spec")
    cidrs = spec.get("cidrs") if isinstance(spec, dict) else None
    return [str(c) for c in cidrs or ()]


def _named_ports(piece: EndpointSlice) -> EndpointSlice:
    """The API server stores a port without a name under the empty name."""
    if all(p.name is not None for p in piece.ports):
        return piece
    ports = tuple(EndpointPort(p.name or "", p.protocol, p.port) for p in piece.ports)
    return replace(piece, ports=ports)
