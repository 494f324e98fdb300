"""DNS messages: a quick look at plain queries, dnslib for everything that is built. Pure."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import Any

import dnslib

from testbed.dns.zone import Answer, Code, Record, Type

#: What a client without EDNS accepts over UDP (RFC 1035).
PLAIN_SIZE = 512
#: The most that is sent in one datagram (RFC 9715).
MAX_SIZE = 1232
_HEADER = struct.Struct(">HHHHHH")

#: Bytes above ASCII become "x".
_PLAIN = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))

QR, AA, TC, RD, RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800
_OPT = struct.Struct(">BHHIH")
_OPT_TYPE = 41


@dataclass(slots=True)
class Query:
    """One question. `wire` is the question section as sent; `size` what the client accepts."""

    id: int
    recursion: bool
    wire: bytes
    kind: int
    edns: bool = False
    size: int = PLAIN_SIZE
    version: int = 0

    @property
    def key(self) -> bytes:
        """The question, the same for every spelling: a name's length bytes have no case."""
        return self.wire[:-4].lower() + self.wire[-4:]

    @property
    def asked_class(self) -> int:
        return int.from_bytes(self.wire[-2:], "big")


class FormatError(ValueError):
    """Not a query that can be answered; `code` is what to answer, None for nothing at all."""

    def __init__(self, message: str, code: Code | None) -> None:
        super().__init__(message)
        self.code = code


def parse(data: bytes) -> Query:
    """The query in a message; raises FormatError."""
    if len(data) < 12:
        raise FormatError("shorter than a header", None)
    ident, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    if flags & QR:
        raise FormatError("an answer where a query is expected", None)
    if flags & _OPCODE:
        raise FormatError("not a plain query", Code.NOTIMP)
    if questions != 1 or answers or authority:
        raise FormatError("not exactly one question", Code.FORMERR)
    end = _question_end(data)
    kind = int.from_bytes(data[end - 4 : end - 2], "big")
    query = Query(ident, bool(flags & RD), data[12:end], kind)
    if additional:
        _read_edns(query, data, end, additional)
    return query


def _question_end(data: bytes) -> int:
    offset = 12
    try:
        while size := data[offset]:
            if size > 63:
                raise FormatError("a compressed question", Code.FORMERR)
            offset += 1 + size
    except IndexError:
        raise FormatError("a name without an end", Code.FORMERR) from None
    if offset + 5 > len(data) or offset - 12 > 254:
        raise FormatError("a question that is cut off", Code.FORMERR)
    return offset + 5


def _read_edns(query: Query, data: bytes, offset: int, count: int) -> None:
    """Look for OPT among the additional records (RFC 6891); others (TSIG) aren't understood."""
    for _ in range(count):
        if offset + _OPT.size > len(data) or data[offset] != 0:
            raise FormatError("an additional record that isn't EDNS", Code.FORMERR)
        _, kind, size, extra, length = _OPT.unpack_from(data, offset)
        if kind == _OPT_TYPE:
            if query.edns:
                raise FormatError("EDNS twice", Code.FORMERR)
            query.edns = True
            query.size = min(max(size, PLAIN_SIZE), MAX_SIZE)
            query.version = extra >> 16 & 0xFF
        offset += _OPT.size + length


@dataclass(frozen=True, slots=True)
class Body:
    """An answer without what a query brings: flags, counts, what follows the question."""

    flags: int
    counts: tuple[int, int, int]
    tail: bytes


def body_of(wire: bytes, answer: Answer, *, authoritative: bool) -> Body:
    """Pack `answer` to the question `wire`; names are compressed, also towards the question."""
    reply = dnslib.DNSRecord(dnslib.DNSHeader(qr=1))
    # The library refuses labels of other bytes; no record's name has them, so that only the
    # length matters for what the records' names are compressed against.
    plain = wire[:-4].lower().translate(_PLAIN) + wire[-4:]
    reply.add_question(dnslib.DNSQuestion.parse(dnslib.DNSBuffer(plain)))
    reply.add_answer(*map(_resource, answer.records))
    reply.add_auth(*map(_resource, answer.authority))
    reply.add_ar(*map(_resource, answer.additional))
    packed: bytes = reply.pack()
    flags = QR | (AA if authoritative else RA) | answer.code
    counts = len(answer.records), len(answer.authority), len(answer.additional)
    return Body(flags, counts, packed[12 + len(wire) :])


def render(query: Query, body: Body, limit: int) -> bytes:
    """The message for `query`: cut to its question (TC) where it is longer than `limit` bytes."""
    flags = body.flags | (RD if query.recursion else 0)
    answers, authority, additional = body.counts
    opt = _opt() if query.edns else b""
    if 12 + len(query.wire) + len(body.tail) + len(opt) > limit:
        head = _HEADER.pack(query.id, flags | TC, 1, 0, 0, 1 if opt else 0)
        return head + query.wire + opt
    extra = additional + (1 if opt else 0)
    head = _HEADER.pack(query.id, flags, 1, answers, authority, extra)
    return head + query.wire + body.tail + opt


def refusal(data: bytes, code: Code) -> bytes:
    """An answer without a question, for a message that can't be read further than its header."""
    ident, flags = struct.unpack_from(">HH", data)
    return _HEADER.pack(ident, QR | (flags & (_OPCODE | RD)) | code, 0, 0, 0, 0)


def bad_version(query: Query) -> bytes:
    """BADVERS: a version of EDNS that isn't ours (RFC 6891, 6.1.3)."""
    flags = QR | (RD if query.recursion else 0)
    return _HEADER.pack(query.id, flags, 1, 0, 0, 1) + query.wire + _opt(1)


def _opt(extended_code: int = 0) -> bytes:
    return _OPT.pack(0, _OPT_TYPE, MAX_SIZE, extended_code << 24, 0)


def shuffled(answer: Answer) -> Answer:
    """Addresses in a random order, after the aliases (CoreDNS' loadbalance)."""
    aliases = [r for r in answer.records if r.type == Type.CNAME]
    others = [r for r in answer.records if r.type != Type.CNAME]
    random.shuffle(others)
    return Answer(answer.code, (*aliases, *others), answer.additional, answer.authority)


def records_in(message: bytes) -> tuple[Code, list[Record]]:
    """The code and the records of another server's answer, of the types that we know."""
    try:
        parsed = dnslib.DNSRecord.parse(message)
    except dnslib.DNSError:
        return Code.SERVFAIL, []
    records = []
    for resource in parsed.rr:
        if resource.rtype in _RDATA and resource.rtype != Type.SOA:
            name = str(resource.rname).rstrip(".").lower()
            data = str(resource.rdata).strip('"')
            records.append(Record(name, Type(resource.rtype), resource.ttl, data))
    try:
        return Code(parsed.header.rcode), records
    except ValueError:
        return Code.SERVFAIL, records


def soa_in(message: bytes) -> tuple[Record, ...]:
    """Which zone's negative answer another server gave: the SOA of its authority section."""
    try:
        parsed = dnslib.DNSRecord.parse(message)
    except dnslib.DNSError:
        return ()
    return tuple(
        Record(
            str(each.rname).rstrip(".").lower(),
            Type.SOA,
            each.ttl,
            " ".join(map(str, (each.rdata.mname, each.rdata.rname, *each.rdata.times))),
        )
        for each in parsed.auth
        if each.rtype == Type.SOA
    )


def question(name: str, kind: int) -> bytes:
    """A recursive query, for asking another server."""
    packed: bytes = dnslib.DNSRecord.question(name, dnslib.QTYPE[kind]).pack()
    return packed


def _resource(record: Record) -> Any:
    return dnslib.RR(
        record.name, record.type, rdata=_RDATA[record.type](record.data), ttl=record.ttl
    )


def _soa(data: str) -> Any:
    server, mailbox, *times = data.split()
    return dnslib.SOA(server, mailbox, tuple(map(int, times)))


def _srv(data: str) -> Any:
    priority, weight, port, target = data.split()
    return dnslib.SRV(int(priority), int(weight), int(port), target)


_RDATA: dict[Type, Any] = {
    Type.A: dnslib.A,
    Type.AAAA: dnslib.AAAA,
    Type.CNAME: dnslib.CNAME,
    Type.NS: dnslib.NS,
    Type.PTR: dnslib.PTR,
    Type.TXT: dnslib.TXT,
    Type.SOA: _soa,
    Type.SRV: _srv,
}
