"""Which endpoints a service port's traffic may go to from this node.

Source: pkg/proxy/topology.go (CategorizeEndpoints); catalogue K-47…K-54.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.service_port import ServicePortInfo

PREFER_SAME_NODE = "PreferSameNode"
PREFER_SAME_ZONE = "PreferSameZone"


class Categorized(NamedTuple):
    """The answer of `categorize_endpoints`; its contract is there."""

    cluster: tuple[EndpointInfo, ...]
    local: tuple[EndpointInfo, ...]
    reachable: tuple[EndpointInfo, ...]
    has_any: bool


def categorize_endpoints(
    endpoints: Sequence[EndpointInfo], service_port: ServicePortInfo, node_name: str, zone: str
) -> Categorized:
    """Choose among `endpoints` what this node (its name, its zone or "") may use.

    - `cluster`: for traffic under the Cluster policy. The ready endpoints that the topology hints
      allow here; where nothing is ready in the whole cluster, everything that still serves while
      it terminates. Empty for a service port that never uses the Cluster policy.
    - `local`: for traffic under the Local policy: the ready endpoints of this node, whatever the
      hints say; where this node has none, those of this node that still serve while they
      terminate. Empty for a service port that never uses the Local policy.
    - `reachable`: every endpoint of the two, each once.
    - `has_any`: whether any node has an endpoint that some traffic could use. With `local` empty
      it tells "not here" (drop) from "nowhere" (reject).

    The order of `endpoints` is kept in each list.
    """
    cluster: tuple[EndpointInfo, ...] = ()
    mode = ""
    if service_port.uses_cluster_endpoints:
        mode = topology_mode(endpoints, node_name, zone)
        cluster = tuple(e for e in endpoints if e.ready and _allowed(e, mode, node_name, zone))
        if not cluster:
            cluster = tuple(e for e in endpoints if e.is_serving_terminating)
        if not service_port.uses_local_endpoints:
            return Categorized(cluster, (), cluster, bool(cluster))

    local = tuple(e for e in endpoints if e.is_local and e.ready)
    fallback = not local
    if fallback:
        local = tuple(e for e in endpoints if e.is_local and e.is_serving_terminating)
    has_any = any(e.ready or e.is_serving_terminating for e in endpoints)
    if not service_port.uses_cluster_endpoints:
        return Categorized((), local, local, has_any)
    if not mode and not fallback:  # then `cluster` is everything that is ready
        return Categorized(cluster, local, cluster, has_any)
    chosen = {e.text for e in cluster} | {e.text for e in local}
    reachable = tuple(e for e in endpoints if e.text in chosen)
    return Categorized(cluster, local, reachable, has_any)


def topology_mode(endpoints: Sequence[EndpointInfo], node_name: str, zone: str) -> str:
    """The topology that the hints of the ready endpoints ask for: a PREFER_… or "".

    A mode holds only where every ready endpoint has its hint and one of them names this node
    (this zone): hints that are half written, or that leave this node out, must not cost traffic.
    """
    if _hinted(endpoints, lambda e: e.node_hints, node_name):
        return PREFER_SAME_NODE
    if zone and _hinted(endpoints, lambda e: e.zone_hints, zone):
        return PREFER_SAME_ZONE
    return ""


def _hinted(
    endpoints: Sequence[EndpointInfo], hints: Callable[[EndpointInfo], tuple[str, ...]], here: str
) -> bool:
    named = False
    for endpoint in endpoints:
        if endpoint.ready:
            given = hints(endpoint)
            if not given:
                return False
            named = named or here in given
    return named


def _allowed(endpoint: EndpointInfo, mode: str, node_name: str, zone: str) -> bool:
    if mode == PREFER_SAME_NODE:
        return node_name in endpoint.node_hints
    return mode != PREFER_SAME_ZONE or zone in endpoint.zone_hints
