"""Anonymous sets of address ranges as nft lists them.

nft merges overlapping and adjacent ranges, sorts them, and drops the braces around one element.
Source: nft 1.0.6, src/intervals.c and src/evaluate.c.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_set(members: Sequence[str]) -> str:
    """What nft prints for `{ MEMBER, … }`, of which at least one is written as a network.

    Members are networks and addresses, canonical and of one family.
    """
    networks = [ipaddress.ip_network(member) for member in members]
    if len(networks) == 1:
        return _network_text(networks[0])
    return f"{{ {', '.join(_range_text(networks[0], *span) for span in _merged(networks))} }}"


def _merged(networks: Sequence[_Network]) -> list[tuple[int, int]]:
    """First and last address of every range once overlapping and adjacent ones are joined."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted(
        (int(net.network_address), int(net.broadcast_address)) for net in networks
    ):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans


def _range_text(like: _Network, first: int, last: int) -> str:
    address = type(like.network_address)
    size = last - first + 1
    if size & (size - 1) == 0 and first % size == 0:
        length = like.max_prefixlen - (size.bit_length() - 1)
        return _network_text(ipaddress.ip_network(f"{address(first)}/{length}"))
    return f"{address(first)}-{address(last)}"


def _network_text(network: _Network) -> str:
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)
