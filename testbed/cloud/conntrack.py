"""Forgetting flows: conntrack entries of a load balancer's address, deleted over netlink.

Conntrack alone holds an established flow's DNAT: it outlives the rule that made it, and ends with
its entry.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from testbed import netlink
from testbed.api.objects import IPV6

_CT_GET = 1 << 8 | 1
_CT_DELETE = 1 << 8 | 2
_TUPLE_ORIGINAL, _TUPLE_REPLY = 1, 2
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_PROTOCOL_NUMBER, _DESTINATION_PORT = 1, 3
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
#: (source, destination) attribute types of CTA_TUPLE_IP.
_ADDRESSES: dict[int, tuple[int, int]] = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}


@dataclass(frozen=True, slots=True)
class Flow:
    """What a flow was sent to, and who answers it (the DNAT's target).

    `protocol` is tcp, udp, sctp, or "" for others, which have no `port`.
    """

    protocol: str
    destination: str
    port: int
    answerer: str


def forget(sock: netlink.NetlinkSocket, family: str, doomed: Callable[[Flow], bool]) -> int:
    """Delete the family's flows that `doomed` picks; how many that were."""
    number = socket.AF_INET6 if family == IPV6 else socket.AF_INET
    header = struct.pack("=BBH", number, 0, 0)
    count = 0
    for received in sock.request(_CT_GET, netlink.NLM_F_DUMP, header):
        attributes = netlink.attributes(received.payload, 4)
        flow = _flow(attributes, number)
        if flow is None or not doomed(flow):
            continue
        original = bytes(attributes[_TUPLE_ORIGINAL])
        request = header + netlink.nested(_TUPLE_ORIGINAL, original)
        try:
            sock.request(_CT_DELETE, 0, request)
        except netlink.NetlinkError as error:
            if not netlink.is_gone(error):
                raise
        count += 1
    return count


def _flow(attributes: dict[int, memoryview], family: int) -> Flow | None:
    if _TUPLE_ORIGINAL not in attributes or _TUPLE_REPLY not in attributes:
        return None
    source, destination = _ADDRESSES[family]
    original = netlink.attributes(attributes[_TUPLE_ORIGINAL])
    reply = netlink.attributes(attributes[_TUPLE_REPLY])
    sent = netlink.attributes(original[_TUPLE_IP])
    answered = netlink.attributes(reply[_TUPLE_IP])
    transport = netlink.attributes(original[_TUPLE_PROTOCOL])
    protocol = _PROTOCOLS.get(transport[_PROTOCOL_NUMBER][0], "")
    port = int.from_bytes(transport.get(_DESTINATION_PORT, b""), "big")
    return Flow(protocol, _address(sent[destination]), port, _address(answered[source]))


def _address(packed: memoryview) -> str:
    return str(ipaddress.ip_address(bytes(packed)))
