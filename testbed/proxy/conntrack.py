"""Deletes the UDP conntrack entries that still go to endpoints which are gone.

Which ones is decided in `stale.py`; here they are listed and deleted by netlink, each by its own
tuple and id. Source: linux/netfilter/nfnetlink_conntrack.h; catalogue K-64…K-67.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import NamedTuple

from testbed.api.objects import IPV6
from testbed.netlink import (
    NETLINK_NETFILTER,
    NLM_F_DUMP,
    NetlinkError,
    attribute,
    attributes,
    be32,
    is_gone,
    nested,
    u8,
    u32,
)
from testbed.proxy.kernel.transaction import Namespace
from testbed.proxy.stale import Flow, StaleFilter

_GET = 1 << 8 | 1
_DELETE = 1 << 8 | 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_UDP = 17
#: Compare the protocol number only (CTA_FILTER_F_CTA_PROTO_NUM of nf_conntrack_netlink.c).
_BY_PROTOCOL = 1 << 3


class Entry(NamedTuple):
    """A UDP entry: what matters of it, and the attributes that name it to the kernel."""

    flow: Flow
    identity: bytes


class Conntrack:
    """The conntrack table of one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._netlink = namespace.netlink(NETLINK_NETFILTER)

    def close(self) -> None:
        self._netlink.close()

    def udp_entries(self, family: str) -> Iterator[Entry]:
        """Every UDP entry of `family` (IPV4 or IPV6); the kernel leaves the others out."""
        tuple_of_udp = nested(_TUPLE_PROTOCOL, u8(1, _UDP))
        request = (
            _header(family)
            + nested(_TUPLE_ORIGINAL, tuple_of_udp)
            + nested(_FILTER, u32(1, _BY_PROTOCOL), u32(2, 0))
        )
        for answer in self._netlink.request(_GET, NLM_F_DUMP, request):
            held = attributes(answer.payload, 4)
            if _protocol(held[_TUPLE_ORIGINAL]) != _UDP:
                continue
            _, destination, _, port = _tuple(held[_TUPLE_ORIGINAL])
            source, _, source_port, _ = _tuple(held[_TUPLE_REPLY])
            identity = attribute(_TUPLE_ORIGINAL | 0x8000, bytes(held[_TUPLE_ORIGINAL]))
            identity += be32(_ID, int.from_bytes(held[_ID], "big"))
            if _ZONE in held:
                identity += attribute(_ZONE, bytes(held[_ZONE]))
            yield Entry(Flow(destination, port, source, source_port), identity)

    def delete(self, family: str, entry: Entry) -> bool:
        """Delete one entry; False where it was gone already."""
        try:
            self._netlink.request(_DELETE, 0, _header(family) + entry.identity)
        except NetlinkError as error:
            if is_gone(error):
                return False
            raise
        return True

    def delete_stale(self, family: str, stale: StaleFilter) -> int:
        """Delete the entries that `stale` names; return how many there were."""
        if not stale:
            return 0
        found = [entry for entry in self.udp_entries(family) if stale.is_stale(entry.flow)]
        return sum(self.delete(family, entry) for entry in found)


def _header(family: str) -> bytes:
    return struct.pack(">BBH", 10 if family == IPV6 else 2, 0, 0)


def _protocol(data: memoryview) -> int:
    return attributes(attributes(data)[_TUPLE_PROTOCOL])[1][0]


def _tuple(data: memoryview) -> tuple[str, str, int, int]:
    """(source, destination, source port, destination port); addresses in canonical form."""
    held = attributes(data)
    addresses, ports = attributes(held[_TUPLE_IP]), attributes(held[_TUPLE_PROTOCOL])
    source, destination = (1, 2) if 1 in addresses else (3, 4)
    return (
        str(ipaddress.ip_address(bytes(addresses[source]))),
        str(ipaddress.ip_address(bytes(addresses[destination]))),
        int.from_bytes(ports[2], "big"),
        int.from_bytes(ports[3], "big"),
    )
