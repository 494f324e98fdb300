"""Which UDP conntrack entries are stale after a sync.

Pure: it gives a filter; who deletes is somebody else. Source: pkg/proxy/conntrack/cleanup.go,
filter.go; catalogue K-64…K-67. Look at all only where `Changes.clean_conntrack` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from testbed.proxy.changes import ProxyState

#: Address and port.
Place: TypeAlias = tuple[str, int]


class Flow(NamedTuple):
    """What of a UDP conntrack entry matters: where it was sent to, and who answers.

    Addresses are canonical. An entry that was never translated is answered by where it was sent to.
    """

    destination: str
    destination_port: int
    reply_source: str
    reply_source_port: int


@dataclass(frozen=True, slots=True)
class StaleFilter:
    """Serving endpoints by where clients send to: `by_address`, and `by_node_port` on any address.

    What neither holds is not kube-proxy's, or has no serving endpoint at all, and is left alone.
    """

    by_address: Mapping[Place, frozenset[Place]] = field(default_factory=dict)
    by_node_port: Mapping[int, frozenset[Place]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_address or self.by_node_port)

    def is_stale(self, flow: Flow) -> bool:
        """Whether the UDP entry `flow` goes on to something that is no serving endpoint.

        Address and node port are looked at independently, as upstream: an entry to a Service's
        address and port is also held against a node port of that number.
        """
        answers = (flow.reply_source, flow.reply_source_port)
        at_address = self.by_address.get((flow.destination, flow.destination_port))
        at_node_port = self.by_node_port.get(flow.destination_port)
        return any(
            endpoints is not None and answers not in endpoints
            for endpoints in (at_address, at_node_port)
        )


def stale_filter(state: ProxyState) -> StaleFilter:
    """The filter for `state`. Traffic policies, hints and node names play no part (K-67)."""
    by_address: dict[Place, frozenset[Place]] = {}
    by_node_port: dict[int, frozenset[Place]] = {}
    for name, info in state.services.items():
        if name.protocol != "UDP":
            continue
        endpoints = state.endpoints.get(name, ())
        serving = frozenset((e.ip, e.port) for e in endpoints if e.serving)
        if not serving:
            continue
        for address in (info.cluster_ip, *info.load_balancer_vips, *info.external_ips):
            by_address[address, info.port] = serving
        if info.node_port:
            by_node_port[info.node_port] = serving
    return StaleFilter(by_address, by_node_port)
