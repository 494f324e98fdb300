"""Endpoints as the proxy sees them. Source: pkg/proxy/endpoint.go (BaseEndpointInfo)."""

from __future__ import annotations

from typing import NamedTuple

from testbed.api.objects import NamespacedName
from testbed.proxy.addresses import join_host_port


class EndpointInfo(NamedTuple):
    """One endpoint of one service port; printed `ip:port`.

    `is_local` is whether the slice puts it on the proxy's node. `target` and `node_name` don't
    reach any rule: they let an explanation name the Pod.
    """

    text: str
    ip: str
    port: int
    is_local: bool = False
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()
    node_name: str = ""
    target: NamespacedName | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def is_serving_terminating(self) -> bool:
        """Fit for the fallback where nothing is ready."""
        return self.serving and self.terminating


def endpoint_text(ip: str, port: int) -> str:
    """The key of an endpoint within its service port: `ip:port`, `[ip]:port`."""
    return join_host_port(ip, port)
