"""Reading the conntrack entry of a flow, over ctnetlink."""

from __future__ import annotations

import errno
import socket
import struct

from testbed import netlink as nl
from testbed.flow.headers import ECHO_TYPES
from testbed.flow.paths import ConntrackEntry
from testbed.flow.tuples import ICMPV6, Flow

_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO = 1, 2, 3, 4
_TIMEOUT, _MARK = 7, 8
_ADDRESSES = {4: (1, 2), 6: (3, 4)}
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp", 132: "sctp"}

STATUS_BITS = (
    (0x1, "EXPECTED"),
    (0x2, "SEEN_REPLY"),
    (0x4, "ASSURED"),
    (0x8, "CONFIRMED"),
    (0x10, "SRC_NAT"),
    (0x20, "DST_NAT"),
    (0x200, "DYING"),
)
TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)


def find(link: nl.NetlinkSocket, flow: Flow) -> ConntrackEntry | None:
    """The entry that `flow` belongs to, in either direction; None where there is none."""
    if flow.protocol not in _NAMES.values():
        return None
    header = struct.pack(">BBH", _FAMILY[flow.family], 0, 0)
    try:
        answers = link.request(_GET, 0, header + pack_tuple(_TUPLE_ORIG, flow))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL, errno.EPROTONOSUPPORT):
            return None
        raise
    return parse_entry(answers[0].payload) if answers else None


def pack_tuple(kind: int, flow: Flow) -> bytes:
    """`flow` as the tuple attribute `kind`."""
    family = _FAMILY[flow.family]
    source, destination = _ADDRESSES[flow.family]
    addresses = nl.nested(
        1,
        nl.attribute(source, socket.inet_pton(family, flow.source)),
        nl.attribute(destination, socket.inet_pton(family, flow.destination)),
    )
    return nl.nested(kind, addresses, nl.nested(2, *_pack_protocol(flow)))


def _pack_protocol(flow: Flow) -> list[bytes]:
    number = nl.u8(1, flow.protocol_number)
    if flow.protocol != "icmp":
        return [number, nl.be16(2, flow.source_port), nl.be16(3, flow.destination_port)]
    first = 7 if flow.family == 6 else 4
    kind = ECHO_TYPES[flow.family][0]
    return [number, nl.be16(first, flow.source_port), nl.u8(first + 1, kind), nl.u8(first + 2, 0)]


def parse_entry(payload: bytes | memoryview) -> ConntrackEntry:
    """The entry in a conntrack message's payload (family header and attributes)."""
    found = nl.attributes(payload, 4)
    status = _number(found.get(_STATUS))
    state = ""
    if _PROTOINFO in found:
        tcp = nl.attributes(found[_PROTOINFO]).get(1)
        value = nl.attributes(tcp).get(1) if tcp is not None else None
        if value is not None and value[0] < len(TCP_STATES):
            state = TCP_STATES[value[0]]
    return ConntrackEntry(
        original=_parse_tuple(found[_TUPLE_ORIG]),
        reply=_parse_tuple(found[_TUPLE_REPLY]),
        status=tuple(name for bit, name in STATUS_BITS if status & bit),
        state=state,
        mark=_number(found.get(_MARK)),
        timeout=_number(found.get(_TIMEOUT)),
    )


def _number(payload: memoryview | None) -> int:
    return int.from_bytes(payload, "big") if payload is not None else 0


def _parse_tuple(payload: memoryview) -> Flow:
    parts = nl.attributes(payload)
    addresses = nl.attributes(parts[1])
    protocol = nl.attributes(parts[2])
    family = 4 if 1 in addresses else 6
    source, destination = (
        socket.inet_ntop(_FAMILY[family], bytes(addresses[kind])) for kind in _ADDRESSES[family]
    )
    number = protocol[1][0]
    name = _NAMES.get(number, str(number))
    if name == "icmp":
        echo = _number(protocol.get(7 if number == ICMPV6 else 4))
        return Flow(name, source, echo, destination, echo)
    ports = _number(protocol.get(2)), _number(protocol.get(3))
    return Flow(name, source, ports[0], destination, ports[1])
