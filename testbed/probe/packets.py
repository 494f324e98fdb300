"""Crafted packets: built by scapy, sent from inside a namespace, met by its OUTPUT rules.

scapy is imported when a packet is built; it builds and dissects, and never sends or captures.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from typing import Any

from testbed.errors import UsageError
from testbed.flow.headers import Headers, parse_packet
from testbed.flow.tuples import Flow
from testbed.probe.namespaces import Namespace

#: A scapy packet (IP or IPv6 outermost); scapy has no types of its own to name here.
Packet = Any


def tcp(
    flow: Flow, *, flags: str = "S", sequence: int | None = None, payload: bytes = b""
) -> Packet:
    """A TCP segment of `flow`; by default a SYN with a random sequence number."""
    from scapy.layers.inet import TCP

    number = 1 + secrets.randbelow(1 << 31) if sequence is None else sequence
    ports = {"sport": flow.source_port, "dport": flow.destination_port}
    return _network(flow) / TCP(**ports, flags=flags, seq=number) / payload


def udp(flow: Flow, payload: bytes | None = None) -> Packet:
    """A datagram of `flow`; by default its payload is a random line."""
    from scapy.layers.inet import UDP

    ports = {"sport": flow.source_port, "dport": flow.destination_port}
    return _network(flow) / UDP(**ports) / (_line() if payload is None else payload)


def sctp_init(flow: Flow, tag: int | None = None) -> Packet:
    """An SCTP INIT of `flow`; the initiate tag is random by default."""
    from scapy.layers.sctp import SCTP, SCTPChunkInit

    number = 1 + secrets.randbelow(1 << 31) if tag is None else tag
    ports = {"sport": flow.source_port, "dport": flow.destination_port}
    chunk = SCTPChunkInit(
        init_tag=number, a_rwnd=65536, n_out_streams=1, n_in_streams=1, init_tsn=number
    )
    return _network(flow) / SCTP(**ports, tag=0) / chunk


def echo(flow: Flow, sequence: int = 1, payload: bytes | None = None) -> Packet:
    """A ping; the flow's source port is its identifier."""
    data = _line() if payload is None else payload
    if flow.family == 6:
        from scapy.layers.inet6 import ICMPv6EchoRequest

        return _network(flow) / ICMPv6EchoRequest(id=flow.source_port, seq=sequence, data=data)
    from scapy.layers.inet import ICMP

    return _network(flow) / ICMP(id=flow.source_port, seq=sequence) / data


def build(flow: Flow) -> Packet:
    """The packet that opens a conversation of `flow`'s protocol."""
    builders: dict[str, Callable[[Flow], Packet]] = {
        "tcp": tcp,
        "udp": udp,
        "sctp": sctp_init,
        "icmp": echo,
    }
    made = builders.get(flow.protocol)
    if made is None:
        raise UsageError(f"no packet for protocol {flow.protocol!r}: tcp, udp, sctp or icmp")
    return made(flow)


def fragments(packet: Packet, size: int = 1280) -> list[Packet]:
    """`packet` in pieces of at most `size` bytes."""
    from scapy.layers.inet import fragment
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6

    if not packet.haslayer(IPv6):
        return list(fragment(packet, fragsize=(size - 20) // 8 * 8))
    outer = packet.copy()
    outer.remove_payload()
    extension = IPv6ExtHdrFragment(id=secrets.randbelow(1 << 32))
    return list(fragment6(outer / extension / packet.payload.copy(), size))


def with_source(packet: Packet, address: str) -> Packet:
    """A copy with its source address set, unless someone set it already.

    scapy's own choice would come from the routes of the namespace that this process is in.
    """
    copy = packet.copy()
    if "src" not in copy.fields:
        copy.src = address
    return copy


def destination_of(packet: Packet) -> str:
    """Where `packet` goes. Raises UsageError where it is no IP packet."""
    destination = packet.fields.get("dst")
    if not isinstance(destination, str):
        raise UsageError("the packet needs IP or IPv6 outermost, with a destination address")
    return destination


def headers_of(packets: list[bytes]) -> Headers:
    """What the first of `packets` says. Raises UsageError where it is no IP packet."""
    headers = parse_packet(packets[0]) if packets else None
    if headers is None:
        raise UsageError("no IP packet to send")
    return headers


def send(namespace: Namespace, packets: list[bytes]) -> None:
    """Send IP packets from `namespace`: routed by its tables, met by its OUTPUT chains.

    Raises OSError as the kernel says it (no route, EPERM from a DROP rule, EMSGSIZE).
    """
    by_family: dict[int, socket.socket] = {}
    try:
        for packet in packets:
            family = socket.AF_INET6 if packet[0] >> 4 == 6 else socket.AF_INET
            if family not in by_family:
                by_family[family] = namespace.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            part = packet[24:40] if family == socket.AF_INET6 else packet[16:20]
            by_family[family].sendto(packet, (socket.inet_ntop(family, part), 0))
    finally:
        for sock in by_family.values():
            sock.close()


def dissect(frame: bytes) -> str:
    """What scapy makes of a captured Ethernet frame, in one line."""
    from scapy.layers.inet import TCP  # noqa: F401  (teaches Ether what may follow)
    from scapy.layers.l2 import Ether

    return str(Ether(frame).summary())


def _network(flow: Flow) -> Packet:
    if flow.family == 6:
        from scapy.layers.inet6 import IPv6

        return IPv6(src=flow.source, dst=flow.destination)
    from scapy.layers.inet import IP

    return IP(src=flow.source, dst=flow.destination, id=1 + secrets.randbelow(65535))


def _line() -> bytes:
    return f"{secrets.token_hex(4)} probe\n".encode()
