"""A namespace's routing decision for one packet, asked of the kernel (RTM_GETROUTE)."""

from __future__ import annotations

import errno
import os
import socket
import struct

from testbed import netlink as nl
from testbed.flow.paths import Route
from testbed.flow.tuples import Flow

RTM_GETROUTE = 26
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY = 1, 2, 3, 4, 5
_RTA_PREFSRC, _RTA_MARK, _RTA_VIA = 7, 16, 18
_RTM = struct.Struct("=BBBBBBBBI")
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_KINDS = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}
_REFUSALS = {6: "blackhole route", 7: "unreachable route", 8: "prohibit route"}
#: What the kernel's answer means for a packet that it has not forwarded.
_ERRORS = {
    errno.ENETUNREACH: "no route to the destination",
    errno.EHOSTUNREACH: "no route to the destination",
    errno.EXDEV: "source address fails the reverse path filter",
    errno.EINVAL: "martian address",
    errno.EACCES: "prohibit route",
}


def decide(
    link: nl.NetlinkSocket, flow: Flow, *, interface_in: int = 0, mark: int = 0
) -> Route | None:
    """The route of a packet of `flow`.

    `interface_in` is the index of the interface that it came in by, 0 for a packet made here.
    None where the kernel can't be asked.
    """
    try:
        answers = link.request(RTM_GETROUTE, 0, pack_request(flow, interface_in, mark))
    except OSError as error:
        code = error.errno or 0
        return Route("none", error=_ERRORS.get(code, os.strerror(code)))
    return parse_route(answers[0].payload) if answers else None


def pack_request(flow: Flow, interface_in: int = 0, mark: int = 0) -> bytes:
    """The request's payload. A source is named only for a packet that came in from outside."""
    family = _FAMILY[flow.family]
    bits = 32 if flow.family == 4 else 128
    parts = [nl.attribute(_RTA_DST, socket.inet_pton(family, flow.destination))]
    if interface_in:
        parts.append(nl.attribute(_RTA_SRC, socket.inet_pton(family, flow.source)))
        parts.append(nl.u32(_RTA_IIF, interface_in))
    if mark:
        parts.append(nl.u32(_RTA_MARK, mark))
    header = _RTM.pack(family, bits, bits if interface_in else 0, 0, 0, 0, 0, 0, 0)
    return header + b"".join(parts)


def parse_route(payload: bytes | memoryview) -> Route:
    """The Route in an answer; `interface` is the index as text, for the caller to name."""
    kind = payload[7]
    found = nl.attributes(payload, _RTM.size)
    return Route(
        kind=_KINDS.get(kind, str(kind)),
        interface=str(struct.unpack("=I", found[_RTA_OIF])[0]) if _RTA_OIF in found else "",
        gateway=_gateway(found),
        source=_address(found.get(_RTA_PREFSRC)),
        error=_REFUSALS.get(kind, ""),
    )


def _gateway(found: dict[int, memoryview]) -> str:
    if _RTA_VIA in found:
        return _address(found[_RTA_VIA][2:])
    return _address(found.get(_RTA_GATEWAY))


def _address(payload: memoryview | None) -> str:
    if payload is None:
        return ""
    return socket.inet_ntop(_FAMILY[4 if len(payload) == 4 else 6], bytes(payload))


def interface_names(link: nl.NetlinkSocket) -> dict[int, str]:
    """The interfaces of a namespace: index to name."""
    names = {}
    for received in link.request(18, nl.NLM_F_DUMP, b"\0" * 16):  # RTM_GETLINK
        index = struct.unpack_from("=i", received.payload, 4)[0]
        name = nl.attributes(received.payload, 16).get(3)
        if name is not None:
            names[index] = nl.string(name)
    return names
