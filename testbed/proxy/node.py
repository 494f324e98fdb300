"""The node that a proxy instance works for.

Source: pkg/proxy/node.go; cmd/kube-proxy/app/server.go detectNodeIPs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.api.objects import IPV6, Node
from testbed.proxy.addresses import parse_cidr, parse_ip


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What one family's instance knows of its node.

    `ip` is the primary address, the loopback address where the node has none of this family;
    `addresses` are all local addresses; `pod_cidr` is "" where the node has none.
    """

    name: str
    family: str
    ip: str
    addresses: tuple[str, ...]
    zone: str = ""
    pod_cidr: str = ""

    @property
    def has_primary(self) -> bool:
        return self.ip != loopback(self.family)


def loopback(family: str) -> str:
    return "::1" if family == IPV6 else "127.0.0.1"


def local_node(node: Node, family: str, addresses: Iterable[str] | None = None) -> LocalNode:
    """The view of `node` for `family`.

    `addresses` are those on the node's interfaces; where they aren't known, the Node object's own
    and the loopback address stand in. The primary address is the first InternalIP, else the first
    ExternalIP.
    """
    own = [
        parsed[1]
        for kind in ("InternalIP", "ExternalIP")
        for found, address in node.addresses
        if found == kind and (parsed := parse_ip(address)) and parsed[0] == family
    ]
    if addresses is None:
        present = [loopback(family), *own]
    else:
        found_ips = (parse_ip(address) for address in addresses)
        present = [parsed[1] for parsed in found_ips if parsed and parsed[0] == family]
    cidrs = (parse_cidr(cidr) for cidr in node.pod_cidrs)
    return LocalNode(
        name=node.name,
        family=family,
        ip=own[0] if own else loopback(family),
        addresses=tuple(dict.fromkeys(present)),
        zone=node.zone,
        pod_cidr=next((cidr[1] for cidr in cidrs if cidr and cidr[0] == family), ""),
    )
