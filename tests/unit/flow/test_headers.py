"""Packets read alike whole and in the kernel's two pieces; NAT leaves their identity alone."""

from __future__ import annotations

import socket
import struct

import pytest

from testbed.errors import UsageError
from testbed.flow import Flow, Frame, endpoint, parse_endpoint, parse_packet, sighting_of
from testbed.flow.headers import parse_split


def ipv4(protocol: int, transport: bytes, source: str = "10.0.0.1", fragment: int = 0) -> bytes:
    return struct.pack(
        ">BBHHHBBH4s4s",
        0x45, 0, 20 + len(transport), 77, fragment, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton("10.0.0.2"),
    ) + transport  # fmt: skip


def ipv6(protocol: int, transport: bytes) -> bytes:
    source, destination = (
        socket.inet_pton(socket.AF_INET6, each) for each in ("fd00::1", "fd00::2")
    )
    head = struct.pack(">IHBB", 6 << 28, len(transport), protocol, 63)
    return head + source + destination + transport


def tcp(flags: int, sequence: int = 1000, sport: int = 5, payload: bytes = b"") -> bytes:
    head = struct.pack(">HHIIBBHHH", sport, 80, sequence, 7, 5 << 4, flags, 1024, 0, 0)
    return head + payload


@pytest.mark.parametrize(("flags", "words"), [(2, "SYN"), (18, "SYN ACK"), (20, "ACK RST")])
def test_tcp_flags_are_named(flags: int, words: str) -> None:
    headers = parse_packet(ipv4(6, tcp(flags)))
    assert headers is not None
    assert headers.summary == f"TCP {words}"
    assert headers.flow == Flow("tcp", "10.0.0.1", 5, "10.0.0.2", 80)


def test_nat_does_not_change_a_tcp_segments_identity() -> None:
    before = parse_packet(ipv4(6, tcp(2)))
    after = parse_packet(ipv4(6, tcp(2, sport=999), source="192.0.2.1"))
    other = parse_packet(ipv4(6, tcp(2, sequence=1001)))
    assert before is not None
    assert after is not None
    assert other is not None
    assert before.identity == after.identity
    assert before.flow != after.flow
    assert before.identity != other.identity


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(6, tcp(24, payload=b"x" * 100)),
        ipv4(17, struct.pack(">HHHH", 5, 53, 108, 0) + b"y" * 100),
        ipv4(1, struct.pack(">BBHHH", 8, 0, 0, 9, 1) + b"z" * 56),
        ipv4(
            132, struct.pack(">HHII", 5, 9, 0, 0) + struct.pack(">BBHI", 1, 0, 20, 88) + b"\0" * 12
        ),
        ipv4(1, struct.pack(">BBHI", 3, 3, 0, 0) + ipv4(6, tcp(2))),
        ipv6(6, tcp(2)),
        ipv6(58, struct.pack(">BBHHH", 128, 0, 0, 9, 1) + b"z" * 56),
        ipv6(58, struct.pack(">BBHI", 1, 4, 0, 0) + ipv6(6, tcp(2))),
    ],
)
def test_a_traced_packet_has_the_captured_packets_identity(packet: bytes) -> None:
    size = 40 if packet[0] >> 4 == 6 else 20
    whole = parse_packet(packet)
    traced = parse_split(packet[:size], packet[size : size + 20])
    assert whole is not None
    assert traced is not None
    assert whole.identity == traced.identity
    assert whole.flow == traced.flow


def test_an_icmp_error_names_itself_and_the_flow_it_answers() -> None:
    headers = parse_packet(ipv4(1, struct.pack(">BBHI", 3, 3, 0, 0) + ipv4(6, tcp(2))))
    assert headers is not None
    assert headers.summary == "ICMP port unreachable"
    assert headers.is_icmp_error
    assert headers.inner == Flow("tcp", "10.0.0.1", 5, "10.0.0.2", 80)


def test_a_ping_has_its_identifier_as_both_ports_and_reverses() -> None:
    headers = parse_packet(ipv6(58, struct.pack(">BBHHH", 128, 0, 0, 9, 1)))
    assert headers is not None
    assert headers.flow == Flow("icmp", "fd00::1", 9, "fd00::2", 9)
    assert headers.flow.reversed() == Flow("icmp", "fd00::2", 9, "fd00::1", 9)
    assert headers.flow.protocol_number == 58


def test_later_fragments_have_no_ports_and_an_identity_of_their_own() -> None:
    second = parse_packet(ipv4(17, b"rest of it", fragment=185))
    third = parse_packet(ipv4(17, b"rest of it", fragment=370))
    assert second is not None
    assert third is not None
    assert second.flow.destination_port == 0
    assert second.summary == "fragment"
    assert second.identity != third.identity


def test_an_ipv6_fragment_header_is_skipped() -> None:
    udp = struct.pack(">HHHH", 5, 53, 12, 0) + b"ping"
    first = parse_packet(ipv6(44, struct.pack(">BBHI", 17, 0, 1, 4242) + udp))
    assert first is not None
    assert first.flow == Flow("udp", "fd00::1", 5, "fd00::2", 53)
    assert first.ip_id == 4242


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x00" * 40, b"\x60" + b"\0" * 20])
def test_what_is_no_ip_packet_is_none(data: bytes) -> None:
    assert parse_packet(data) is None


def test_vlan_tags_are_looked_through() -> None:
    data = b"\x02" * 12 + b"\x81\x00\x00\x05\x08\x00" + ipv4(6, tcp(2))
    sighting = sighting_of(Frame(1, "w1", "eth0", "in", data))
    assert sighting is not None
    assert sighting.flow.destination_port == 80


def test_frames_without_ip_are_no_sightings() -> None:
    assert (
        sighting_of(Frame(1, "w1", "eth0", "in", b"\xff" * 12 + b"\x08\x06" + b"\0" * 28)) is None
    )


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("10.0.0.1", ("10.0.0.1", 0)),
        ("[fd00::1]:80", ("fd00::1", 80)),
        ("fd00:0::1", ("fd00::1", 0)),
    ],
)
def test_endpoints_parse(words: str, parsed: tuple[str, int]) -> None:
    assert parse_endpoint(words) == parsed


@pytest.mark.parametrize("words", ["", "web", "10.0.0.1:", "10.0.0.1:70000", "1.2.3:80", "a:b"])
def test_other_words_are_refused_in_one_line(words: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        parse_endpoint(words)


def test_ipv6_endpoints_are_written_with_brackets() -> None:
    assert endpoint("fd00::1", 80) == "[fd00::1]:80"
    assert endpoint("fd00::1", 0) == "fd00::1"
