"""A World from documents: a dump of a real cluster, or any file with its objects."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

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
            made.append(_checked(view(document)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            named = isinstance(document.get("metadata"), dict) and name_of(document)
            what = f"{document['kind']} {named or '?'}"
            raise UsageError(f"{what}: not as the API returns it ({error})") from None
    return made


def _checked(view: View) -> View:
    """`view` itself; raises TypeError where a value isn't of its field's type.

    Views trust their documents, as what comes from an API server may be; a file may hold anything.
    """
    kind: type = type(view)
    for name, hint in _hints(kind).items():
        if not _fits(getattr(view, name), hint):
            raise TypeError(f"{name}: {getattr(view, name)!r}")
    return view


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is tuple and isinstance(value, tuple):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if origin is Mapping:
        return isinstance(value, dict) and all(
            isinstance(k, str) and isinstance(v, str) for k, v in value.items()
        )
    if dataclasses.is_dataclass(value):
        _checked(value)
    return isinstance(value, origin or hint)


def _pod_ranges(nodes: list[Node], pods: list[Pod]) -> tuple[str, ...]:
    ranges = [cidr for node in nodes for cidr in node.pod_cidrs]
    ranges += [ip for pod in pods if not pod.host_network for ip in pod.ips]
    return tuple(dict.fromkeys(ranges))


def _service_ranges(document: Document) -> list[str]:
    spec = document.get("spec")
    cidrs = spec.get("cidrs") if isinstance(spec, dict) else None
    return [str(cidr) for cidr in cidrs] if isinstance(cidrs, list) else []


def _named_ports(piece: EndpointSlice) -> EndpointSlice:
    """The API server stores a port without a name under the empty name."""
    if all(p.name is not None for p in piece.ports):
        return piece
    ports = tuple(EndpointPort(p.name or "", p.protocol, p.port) for p in piece.ports)
    return replace(piece, ports=ports)
