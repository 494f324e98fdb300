"""Which endpoints a node's clients may get: readiness, locality and topology hints."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.api.objects import Endpoint, NamespacedName


@dataclass(frozen=True, slots=True)
class Usable:
    """An endpoint of one Service port. `fallback`: terminating, but it still serves."""

    ip: str
    port: int
    node: str
    pod: NamespacedName | None
    ready: bool
    fallback: bool
    for_nodes: tuple[str, ...] = ()
    for_zones: tuple[str, ...] = ()

    @classmethod
    def of(cls, endpoint: Endpoint, ip: str, port: int) -> Usable:
        """Conditions that a slice leaves out: ready and serving count as true, terminating not."""
        return cls(
            ip=ip,
            port=port,
            node=endpoint.node_name,
            pod=endpoint.target,
            ready=endpoint.ready is not False,
            fallback=endpoint.serving is not False and bool(endpoint.terminating),
            for_nodes=endpoint.for_nodes,
            for_zones=endpoint.for_zones,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """A node's view of a Service port.

    `cluster` is for traffic under policy Cluster, `local` under policy Local; the words say how
    each came about. `anywhere`: some endpoint of the cluster could serve.
    """

    cluster: tuple[Usable, ...]
    cluster_words: str
    local: tuple[Usable, ...]
    local_words: str
    anywhere: bool


def choose(endpoints: tuple[Usable, ...], node: str, zone: str) -> Choice:
    """What `node` (in `zone`) may use of `endpoints`.

    Policy Cluster takes ready endpoints, narrowed by hints; policy Local takes ready endpoints on
    the node and ignores hints. Each falls back, for itself, to terminating endpoints that still
    serve when it finds no ready one.
    Semantics: kubernetes.io "Traffic policies", KEP-1669 (terminating endpoints), KEP-2433 and
    KEP-3015 (hints).
    """
    ready = tuple(e for e in endpoints if e.ready)
    if ready:
        cluster, cluster_words = _by_hints(ready, node, zone)
    else:
        cluster = tuple(e for e in endpoints if e.fallback)
        cluster_words = "no endpoint is ready: the terminating ones that still serve"
    local = tuple(e for e in ready if e.node == node)
    local_words = f"ready endpoints on {node}"
    if not local:
        local = tuple(e for e in endpoints if e.fallback and e.node == node)
        local_words = f"no endpoint on {node} is ready: its terminating ones that still serve"
    anywhere = any(e.ready or e.fallback for e in endpoints)
    return Choice(cluster, cluster_words, local, local_words, anywhere)


def _by_hints(ready: tuple[Usable, ...], node: str, zone: str) -> tuple[tuple[Usable, ...], str]:
    """Hints count only if every ready endpoint has one and some endpoint is meant for us."""
    if all(e.for_nodes for e in ready):
        near = tuple(e for e in ready if node in e.for_nodes)
        if near:
            return near, f"ready endpoints hinted for node {node}"
    if zone and all(e.for_zones for e in ready):
        near = tuple(e for e in ready if zone in e.for_zones)
        if near:
            return near, f"ready endpoints hinted for zone {zone}"
    return ready, "any ready endpoint"
