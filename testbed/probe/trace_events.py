"""Decoding the kernel's rule trace (nfnetlink group 9, NFT_MSG_TRACE)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from testbed import netlink as nl
from testbed.flow.headers import Headers, parse_split

TRACE_MESSAGE = 10 << 8 | 17  # NFNL_SUBSYS_NFTABLES, NFT_MSG_TRACE
POLICY, RETURN, RULE = 1, 2, 3

_FAMILY_NAMES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_VERDICTS = {
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    0xFFFFFFFF: "continue",
    0xFFFFFFFE: "break",
    0xFFFFFFFD: "jump",
    0xFFFFFFFC: "goto",
    0xFFFFFFFB: "return",
}


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One step of one packet through the rules of a namespace, in the order of arrival.

    `packet` is the kernel's id of the packet in that namespace. `headers` come with a base chain's
    first event only (None elsewhere), as they were when the chain began. `interface_in` and
    `interface_out` are indexes, 0 where the hook has none.
    """

    namespace: str
    packet: int
    family: str
    table: str
    chain: str
    handle: int
    kind: int
    verdict: str
    headers: Headers | None = None
    interface_in: int = 0
    interface_out: int = 0
    mark: int = 0
    conntrack_status: int = 0


def decode(namespace: str, payload: bytes | memoryview) -> TraceEvent:
    """The event in a trace message's payload (family header and attributes)."""
    found = nl.attributes(payload, 4)

    def number(kind: int) -> int:
        value = found.get(kind)
        return int.from_bytes(value, "big") if value is not None else 0

    headers = None
    if 8 in found:
        headers = parse_split(bytes(found[8]), bytes(found.get(9, b"")))
    kind = number(4)
    verdict = _verdict(found.get(5))
    if kind == POLICY:
        verdict = _VERDICTS.get(number(16), "accept")
    return TraceEvent(
        namespace=namespace,
        packet=number(6),
        family=_FAMILY_NAMES.get(payload[0], str(payload[0])),
        table=nl.string(found.get(1, b"")),
        chain=nl.string(found.get(2, b"")),
        handle=number(3),
        kind=kind,
        verdict=verdict,
        headers=headers,
        interface_in=number(10),
        interface_out=number(12),
        mark=number(14),
        conntrack_status=number(20),
    )


def _verdict(payload: memoryview | None) -> str:
    if payload is None:
        return ""
    parts = nl.attributes(payload)
    code = struct.unpack(">I", parts[1])[0] if 1 in parts else 0
    word = _VERDICTS.get(code, str(code))
    return f"{word} {nl.string(parts[2])}" if 2 in parts else word
