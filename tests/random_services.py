"""What the random worlds of the unit and of the kernel tests roll for a Service alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from testbed.api.documents import Document


def with_policies(
    some: Callable[..., Any], i: int, spec: Document, external: Sequence[str]
) -> Document:
    """Service `s{i}` with policies, ports on nodes and load balancer rolled by `some`.

    `spec` has type, addresses and ports already; `external` is what externalIPs may be.
    """
    kind, ports = spec["type"], spec["ports"]
    spec = {
        **spec,
        "internalTrafficPolicy": some("Cluster", "Local"),
        "sessionAffinity": some("None", "ClientIP"),
        "externalIPs": some([], external),
    }
    status: Document = {}
    if kind != "ClusterIP":
        for number, port in enumerate(ports):
            port["nodePort"] = 30000 + 10 * i + number
    if kind != "ClusterIP" or spec["externalIPs"]:
        spec["externalTrafficPolicy"] = some("Cluster", "Local")
    if kind == "LoadBalancer":
        spec["loadBalancerSourceRanges"] = some(
            [], ["203.0.113.0/24", "2001:db8:113::/48"], ["172.18.0.0/24"], ["0.0.0.0/0"]
        )
        if spec["externalTrafficPolicy"] == "Local":
            spec["healthCheckNodePort"] = 32000 + i
        mode = some("VIP", "VIP", "Proxy")
        vips = [f"198.51.100.{i}", f"2001:db8:100::{i}"]
        status = {"loadBalancer": {"ingress": [{"ip": v, "ipMode": mode} for v in vips]}}
    labels = some({}, {}, {}, {"service.kubernetes.io/service-proxy-name": "other"})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"s{i}", "namespace": "default", "labels": labels},
        "spec": spec,
        "status": status,
    }
