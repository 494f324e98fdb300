"""Defaults of Service, Endpoints and EndpointSlice.

Sources: pkg/apis/core/v1/defaults.go, pkg/apis/discovery/v1/defaults.go.
"""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.service_fields import WITH_ADDRESS, externally_accessible, ports_of, spec_of

AFFINITY_TIMEOUT = 10800


def service(document: Document) -> None:
    spec = spec_of(document)
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", AFFINITY_TIMEOUT)
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    for port in ports_of(document):
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort", 0) in (0, ""):
            port["targetPort"] = port.get("port", 0)
    if externally_accessible(document) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] in WITH_ADDRESS:
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        balancer = document.get("status", {}).get("loadBalancer", {})
        for entry in balancer.get("ingress", ()):
            if entry.get("ip"):
                entry.setdefault("ipMode", "VIP")


def endpoints(document: Document) -> None:
    for subset in document.get("subsets", ()):
        for port in subset.get("ports", ()):
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def endpoint_slice(document: Document) -> None:
    for port in document.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
