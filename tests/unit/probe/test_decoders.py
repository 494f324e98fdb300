"""Messages that a kernel sent, decoded; messages that we send, byte for byte where it matters."""

from __future__ import annotations

import socket
import struct

from testbed import netlink as nl
from testbed.flow import ConntrackEntry, Flow, Route
from testbed.flow import fingerprint as fingerprints
from testbed.probe import bpf, conntrack, routes, trace_rule
from testbed.probe.trace_events import POLICY, RULE, decode


def trace(*parts: tuple[int, str]) -> bytes:
    """A trace message's payload from (attribute, hex) as a 6.18 kernel sent them."""
    return b"\x02\0\0\0" + b"".join(nl.attribute(kind, bytes.fromhex(data)) for kind, data in parts)


NAME_NAT, NAME_OUTPUT, NAME_K = b"nat\0".hex(), b"OUTPUT\0".hex(), b"K\0".hex()
SYN_NETWORK = "4500003ca2ee4000400699cb7f0000017f000001"
SYN_TRANSPORT = "b48000501122334400000000a002ffd7fe300000"


def test_a_jump_with_headers_is_decoded() -> None:
    event = decode(
        "w1",
        trace(
            (15, "00000002"), (4, "00000003"), (6, "77bc85a8"), (2, NAME_OUTPUT), (1, NAME_NAT),
            (3, "0000000000000003"), (5, "08000100fffffffd060002004b000000"), (12, "00000001"),
            (13, "0304"), (8, SYN_NETWORK), (9, SYN_TRANSPORT), (21, "00000008"), (20, "00000120"),
        ),
    )  # fmt: skip
    assert (event.family, event.table, event.chain, event.handle) == ("ip", "nat", "OUTPUT", 3)
    assert (event.kind, event.verdict, event.packet) == (RULE, "jump K", 0x77BC85A8)
    assert (event.interface_in, event.interface_out) == (0, 1)
    assert event.headers is not None
    assert event.headers.flow == Flow("tcp", "127.0.0.1", 46208, "127.0.0.1", 80)
    assert event.headers.sequence == 0x11223344
    assert event.conntrack_status == 0x120


def test_a_later_rule_has_a_verdict_and_no_headers() -> None:
    event = decode(
        "w1",
        trace(
            (4, "00000003"), (6, "77bc85a8"), (2, NAME_K), (1, NAME_NAT),
            (3, "0000000000000004"), (5, "0800010000000001"),
        ),
    )  # fmt: skip
    assert (event.verdict, event.handle, event.headers) == ("accept", 4, None)


def test_a_policy_is_a_verdict_without_a_rule() -> None:
    event = decode("w1", trace((4, "00000001"), (2, NAME_K), (1, NAME_NAT), (16, "00000000")))
    assert (event.kind, event.verdict, event.handle) == (POLICY, "drop", 0)


def test_a_conntrack_tuple_packs_and_parses_back() -> None:
    for flow in (
        Flow("tcp", "10.0.0.1", 5, "10.0.0.2", 80),
        Flow("udp", "fd00::1", 5, "fd00::2", 53),
        Flow("icmp", "10.0.0.1", 9, "10.0.0.2", 9),
        Flow("icmp", "fd00::1", 9, "fd00::2", 9),
        Flow("sctp", "10.0.0.1", 5, "10.0.0.2", 9),
    ):
        payload = (
            b"\x02\0\0\0"
            + conntrack.pack_tuple(1, flow)
            + conntrack.pack_tuple(2, flow.reversed())
            + nl.be32(3, 0x2E)
            + nl.be32(7, 119)
            + nl.nested(4, nl.nested(1, nl.u8(1, 3)))
        )
        assert conntrack.parse_entry(payload) == ConntrackEntry(
            flow,
            flow.reversed(),
            ("SEEN_REPLY", "ASSURED", "CONFIRMED", "DST_NAT"),
            "ESTABLISHED",
            timeout=119,
        )


def rtm(kind: int, *parts: bytes) -> bytes:
    return struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 0, 0, kind, 0) + b"".join(parts)


def test_a_route_names_gateway_interface_and_refusal() -> None:
    gateway = nl.attribute(5, socket.inet_aton("10.0.0.254"))
    assert routes.parse_route(rtm(1, nl.u32(4, 3), gateway)) == Route("unicast", "3", "10.0.0.254")
    assert routes.parse_route(rtm(2, nl.u32(4, 1))).kind == "local"
    assert routes.parse_route(rtm(7)).error == "unreachable route"


def test_a_route_via_the_other_family_is_read() -> None:
    via = nl.attribute(18, struct.pack("=H", socket.AF_INET6) + socket.inet_pton(10, "fe80::1"))
    assert routes.parse_route(rtm(1, nl.u32(4, 3), via)).gateway == "fe80::1"


def test_the_trace_table_is_owned_and_its_chains_accept_before_conntrack() -> None:
    made = fingerprints.of_tcp(Flow("tcp", "10.0.0.1", 5, "10.0.0.2", 80), 7)
    sent = list(nl.messages(trace_rule.install(made)))
    kinds = [each.kind & 0xFF for each in sent]
    assert kinds == [16, 0, 3, 3, 6, 6, 6, 6, 6, 6, 17]
    table = nl.attributes(sent[1].payload, 4)
    assert nl.string(table[1]) == "testbed-trace"
    assert int.from_bytes(table[2], "big") == 2  # NFT_TABLE_F_OWNER
    for chain in sent[2:4]:
        found = nl.attributes(chain.payload, 4)
        assert 5 not in found  # no policy: accept
        priority = struct.unpack(">i", nl.attributes(found[4])[2])[0]
        assert -400 < priority < -300


def test_no_rule_of_the_trace_table_uses_conntrack() -> None:
    made = fingerprints.of_udp(Flow("udp", "fd00::1", 5, "fd00::2", 53), b"token123")
    data = trace_rule.install(made)
    names = set()
    for each in nl.messages(data):
        if each.kind & 0xFF == 6:
            for _, expression in nl.iterate_attributes(nl.attributes(each.payload, 4)[4]):
                names.add(nl.string(nl.attributes(expression)[1]))
    assert names == {"meta", "cmp", "payload", "immediate", "dynset", "lookup"}


def run_filter(program: list[bpf.Instruction], ethertype: int, protocol: int) -> int:
    """A small classic BPF machine with the two ancillary loads that the filter uses."""
    place, accumulator = 0, 0
    while True:
        code, true, false, value = program[place]
        place += 1
        if code == 0x28:
            accumulator = ethertype
        elif code == 0x30:
            accumulator = protocol
        elif code == 0x15:
            place += true if accumulator == value else false
        else:
            return value


def test_the_filter_keeps_its_protocols_and_nothing_else() -> None:
    program = bpf.protocols_filter(4, [6, 1])
    assert run_filter(program, 0x0800, 6)
    assert run_filter(program, 0x0800, 1)
    assert not run_filter(program, 0x0800, 17)
    assert not run_filter(program, 0x86DD, 6)
    assert not run_filter(program, 0x0806, 6)


def test_the_ipv6_filter_also_keeps_extension_headers() -> None:
    program = bpf.protocols_filter(6, [17, 58])
    for protocol in (17, 58, 44, 0):
        assert run_filter(program, 0x86DD, protocol)
    assert not run_filter(program, 0x86DD, 6)
    assert not run_filter(program, 0x0800, 17)
