from __future__ import annotations

import contextlib

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.dns import message
from testbed.dns.names import from_wire
from testbed.dns.records import ClusterRecords
from testbed.dns.server import Responder
from testbed.dns.zone import Answer, Code, Record, Type


def packed(name: str, kind: str = "A", edns: int | None = None) -> bytes:
    query = dnslib.DNSRecord.question(name, kind)
    query.header.id = 7
    if edns is not None:
        query.add_ar(dnslib.EDNS0(udp_len=edns))
    return bytes(query.pack())


def test_query_is_read_with_its_name_type_and_edns_size() -> None:
    query = message.parse(packed("Web.Default.svc", "AAAA", edns=1000))
    assert (query.id, query.kind, query.recursion) == (7, Type.AAAA, True)
    assert (query.edns, query.size) == (True, 1000)
    assert from_wire(query.wire) == "web.default.svc"
    plain = message.parse(packed("a"))
    assert (plain.edns, plain.size) == (False, 512)


@pytest.mark.parametrize(("asked", "granted"), [(0, 512), (513, 513), (4096, 1232)])
def test_edns_sizes_are_kept_within_bounds(asked: int, granted: int) -> None:
    assert message.parse(packed("a", edns=asked)).size == granted


def test_key_is_the_same_for_every_spelling_but_not_for_other_types() -> None:
    keys = {message.parse(packed(name)).key for name in ("web.NS", "WEB.ns", "web.ns")}
    assert len(keys) == 1
    # 65 is "A": lowering it would make it 97.
    assert message.parse(packed("web.ns", "HTTPS")).key[-4:] == b"\0\x41\0\1"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (b"\0\7\x81\0\0\1\0\0\0\0\0\0\0\0\1\0\1", None),
        (b"\0\7\x08\0\0\1\0\0\0\0\0\0\0\0\1\0\1", Code.NOTIMP),
        (b"\0\7\0\0\0\0\0\0\0\0\0\0", Code.FORMERR),
        (b"\0\7\0\0\0\2\0\0\0\0\0\0\0\0\1\0\1\0\0\1\0\1", Code.FORMERR),
        (b"\0\7\0\0\0\1\0\0\0\0\0\0\5ab", Code.FORMERR),
        (b"\0\7\0\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", Code.FORMERR),
        (b"\0\7\0\0\0\1\0\0\0\0\0\0\0\0\1", Code.FORMERR),
        (b"\0\7\0\0\0\1\0\0\0\0\0\1\0\0\1\0\1\0\0\x29", Code.FORMERR),
    ],
)
def test_what_is_no_query_is_told_apart(data: bytes, code: Code | None) -> None:
    with pytest.raises(message.FormatError) as caught:
        message.parse(data)
    assert caught.value.code == code


def test_answer_echoes_the_spelling_and_unpacks_to_its_records() -> None:
    query = message.parse(packed("WeB.ns.svc", edns=1232))
    answer = Answer(Code.NOERROR, (Record("web.ns.svc", Type.A, 30, "10.96.0.7"),))
    body = message.body_of(query.wire, answer, authoritative=True)
    other = message.parse(packed("wEb.Ns.svc"))
    for asked in (query, other):
        reply = dnslib.DNSRecord.parse(message.render(asked, body, asked.size))
        assert reply.header.id == 7
        assert (reply.header.aa, reply.header.rd, reply.header.ra) == (1, 1, 0)
        assert str(reply.rr[0].rdata) == "10.96.0.7"
    assert b"wEb" in message.render(other, body, 512)


def test_answer_that_does_not_fit_is_cut_and_says_so() -> None:
    query = message.parse(packed("web.ns.svc"))
    records = tuple(Record("web.ns.svc", Type.A, 30, f"10.0.{n}.1") for n in range(40))
    body = message.body_of(query.wire, Answer(Code.NOERROR, records), authoritative=True)
    reply = dnslib.DNSRecord.parse(message.render(query, body, 512))
    assert (reply.header.tc, reply.rr) == (1, [])
    whole = dnslib.DNSRecord.parse(message.render(query, body, 65535))
    assert (whole.header.tc, len(whole.rr)) == (0, 40)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (Record("a", Type.TXT, 5, "1.1.0"), '"1.1.0"'),
        (Record("a", Type.SRV, 5, "0 100 80 web.ns."), "0 100 80 web.ns."),
        (Record("a", Type.PTR, 5, "web.ns."), "web.ns."),
        (Record("a", Type.AAAA, 5, "fd00::7"), "fd00::7"),
        (Record("a", Type.SOA, 5, "ns. hm. 1 2 3 4 5"), "ns. hm. 1 2 3 4 5"),
    ],
)
def test_every_type_is_packed(record: Record, text: str) -> None:
    query = message.parse(packed("a", record.type.name))
    body = message.body_of(query.wire, Answer(Code.NOERROR, (record,)), authoritative=True)
    reply = dnslib.DNSRecord.parse(message.render(query, body, 512))
    assert str(reply.rr[0].rdata) == text
    assert reply.rr[0].ttl == 5


HEADER = st.sampled_from([b"\0\7\1\0\0\1\0\0\0\0\0\0", b"\0\7\1\0\0\1\0\0\0\0\0\1"])
LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=5)


@given(HEADER, LABELS, st.binary(max_size=20))
def test_any_bytes_are_answered_or_refused(head: bytes, labels: list[bytes], rest: bytes) -> None:
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    responder = Responder(ClusterRecords())
    with contextlib.suppress(message.FormatError):
        query = message.parse(head + name + rest)
        answered = responder.answer_now(query, query.size)
        assert answered is None or answered[:2] == b"\0\7"


def test_dot_inside_a_label_does_not_part_it() -> None:
    assert from_wire(b"\7web.svc\5local\0") == "web\\.svc.local"


def test_broken_answer_of_another_server_is_a_failure() -> None:
    assert message.records_in(b"\0" * 5) == (Code.SERVFAIL, [])
