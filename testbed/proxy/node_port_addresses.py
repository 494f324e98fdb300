"""Which of a node's addresses accept NodePort traffic.

Source: pkg/proxy/util/nodeport_addresses.go; `primary` is resolved in cmd/kube-proxy/app/server.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.api.objects import IPV4
from testbed.proxy.addresses import contains, host_cidr, is_zero_cidr, parse_cidr
from testbed.proxy.node import LocalNode

PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class NodePortAddresses:
    """All local addresses if `match_all`, else `addresses`, sorted as text.

    `localhost` is whether 127.0.0.0/8 takes part: never in IPv6, never where it isn't allowed.
    """

    match_all: bool
    addresses: tuple[str, ...]
    localhost: bool


def node_port_addresses(
    given: Iterable[str], node: LocalNode, allow_localhost: bool
) -> NodePortAddresses:
    """Resolve `--nodeport-addresses` (CIDRs of both families, or `primary`) on `node`.

    Where no CIDR of the node's family is given, every local address accepts.
    """
    cidrs = []
    for text in given:
        if text == PRIMARY:
            cidrs += [host_cidr(node.ip)] if node.has_primary else []
        elif (parsed := parse_cidr(text)) and parsed[0] == node.family:
            cidrs.append(parsed[1])
    match_all = not cidrs or any(map(is_zero_cidr, cidrs))
    localhost = (
        allow_localhost
        and node.family == IPV4
        and (match_all or any(_holds_loopback(cidr) for cidr in cidrs))
    )
    matched = {
        address
        for address in node.addresses
        if (localhost or not _is_loopback(address))
        and any(contains(cidr, address) for cidr in cidrs)
    }
    return NodePortAddresses(match_all, () if match_all else tuple(sorted(matched)), localhost)


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def _holds_loopback(cidr: str) -> bool:
    return cidr.startswith("127.") or contains(cidr, "127.0.0.0")
