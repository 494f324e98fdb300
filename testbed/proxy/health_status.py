"""What the health check node ports of a node answer. Pure: the HTTP server is elsewhere.

Source: pkg/proxy/healthcheck/service_health.go, endpoints.go LocalReadyEndpoints; K-55…K-59.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.api.objects import NamespacedName
from testbed.proxy.changes import ProxyState


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One Service's health check: its port on the node, and N, what its body tells.

    `local_endpoints` counts the distinct addresses of ready endpoints on the node, over all ports
    of the Service; terminating ones don't count, although they may still get traffic.
    """

    service: NamespacedName
    port: int
    local_endpoints: int

    def is_healthy(self, proxy_healthy: bool) -> bool:
        """200 OK if so, else 503 Service Unavailable."""
        return proxy_healthy and self.local_endpoints > 0

    def headers(self) -> dict[str, str]:
        """The headers that kube-proxy sets."""
        return {
            "Content-Type": "application/json",
            "X-Content-Type-Options": "nosniff",
            "X-Load-Balancing-Endpoint-Weight": str(self.local_endpoints),
        }

    def body(self, proxy_healthy: bool) -> str:
        """The JSON body, indented with tabs, without a line end."""
        document = {
            "service": {"namespace": self.service.namespace, "name": self.service.name},
            "localEndpoints": self.local_endpoints,
            "serviceProxyHealthy": proxy_healthy,
        }
        return json.dumps(document, indent="\t")


def service_healths(state: ProxyState) -> Mapping[NamespacedName, ServiceHealth]:
    """The health checks that the node must answer for `state`, by Service."""
    ports = {
        name.service: info.health_check_node_port
        for name, info in state.services.items()
        if info.health_check_node_port
    }
    ready: dict[NamespacedName, set[str]] = {service: set() for service in ports}
    if ports:
        for name, endpoints in state.endpoints.items():
            if name.service in ready:
                ready[name.service].update(e.ip for e in endpoints if e.is_local and e.ready)
    return {
        service: ServiceHealth(service, port, len(ready[service]))
        for service, port in ports.items()
    }
