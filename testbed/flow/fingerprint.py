"""Knowing one probe's packets wherever NAT sends them.

Addresses and ports change under way; a TCP sequence number, an SCTP tag, a payload's first bytes do
not. A `Fingerprint` is a few byte comparisons in the transport header; the same comparisons become
the trace rule (probe/trace) and pick the probe's packets out of a capture.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.flow.headers import ECHO_TYPES, Headers
from testbed.flow.tuples import Flow

#: How far a TCP conversation may run and still be recognised, bytes.
TCP_WINDOW = 1 << 16
#: Bytes of a payload that are compared.
TOKEN = 8


@dataclass(frozen=True, slots=True)
class Check:
    """The transport header's bytes from `offset` on lie in `low` … `high` (both included)."""

    offset: int
    low: bytes
    high: bytes

    def holds(self, transport: bytes) -> bool:
        value = transport[self.offset : self.offset + len(self.low)]
        return len(value) == len(self.low) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Pattern:
    """All checks together, on packets of one IP protocol number, in one direction."""

    direction: str
    protocol: int
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The patterns of one probe's packets.

    `learn` says that answers can't be known by their content (UDP): whoever watches must remember
    the tuples that went forward and reverse them. `flow` is the flow as it was sent; a source port
    of 0 means that it isn't known yet.
    """

    flow: Flow
    patterns: tuple[Pattern, ...]
    learn: bool = False

    @property
    def family(self) -> int:
        return self.flow.family

    def direction_of(self, headers: Headers) -> str | None:
        """`forward`, `reply`, or None where the content does not tell."""
        number = headers.flow.protocol_number if headers.flow.protocol in _KNOWN else None
        for pattern in self.patterns:
            if pattern.protocol == number and all(
                check.holds(headers.transport) for check in pattern.checks
            ):
                return pattern.direction
        return None


_KNOWN = ("tcp", "udp", "sctp", "icmp")
_ICMP_NUMBER = {4: 1, 6: 58}
_ICMP_ERROR_TYPES = {4: (3, 12), 6: (1, 4)}
#: Where the answered packet's transport header starts in an ICMP error.
_INNER = {4: 28, 6: 48}


def _exactly(offset: int, value: bytes) -> Check:
    return Check(offset, value, value)


def _number(offset: int, low: int, high: int) -> Check:
    return Check(offset, low.to_bytes(4, "big"), min(high, 0xFFFFFFFF).to_bytes(4, "big"))


def _icmp_error(family: int, check: Check) -> Pattern:
    low, high = _ICMP_ERROR_TYPES[family]
    kind = Check(0, bytes((low,)), bytes((high,)))
    moved = Check(check.offset + _INNER[family], check.low, check.high)
    return Pattern("reply", _ICMP_NUMBER[family], (kind, moved))


def of_tcp(flow: Flow, sequence: int, window: int = TCP_WINDOW) -> Fingerprint:
    """The conversation that starts with sequence number `sequence`."""
    forward = _number(4, sequence, sequence + window)
    answer = _number(8, sequence + 1, sequence + 1 + window)
    return Fingerprint(
        flow,
        (
            Pattern("forward", 6, (forward,)),
            Pattern("reply", 6, (answer,)),
            _icmp_error(flow.family, forward),
        ),
    )


def of_udp(flow: Flow, payload: bytes) -> Fingerprint:
    """Datagrams with `payload`'s first bytes; a short one is also known by its source address."""
    if not payload:
        return of_flow(flow)
    token = _exactly(8, payload[:TOKEN])
    patterns = (Pattern("forward", 17, (token,)), _icmp_error(flow.family, token))
    return Fingerprint(flow, patterns, learn=True)


def of_sctp(flow: Flow, tag: int) -> Fingerprint:
    """The association that INIT asks for with initiate tag `tag`."""
    init = _number(16, tag, tag)
    answer = _number(4, tag, tag)
    return Fingerprint(
        flow,
        (
            Pattern("forward", 132, (init,)),
            Pattern("reply", 132, (answer,)),
            _icmp_error(flow.family, init),
        ),
    )


def of_echo(flow: Flow, payload: bytes) -> Fingerprint:
    """Pings with `payload`'s first bytes, and their answers."""
    number = _ICMP_NUMBER[flow.family]
    if payload:
        token = _exactly(8, payload[:TOKEN])
    else:
        token = _exactly(4, flow.source_port.to_bytes(2, "big"))
    request, reply = (_exactly(0, bytes((kind,))) for kind in ECHO_TYPES[flow.family])
    return Fingerprint(
        flow,
        (
            Pattern("forward", number, (request, token)),
            Pattern("reply", number, (reply, token)),
            _icmp_error(flow.family, token),
        ),
    )


def of_flow(flow: Flow) -> Fingerprint:
    """A flow known by its ports alone: found until a NAT changes the destination port."""
    ports = flow.source_port.to_bytes(2, "big") + flow.destination_port.to_bytes(2, "big")
    there = Pattern("forward", flow.protocol_number, (_exactly(0, ports),))
    return Fingerprint(flow, (there,), learn=True)


def of_packet(headers: Headers) -> Fingerprint:
    """The fingerprint of a packet that someone built, and of its answers."""
    flow = headers.flow
    if flow.protocol == "tcp":
        return of_tcp(flow, headers.sequence, window=0 if not headers.sequence else TCP_WINDOW)
    if flow.protocol == "udp":
        return of_udp(flow, headers.payload)
    if flow.protocol == "sctp" and headers.transport[12:13] == b"\x01":
        return of_sctp(flow, int.from_bytes(headers.transport[16:20], "big"))
    if flow.protocol == "icmp" and headers.summary == "ICMP echo":
        return of_echo(flow, headers.payload)
    return of_flow(flow)
