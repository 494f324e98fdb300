"""A DNS server on sockets that others opened: UDP and TCP, zones first, other names forwarded.

A packed answer is kept until the zones change, so that most queries cost a look at the header and
one dictionary lookup.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from testbed.dns import message
from testbed.dns.forward import Forwarder, SocketOpener
from testbed.dns.message import Body, FormatError, Query
from testbed.dns.names import from_wire
from testbed.dns.zone import CNAME_LIMIT, Answer, Code, Source, Type

log = logging.getLogger(__name__)

#: Packed answers kept at a time.
CACHE_LIMIT = 50_000
#: Datagrams read before the event loop gets its turn.
BURST = 64
#: Seconds a TCP connection may stay silent.
TCP_IDLE = 10.0

_IN = 1


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One answered query; printed as CoreDNS' log plugin prints it. `duration` in seconds."""

    client: tuple[str, int]
    id: int
    name: str
    kind: int
    protocol: str
    asked: int
    size: int
    edns: bool
    code: int
    flags: int
    answered: int
    duration: float

    def __str__(self) -> str:
        host = f"[{self.client[0]}]" if ":" in self.client[0] else self.client[0]
        kind = Type(self.kind).name if self.kind in Type._value2member_map_ else f"TYPE{self.kind}"
        code = Code(self.code).name if self.code in Code._value2member_map_ else str(self.code)
        listed = ",".join(word for bit, word in _FLAG_WORDS if self.flags & bit)
        return (
            f'{host}:{self.client[1]} - {self.id} "{kind} IN {self.name}. {self.protocol} '
            f'{self.asked} false {self.size}" {code} {listed} {self.answered} {self.duration:.9f}s'
        )


_FLAG_WORDS = (
    (message.QR, "qr"),
    (message.AA, "aa"),
    (message.TC, "tc"),
    (message.RD, "rd"),
    (message.RA, "ra"),
)

Logger: TypeAlias = Callable[[LogEntry], None]


class Responder:
    """Answers messages out of `source`; what isn't the source's goes to `forwarder`, if any.

    Several servers (the Pods of one Deployment) may share one responder.
    """

    def __init__(self, source: Source, forwarder: Forwarder | None = None) -> None:
        self._source = source
        self._forwarder = forwarder
        self._cache: dict[bytes, Body] = {}
        self._version = -1

    def answer_now(self, query: Query, limit: int) -> bytes | None:
        """The answer, where the zones alone have it; None where others must be asked first."""
        if self._source.version != self._version:
            self._cache.clear()
            self._version = self._source.version
        key = query.key
        body = self._cache.get(key)
        if body is None:
            found = self._source.lookup(from_wire(query.wire), query.kind)
            if query.asked_class != _IN:
                found = Answer(Code.REFUSED)
            if found is None or found.pending is not None:
                return None
            body = self._pack(key, query, found)
        return message.render(query, body, limit)

    def _pack(self, key: bytes, query: Query, found: Answer) -> Body:
        authoritative = found.code in (Code.NOERROR, Code.NXDOMAIN)
        if len(found.records) > 1:
            # Not kept: every client gets its own order.
            return message.body_of(query.wire, message.shuffled(found), authoritative=authoritative)
        body = message.body_of(query.wire, found, authoritative=authoritative)
        if len(self._cache) >= CACHE_LIMIT:
            self._cache.clear()
        self._cache[key] = body
        return body

    async def answer(self, query: Query, raw: bytes, limit: int, *, tcp: bool) -> bytes:
        """The answer to any query, asking other servers where needed."""
        now = self.answer_now(query, limit)
        if now is not None:
            return now
        found = self._source.lookup(from_wire(query.wire), query.kind)
        if found is None:
            return await self._forward(query, raw, limit, tcp=tcp)
        resolved = await self._resolve(found, query.kind)
        return message.render(
            query, message.body_of(query.wire, resolved, authoritative=True), limit
        )

    async def _forward(self, query: Query, raw: bytes, limit: int, *, tcp: bool) -> bytes:
        if self._forwarder is None:
            return self._failure(query, Code.REFUSED, limit)
        answered = await self._forwarder.ask(raw, tcp=tcp)
        return answered if answered is not None else self._failure(query, Code.SERVFAIL, limit)

    async def _resolve(self, found: Answer, kind: int) -> Answer:
        """Follow an alias that leaves the zones; what is known of the chain is always answered."""
        records = list(found.records)
        target = found.pending
        for _ in range(CNAME_LIMIT):
            if target is None:
                break
            further = self._source.lookup(target, kind)
            if further is None:
                last = await self._ask_for(target, kind)
                return replace(last, records=(*records, *last.records))
            records += further.records
            target = further.pending
            if target is None:
                return replace(further, records=tuple(records))
        return Answer(Code.NOERROR, tuple(records))

    async def _ask_for(self, name: str, kind: int) -> Answer:
        if self._forwarder is None:
            return Answer(Code.NOERROR)
        answered = await self._forwarder.ask(message.question(name, kind), tcp=False)
        if answered is None:
            return Answer(Code.SERVFAIL)
        code, records = message.records_in(answered)
        return Answer(code, tuple(records), authority=message.soa_in(answered))

    def _failure(self, query: Query, code: Code, limit: int) -> bytes:
        body = message.body_of(query.wire, Answer(code), authoritative=False)
        return message.render(query, body, limit)


def listening_sockets(
    open_socket: SocketOpener, port: int = 53, address: str = "::"
) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets on `port` where `open_socket` opens: of `address`, or of all of them.

    A machine of several networks needs a pair for each of its addresses: an answer to a datagram
    would else leave with the address of the network that it leaves by.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = open_socket(family, socket.SOCK_DGRAM)
    tcp = open_socket(family, socket.SOCK_STREAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in (udp, tcp):
            if address == "::":
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind((address, port))
        tcp.listen()
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp


class DnsServer:
    """Serves a responder on UDP and TCP sockets that are bound already (TCP ones listening).

    `log` is told every answered query. Must be made inside a running event loop; `close` closes the
    sockets.
    """

    def __init__(
        self,
        responder: Responder,
        udp: Sequence[socket.socket],
        tcp: Sequence[socket.socket] = (),
        log: Logger | None = None,
    ) -> None:
        self._responder = responder
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._udp = tuple(udp)
        self._tcp = tuple(tcp)
        self._tasks: set[asyncio.Task[None]] = set()
        for sock in self._udp:
            sock.setblocking(False)
            self._loop.add_reader(sock, self._readable, sock)
        for sock in self._tcp:
            sock.setblocking(False)
            self._spawn(self._accept(sock))

    def close(self) -> None:
        """Stop serving; queries that wait for others get no answer."""
        for sock in self._udp:
            self._loop.remove_reader(sock)
            sock.close()
        for task in self._tasks:
            task.cancel()
        for sock in self._tcp:
            # A cancelled accept lets go of its descriptor later, when another may have the number.
            self._loop.remove_reader(sock)
            sock.close()

    def _spawn(self, work: asyncio._CoroutineLike[None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # UDP

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(BURST):
            try:
                data, client = sock.recvfrom(4096)
            except OSError:  # nothing more; or an earlier answer's ICMP error
                return
            try:
                query = message.parse(data)
            except FormatError as error:
                if error.code is not None:
                    self._send(sock, message.refusal(data, error.code), client)
                continue
            if query.version:
                self._send(sock, message.bad_version(query), client)
                continue
            start = self._loop.time() if self._log else 0.0
            now = self._responder.answer_now(query, query.size)
            if now is None:
                self._spawn(self._answer_later(sock, query, data, client))
                continue
            self._send(sock, now, client)
            if self._log:
                self._tell(query, len(data), now, client, "udp", start)

    async def _answer_later(
        self, sock: socket.socket, query: Query, data: bytes, client: tuple[str, int]
    ) -> None:
        start = self._loop.time()
        answered = await self._responder.answer(query, data, query.size, tcp=False)
        self._send(sock, answered, client)
        self._tell(query, len(data), answered, client, "udp", start)

    def _send(self, sock: socket.socket, data: bytes, client: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):  # a full buffer or a gone client: UDP may lose
            sock.sendto(data, client)

    # TCP

    async def _accept(self, sock: socket.socket) -> None:
        while True:
            try:
                connection, client = await self._loop.sock_accept(sock)
            except OSError as error:
                log.debug("DNS over TCP ends: %s", error)
                return
            self._spawn(self._converse(connection, client))

    async def _converse(self, connection: socket.socket, client: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(size)
                answered = await self._answer_tcp(data, client)
                if answered is None:
                    return
                writer.write(len(answered).to_bytes(2, "big") + answered)
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            return
        finally:
            writer.close()

    async def _answer_tcp(self, data: bytes, client: tuple[str, int]) -> bytes | None:
        try:
            query = message.parse(data)
        except FormatError as error:
            return None if error.code is None else message.refusal(data, error.code)
        if query.version:
            return message.bad_version(query)
        start = self._loop.time()
        answered = await self._responder.answer(query, data, 65535, tcp=True)
        self._tell(replace(query, size=65535), len(data), answered, client, "tcp", start)
        return answered

    def _tell(
        self,
        query: Query,
        asked: int,
        answered: bytes,
        client: tuple[str, int],
        protocol: str,
        start: float,
    ) -> None:
        if self._log is None:
            return
        flags = int.from_bytes(answered[2:4], "big")
        entry = LogEntry(
            client=(client[0].removeprefix("::ffff:"), client[1]),
            id=query.id,
            name=from_wire(query.wire),
            kind=query.kind,
            protocol=protocol,
            asked=asked,
            size=query.size,
            edns=query.edns,
            code=flags & 0xF,
            flags=flags,
            answered=len(answered),
            duration=self._loop.time() - start,
        )
        self._log(entry)
