"""Reading IP packets: the 5-tuple, and what of a packet survives NAT.

Works on whole packets (captures) and on the first 40 + 20 header bytes that the kernel's rule trace
hands over; both give the same `identity` for the same packet.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from testbed.flow.tuples import Flow

TCP_FLAGS = (
    (0x02, "SYN"),
    (0x10, "ACK"),
    (0x08, "PSH"),
    (0x01, "FIN"),
    (0x04, "RST"),
)
ICMP_ERRORS_V4 = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 9): "network prohibited",
    (3, 10): "host prohibited",
    (3, 13): "administratively prohibited",
    (5, 0): "redirect",
    (5, 1): "redirect",
    (11, 0): "time exceeded",
    (11, 1): "reassembly time exceeded",
    (12, 0): "parameter problem",
}
ICMP_ERRORS_V6 = {
    (1, 0): "no route",
    (1, 1): "administratively prohibited",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (1, 5): "source policy failed",
    (1, 6): "reject route",
    (2, 0): "packet too big",
    (3, 0): "time exceeded",
    (3, 1): "reassembly time exceeded",
    (4, 0): "parameter problem",
    (4, 1): "parameter problem",
}
ECHO_TYPES = {4: (8, 0), 6: (128, 129)}
_NAMES = {1: "icmp", 58: "icmp", 6: "tcp", 17: "udp", 132: "sctp"}

#: What tells one packet from another and no NAT changes.
Identity = tuple[int | str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Headers:
    """What one packet says about itself. `summary` names it: `TCP SYN`, `ICMP port unreachable`.

    `inner` is the flow of the packet that an ICMP error answers (None elsewhere, or where the bytes
    end before it). `length` counts the IP packet. `payload` is what followed the transport header.
    """

    flow: Flow
    summary: str
    identity: Identity
    length: int
    ttl: int
    ip_id: int
    tcp_flags: int = 0
    sequence: int = 0
    acknowledgement: int = 0
    inner: Flow | None = None
    payload: bytes = b""
    transport: bytes = b""

    @property
    def is_icmp_error(self) -> bool:
        return self.flow.protocol == "icmp" and self.summary not in ("ICMP echo", "ICMP echo reply")


@dataclass(frozen=True, slots=True)
class _Network:
    family: int
    protocol: int
    source: str
    destination: str
    length: int
    ttl: int
    ip_id: int
    fragment: int
    header: int

    def flow(self, source_port: int = 0, destination_port: int = 0) -> Flow:
        name = _NAMES.get(self.protocol, str(self.protocol))
        return Flow(name, self.source, source_port, self.destination, destination_port)

    @property
    def payload_length(self) -> int:
        return self.length - self.header


def parse_packet(packet: bytes) -> Headers | None:
    """Headers of an IP packet (starting at its IP header); None for anything else."""
    network = _parse_network(packet)
    if network is None:
        return None
    return _parse_transport(network, packet[network.header :])


def parse_split(network_header: bytes, transport_header: bytes) -> Headers | None:
    """Headers from the two pieces that a trace event carries."""
    network = _parse_network(network_header)
    if network is None:
        return None
    return _parse_transport(network, transport_header)


def _parse_network(data: bytes) -> _Network | None:
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        length, ip_id, fragment, ttl, protocol = struct.unpack_from(">HHHBB", data, 2)
        return _Network(
            4,
            protocol,
            socket.inet_ntop(socket.AF_INET, data[12:16]),
            socket.inet_ntop(socket.AF_INET, data[16:20]),
            length,
            ttl,
            ip_id,
            fragment & 0x1FFF,
            (data[0] & 15) * 4,
        )
    if version == 6 and len(data) >= 40:
        return _parse_network_v6(data)
    return None


def _parse_network_v6(data: bytes) -> _Network:
    length, protocol, ttl = struct.unpack_from(">HBB", data, 4)
    header, ip_id, fragment = 40, 0, 0
    while protocol in (0, 43, 60, 44) and len(data) >= header + 8:
        following = data[header]
        if protocol == 44:
            fragment, ip_id = struct.unpack_from(">HI", data, header + 2)
            fragment >>= 3
            header += 8
        else:
            header += 8 + data[header + 1] * 8
        protocol = following
    return _Network(
        6,
        protocol,
        socket.inet_ntop(socket.AF_INET6, data[8:24]),
        socket.inet_ntop(socket.AF_INET6, data[24:40]),
        length + 40,
        ttl,
        ip_id,
        fragment,
        header,
    )


def _parse_transport(network: _Network, data: bytes) -> Headers:
    if network.fragment:
        identity: Identity = ("fragment", network.ip_id, network.fragment)
        return _headers(network, network.flow(), "fragment", identity)
    if network.protocol == 6 and len(data) >= 14:
        return _parse_tcp(network, data)
    if network.protocol == 17 and len(data) >= 8:
        source, destination, length = struct.unpack_from(">HHH", data)
        identity = ("udp", length, data[8:20], network.ip_id)
        flow = network.flow(source, destination)
        return _headers(network, flow, "UDP", identity, payload=data[8:], transport=data)
    if network.protocol == 132 and len(data) >= 12:
        source, destination, tag = struct.unpack_from(">HHI", data)
        identity = ("sctp", tag, data[12:20], network.ip_id)
        summary = f"SCTP {_SCTP_CHUNKS.get(data[12] if len(data) > 12 else -1, 'chunk')}"
        return _headers(
            network, network.flow(source, destination), summary, identity, transport=data
        )
    if network.protocol in (1, 58) and len(data) >= 8:
        return _parse_icmp(network, data)
    identity = (network.protocol, network.length, network.ip_id)
    return _headers(network, network.flow(), f"IP protocol {network.protocol}", identity)


_SCTP_CHUNKS = {0: "DATA", 1: "INIT", 2: "INIT ACK", 6: "ABORT", 10: "COOKIE ECHO"}


def _parse_tcp(network: _Network, data: bytes) -> Headers:
    source, destination, sequence, acknowledgement, offset, flags = struct.unpack_from(
        ">HHIIBB", data
    )
    header = (offset >> 4) * 4
    length = network.payload_length - header
    identity: Identity = ("tcp", sequence, acknowledgement, flags & 0x3F, length, network.ip_id)
    return Headers(
        flow=network.flow(source, destination),
        summary=f"TCP {tcp_flag_names(flags)}",
        identity=identity,
        length=network.length,
        ttl=network.ttl,
        ip_id=network.ip_id,
        tcp_flags=flags,
        sequence=sequence,
        acknowledgement=acknowledgement,
        payload=data[header:],
        transport=data,
    )


def tcp_flag_names(flags: int) -> str:
    """`SYN ACK` and so on; `-` where none of the five is set."""
    return " ".join(name for bit, name in TCP_FLAGS if flags & bit) or "-"


def _parse_icmp(network: _Network, data: bytes) -> Headers:
    kind, code = data[0], data[1]
    request, reply = ECHO_TYPES[network.family]
    if kind in (request, reply):
        number, sequence = struct.unpack_from(">HH", data, 4)
        summary = "ICMP echo" if kind == request else "ICMP echo reply"
        identity: Identity = ("echo", kind, sequence, data[8:20], network.ip_id)
        return _headers(
            network,
            network.flow(number, number),
            summary,
            identity,
            payload=data[8:],
            transport=data,
        )
    names = ICMP_ERRORS_V4 if network.family == 4 else ICMP_ERRORS_V6
    summary = f"ICMP {names.get((kind, code), f'{kind}/{code}')}"
    # The answered packet's length and number; its addresses change with NAT.
    answered = data[10:14] if network.family == 4 else data[8:14]
    identity = ("icmp", kind, code, answered, network.ip_id)
    inside = parse_packet(data[8:]) if len(data) >= 36 else None
    return _headers(
        network,
        network.flow(),
        summary,
        identity,
        inner=inside.flow if inside else None,
        transport=data,
    )


def _headers(
    network: _Network,
    flow: Flow,
    summary: str,
    identity: Identity,
    *,
    inner: Flow | None = None,
    payload: bytes = b"",
    transport: bytes = b"",
) -> Headers:
    return Headers(
        flow=flow,
        summary=summary,
        identity=identity,
        length=network.length,
        ttl=network.ttl,
        ip_id=network.ip_id,
        inner=inner,
        payload=payload,
        transport=transport,
    )
