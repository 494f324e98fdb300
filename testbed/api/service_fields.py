"""Questions about a Service document that defaulting, allocation and validation share.

Sources: pkg/api/service/util.go, pkg/registry/core/service/strategy.go.
"""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document

NONE = "None"
WITH_ADDRESS = ("ClusterIP", "NodePort", "LoadBalancer")
WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def spec_of(service: Document) -> Document:
    """`spec` as it stands in the document, made where it is missing."""
    spec: Document = service.setdefault("spec", {})
    return spec


def ports_of(service: Document) -> list[Document]:
    return spec_of(service).get("ports") or []


def type_of(service: Document) -> str:
    return str(spec_of(service).get("type", ""))


def cluster_ips(service: Document) -> list[str]:
    return spec_of(service).get("clusterIPs") or []


def families(service: Document) -> list[str]:
    return spec_of(service).get("ipFamilies") or []


def headless(service: Document) -> bool:
    return cluster_ips(service) == [NONE]


def external_name(service: Document) -> bool:
    return type_of(service) == "ExternalName"


def externally_accessible(service: Document) -> bool:
    """Reachable from outside: NodePort, LoadBalancer, or a ClusterIP with external IPs."""
    kind = type_of(service)
    return kind in WITH_NODE_PORTS or (
        kind == "ClusterIP" and bool(spec_of(service).get("externalIPs"))
    )


def needs_health_check(service: Document) -> bool:
    """A LoadBalancer that answers only on nodes with endpoints has a health check port."""
    return (
        type_of(service) == "LoadBalancer"
        and spec_of(service).get("externalTrafficPolicy") == "Local"
    )


def node_ports(service: Document) -> list[int]:
    """The node ports of the Service's ports, in order, without zeros."""
    return [port["nodePort"] for port in ports_of(service) if port.get("nodePort")]


def allocates_node_ports(service: Document) -> bool:
    """Whether ports without a node port get one."""
    if type_of(service) == "NodePort":
        return True
    allocate = spec_of(service).get("allocateLoadBalancerNodePorts")
    return type_of(service) == "LoadBalancer" and allocate is not False


def same(service: Document, old: Document, field: str, zero: Any = None) -> bool:
    """The same value of a field of spec, a missing one counting as `zero`."""
    value, stored = spec_of(service).get(field, zero), spec_of(old).get(field, zero)
    return bool(value == stored)
