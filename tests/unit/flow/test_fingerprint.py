"""A probe's packets are known by what NAT leaves alone."""

from __future__ import annotations

import socket
import struct

from testbed.flow import Flow, Headers, parse_packet
from testbed.flow import fingerprint as fingerprints

FLOW = Flow("tcp", "10.0.0.1", 5, "10.0.0.2", 80)
UDP = Flow("udp", "10.0.0.1", 5, "10.0.0.2", 53)


def packet(protocol: int, transport: bytes) -> Headers:
    addresses = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.8")
    size = 20 + len(transport)
    head = struct.pack(">BBHHHBBH", 0x45, 0, size, 1, 0, 64, protocol, 0) + addresses
    headers = parse_packet(head + transport)
    assert headers is not None
    return headers


def raw(protocol: int, transport: bytes) -> bytes:
    size = 20 + len(transport)
    return struct.pack(">BBHHHBBH", 0x45, 0, size, 1, 0, 64, protocol, 0) + b"\x0a" * 8 + transport


def segment(sequence: int, acknowledgement: int = 0, flags: int = 16) -> bytes:
    return struct.pack(
        ">HHIIBBHHH", 1, 2, sequence & 0xFFFFFFFF, acknowledgement, 5 << 4, flags, 0, 0, 0
    )


def test_a_tcp_conversation_is_known_by_its_numbers() -> None:
    made = fingerprints.of_tcp(FLOW, 5000)
    assert made.direction_of(packet(6, segment(5000, flags=2))) == "forward"
    assert made.direction_of(packet(6, segment(5400))) == "forward"
    assert made.direction_of(packet(6, segment(99, 5001))) == "reply"
    assert made.direction_of(packet(6, segment(4999))) is None
    assert made.direction_of(packet(6, segment(5000 + fingerprints.TCP_WINDOW + 1))) is None


def test_an_icmp_error_is_known_by_the_segment_inside() -> None:
    made = fingerprints.of_tcp(FLOW, 5000)
    error = struct.pack(">BBHI", 3, 3, 0, 0)
    assert made.direction_of(packet(1, error + raw(6, segment(5000)))) == "reply"
    assert made.direction_of(packet(1, error + raw(6, segment(1)))) is None


def test_a_window_ends_with_the_number_space() -> None:
    made = fingerprints.of_tcp(FLOW, 0xFFFFFFF0)
    assert made.direction_of(packet(6, segment(0xFFFFFFF8))) == "forward"


def test_a_datagram_is_known_by_its_first_bytes_and_answers_must_be_learned() -> None:
    made = fingerprints.of_udp(UDP, b"token123 rest")
    assert made.learn
    datagram = struct.pack(">HHHH", 9, 9, 21, 0) + b"token123 rest"
    assert made.direction_of(packet(17, datagram)) == "forward"
    assert made.direction_of(packet(17, datagram.replace(b"token", b"other"))) is None


def test_an_empty_datagram_is_known_by_its_ports() -> None:
    made = fingerprints.of_udp(UDP, b"")
    assert made.direction_of(packet(17, struct.pack(">HHHH", 5, 53, 8, 0))) == "forward"


def test_an_sctp_association_is_known_by_its_tag() -> None:
    made = fingerprints.of_sctp(Flow("sctp", "10.0.0.1", 5, "10.0.0.2", 9), 0xABCD)
    init = struct.pack(">HHII", 5, 9, 0, 0) + struct.pack(">BBHI", 1, 0, 20, 0xABCD)
    abort = struct.pack(">HHII", 9, 5, 0xABCD, 0) + struct.pack(">BBH", 6, 0, 4)
    assert made.direction_of(packet(132, init)) == "forward"
    assert made.direction_of(packet(132, abort)) == "reply"


def test_a_built_packet_gives_its_own_fingerprint() -> None:
    for headers in (
        packet(6, segment(77, flags=2)),
        packet(17, struct.pack(">HHHH", 9, 9, 16, 0) + b"token123"),
        packet(1, struct.pack(">BBHHH", 8, 0, 0, 3, 1) + b"token123"),
        packet(132, struct.pack(">HHII", 5, 9, 0, 0) + struct.pack(">BBHI", 1, 0, 20, 9)),
    ):
        assert fingerprints.of_packet(headers).direction_of(headers) == "forward"
