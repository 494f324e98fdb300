"""Objects as meta.k8s.io/v1 Tables: what `kubectl get` prints, one row function per kind.

Columns behind a `+` show with `-o wide` alone. Source: pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from testbed.api.documents import Document
from testbed.api.resources import ResourceType
from testbed.control.apiserver.tables import apps, core, network
from testbed.control.apiserver.tables.pod import pod_row
from testbed.control.apiserver.tables.text import since

Row: TypeAlias = Callable[[Document, float], list[Any]]


def _plain_row(document: Document, now: float) -> list[Any]:
    meta = document["metadata"]
    return [meta.get("name", ""), since(meta.get("creationTimestamp"), now)]


_WORKLOAD = "+Containers +Images +Selector"
#: By resource: the columns ("_" stands for a blank) and the function that makes the cells.
_KINDS: dict[str, tuple[str, Row]] = {
    "pods": (
        "Name Ready Status Restarts Age +IP +Node +Nominated_Node +Readiness_Gates",
        pod_row,
    ),
    "services": ("Name Type Cluster-IP External-IP Port(s) Age +Selector", core.service_row),
    "endpoints": ("Name Endpoints Age", core.endpoints_row),
    "nodes": (
        "Name Status Roles Age Version +Internal-IP +External-IP +OS-Image +Kernel-Version "
        "+Container-Runtime",
        core.node_row,
    ),
    "namespaces": ("Name Status Age", core.namespace_row),
    "configmaps": ("Name Data Age", core.config_map_row),
    "secrets": ("Name Type Data Age", core.secret_row),
    "serviceaccounts": ("Name Secrets Age", core.service_account_row),
    "podtemplates": ("Name Containers Images Pod_Labels", core.pod_template_row),
    "events": (
        "Last_Seen Type Reason Object +Subobject +Source Message +First_Seen +Count +Name",
        core.event_row,
    ),
    "deployments": (f"Name Ready Up-to-date Available Age {_WORKLOAD}", apps.deployment_row),
    "replicasets": (f"Name Desired Current Ready Age {_WORKLOAD}", apps.replica_set_row),
    "statefulsets": ("Name Ready Age +Containers +Images", apps.stateful_set_row),
    "daemonsets": (
        f"Name Desired Current Ready Up-to-date Available Node_Selector Age {_WORKLOAD}",
        apps.daemon_set_row,
    ),
    "controllerrevisions": ("Name Controller Revision Age", apps.controller_revision_row),
    "endpointslices": ("Name AddressType Ports Endpoints Age", network.endpoint_slice_row),
    "ingresses": ("Name Class Hosts Address Ports Age", network.ingress_row),
    "ingressclasses": ("Name Controller Parameters Age", network.ingress_class_row),
    "servicecidrs": ("Name CIDRs Age", network.service_cidr_row),
    "ipaddresses": ("Name ParentRef Age", network.ip_address_row),
    "leases": ("Name Holder Age", network.lease_row),
}
_PLAIN: tuple[str, Row] = ("Name Age", _plain_row)
#: Columns that hold numbers, in the kinds where they do.
_NUMBERS = frozenset({"Data", "Secrets", "Desired", "Current", "Count", "Revision"})


@cache
def _columns(resource: str) -> tuple[Document, ...]:
    definitions = []
    for word in _KINDS.get(resource, _PLAIN)[0].split():
        name = word.removeprefix("+").replace("_", " ")
        definitions.append(
            {
                "name": name,
                "type": "integer" if name in _NUMBERS else "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": int(word.startswith("+")),
            }
        )
    return tuple(definitions)


def table(
    resource: ResourceType,
    documents: list[Document],
    meta: Document,
    include: str,
    now: float,
    *,
    columns: bool = True,
) -> Document:
    """The Table of `documents` at wall time `now`.

    `include` (None, Metadata, Object) says how much of each object its row carries.
    """
    row = _KINDS.get(resource.resource, _PLAIN)[1]
    rows = []
    for document in documents:
        entry: Document = {"cells": row(document, now)}
        if include != "None":
            entry["object"] = document if include == "Object" else partial(document)
        rows.append(entry)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": list(_columns(resource.resource)) if columns else None,
        "rows": rows,
    }


def partial(document: Document) -> Document:
    """The object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": document["metadata"],
    }


class Stream:
    """The Tables of a watch: one row each, with the columns in the first alone."""

    def __init__(self, resource: ResourceType, include: str, wall: Callable[[], float]) -> None:
        self._resource = resource
        self._include = include
        self._wall = wall
        self._begun = False

    def table(self, document: Document) -> Document:
        meta = {"resourceVersion": document["metadata"].get("resourceVersion", "")}
        bookmark = "name" not in document["metadata"]
        made = table(
            self._resource,
            [] if bookmark else [document],
            document["metadata"] if bookmark else meta,
            self._include,
            self._wall(),
            columns=not self._begun,
        )
        self._begun = True
        return made
