"""What the oracle is asked and what it answers: Origin, Expectation (a flow is testbed.flow's)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from testbed.api.objects import NamespacedName
from testbed.flow.tuples import endpoint


class Place(StrEnum):
    """Where a packet starts."""

    POD = "pod"
    #: A process on the node itself; also a Pod with hostNetwork.
    NODE = "node"
    #: Anywhere else: a client, the cloud's load balancer, a router.
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a packet starts: on which node, or, from outside, which node it enters first.

    From outside, `node` may be left "" if the destination is a node's own address.
    """

    place: Place
    node: str = ""


class Verdict(StrEnum):
    #: A backend of a Service gets it.
    DELIVERED = "delivered"
    #: The sender gets an ICMP error (port unreachable) at once.
    REFUSED = "refused"
    #: It vanishes: the sender waits until it times out.
    DROPPED = "dropped"
    #: No Service is meant: it goes on to `dst` as it is (to a Pod, to another host, to nowhere).
    ROUTED = "routed"
    #: No Service is meant: the node's own sockets get it (or its health check port does).
    NODE = "node"


class SourceKind(StrEnum):
    UNCHANGED = "unchanged"
    #: An address of `node`: the one on the interface that faces the backend.
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Source:
    """The address that a backend sees.

    `address` is exact for UNCHANGED. For NODE it is that node's primary address, which is what a
    backend elsewhere sees; a backend on the same node may see another address of the node (its
    bridge's, with many Pod networks).
    """

    kind: SourceKind
    address: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    """An endpoint that may get the connection; `probability` is that of a new client."""

    ip: str
    port: int
    node: str
    pod: NamespacedName | None
    probability: float
    source: Source

    @property
    def address(self) -> str:
        return endpoint(self.ip, self.port)


class FrontEndKind(StrEnum):
    CLUSTER_IP = "ClusterIP"
    EXTERNAL_IP = "externalIP"
    LOAD_BALANCER = "load balancer IP"
    NODE_PORT = "NodePort"
    HEALTH_CHECK = "healthCheckNodePort"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must happen to a flow, and why.

    `node` is where it was decided: the node that translates, refuses or drops. `entered` are the
    nodes the packet meets, in order, up to that one. `backends` add up to probability 1 for
    DELIVERED; for ROUTED they name the Pod whose own address `dst` is, if any. `service` and
    `port` (the Service port's name) are set where a Service decided.
    """

    verdict: Verdict
    reason: str
    node: str = ""
    entered: tuple[str, ...] = ()
    front_end: FrontEndKind | None = None
    service: NamespacedName | None = None
    port: str = ""
    backends: tuple[Backend, ...] = ()
    source_reason: str = ""
    #: Seconds that a client stays with its backend; 0 without session affinity.
    affinity: int = 0

    def as_json(self) -> dict[str, Any]:
        """The expectation as JSON values; keys as the fields, enums as their values."""
        return {
            "verdict": str(self.verdict),
            "reason": self.reason,
            "node": self.node,
            "entered": list(self.entered),
            "frontEnd": str(self.front_end) if self.front_end else None,
            "service": str(self.service) if self.service else None,
            "port": self.port,
            "backends": [_backend_json(b) for b in self.backends],
            "sourceReason": self.source_reason,
            "affinitySeconds": self.affinity,
        }


def _backend_json(backend: Backend) -> dict[str, Any]:
    return {
        "ip": backend.ip,
        "port": backend.port,
        "node": backend.node,
        "pod": str(backend.pod) if backend.pod else None,
        "probability": backend.probability,
        "source": {
            "kind": str(backend.source.kind),
            "address": backend.source.address,
            "node": backend.source.node,
        },
    }
