"""A stub resolver, as the C library has it: search list, ndots, servers in turn.

Source: resolv.conf(5); glibc resolv/res_query.c (__res_context_search). Blocking: call it from a
thread of its own where the servers live on the same event loop.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

from testbed.dns import message
from testbed.dns.forward import SocketOpener
from testbed.dns.names import check, normal
from testbed.dns.resolv import ResolvConf
from testbed.dns.zone import Code, Record, Type

#: Tries of every server (resolv.conf's `attempts`).
ATTEMPTS = 2
_PORT = 53


@dataclass(frozen=True, slots=True)
class Exchange:
    """One query and what came of it. `problem` is "" where an answer came; `seconds` it took."""

    name: str
    kind: Type
    server: str
    code: Code = Code.SERVFAIL
    records: tuple[Record, ...] = ()
    problem: str = ""
    seconds: float = 0.0
    source: tuple[str, int] = ("", 0)

    def __str__(self) -> str:
        data = ", ".join(f"{r.type.name} {r.data}" for r in self.records)
        found = self.problem or (data or "no such record" if not self.code else self.code.name)
        return f"{self.kind.name} {self.name}. at {self.server}: {found}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name came to: the `answers`, and every query (`exchanges`) that it took.

    `problem` says why there are none; it is "" where there are.
    """

    name: str
    answers: tuple[Record, ...]
    exchanges: tuple[Exchange, ...]
    problem: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses among the answers, in their order."""
        return tuple(r.data for r in self.answers if r.type in (Type.A, Type.AAAA))

    @property
    def full_name(self) -> str:
        """The name that existed, without its final dot; "" where none did."""
        return self.exchanges[-1].name if self.answers else ""

    def __str__(self) -> str:
        lines = [str(exchange) for exchange in self.exchanges]
        return "\n".join([*lines, f"{self.name}: {self.problem}"] if self.problem else lines)


def candidates(name: str, conf: ResolvConf) -> list[str]:
    """The names that are tried for `name`, in order, without final dots."""
    if name.endswith("."):
        return [normal(name)]
    searched = [normal(f"{name}.{domain}") for domain in conf.searches]
    return (
        [normal(name), *searched]
        if name.count(".") >= _option(conf, "ndots", 1)
        else [*searched, normal(name)]
    )


def resolve(
    open_socket: SocketOpener,
    conf: ResolvConf,
    name: str,
    kinds: Sequence[Type] = (Type.A,),
    timeout: float = 1.0,
) -> Resolution:
    """Ask for `name` as a program in the namespace of `open_socket` would.

    The first candidate that has a record of any of `kinds` wins; each is asked for all kinds, as
    getaddrinfo asks for A and AAAA. `timeout`: seconds a server is waited for (resolv.conf may say
    otherwise). A server that answers nothing ends the search, as in the C library. Raises
    UsageError for what can't be a name.
    """
    check(name)
    if not conf.nameservers:
        return Resolution(name, (), (), "resolv.conf names no server")
    patience = float(_option(conf, "timeout", 0) or timeout)
    done: list[Exchange] = []
    exists = False
    for candidate in candidates(name, conf):
        found: list[Record] = []
        for kind in kinds:
            for exchange in _ask(open_socket, conf, candidate, kind, patience):
                done.append(exchange)
            last = done[-1]
            if last.problem:
                return Resolution(name, (), tuple(done), f"no answer: {last.problem}")
            exists = exists or last.code == Code.NOERROR
            if any(record.type == kind for record in last.records):
                found += [record for record in last.records if record not in found]
        if found:
            return Resolution(name, tuple(found), tuple(done))
    failed = any(e.code not in (Code.NOERROR, Code.NXDOMAIN) for e in done)
    words = "server failure" if failed else "no record of this type" if exists else "no such name"
    return Resolution(name, (), tuple(done), words)


def _option(conf: ResolvConf, name: str, default: int) -> int:
    for option in conf.options:
        key, _, value = option.partition(":")
        if key == name and value.isdigit():
            return int(value)
    return default


def _ask(
    open_socket: SocketOpener, conf: ResolvConf, name: str, kind: Type, timeout: float
) -> Iterator[Exchange]:
    """Queries to the servers in turn, up to the first that is answered."""
    for _ in range(_option(conf, "attempts", ATTEMPTS)):
        for server in conf.nameservers:
            exchange = _exchange(open_socket, server, name, kind, timeout)
            yield exchange
            if not exchange.problem:
                return


def _exchange(
    open_socket: SocketOpener, server: str, name: str, kind: Type, timeout: float
) -> Exchange:
    begin = monotonic()
    ident = random.randbytes(2)
    query = ident + message.question(name, kind)[2:]
    source = ("", 0)
    try:
        with contextlib.closing(_connected(open_socket, socket.SOCK_DGRAM, server, timeout)) as udp:
            source = udp.getsockname()[:2]
            answer = _over_udp(udp, query, begin + timeout)
        if answer[2] & message.TC >> 8:
            with contextlib.closing(
                _connected(open_socket, socket.SOCK_STREAM, server, timeout)
            ) as tcp:
                answer = _over_tcp(tcp, query)
    except OSError as error:
        words = _words(error, timeout)
        spent = monotonic() - begin
        return Exchange(name, kind, server, problem=words, seconds=spent, source=source)
    code, records = message.records_in(answer)
    spent = monotonic() - begin
    return Exchange(name, kind, server, code, tuple(records), "", spent, source)


def _connected(open_socket: SocketOpener, kind: int, server: str, timeout: float) -> socket.socket:
    sock = open_socket(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
    try:
        sock.settimeout(timeout)
        sock.connect((server, _PORT))
    except OSError:
        sock.close()
        raise
    return sock


def _over_udp(sock: socket.socket, query: bytes, deadline: float) -> bytes:
    sock.send(query)
    while True:
        sock.settimeout(max(deadline - monotonic(), 0.001))
        answer = sock.recv(65535)
        if len(answer) >= 12 and answer[:2] == query[:2] and answer[2] & 0x80:
            return answer


def _over_tcp(sock: socket.socket, query: bytes) -> bytes:
    sock.sendall(len(query).to_bytes(2, "big") + query)
    with sock.makefile("rb") as stream:
        size = int.from_bytes(stream.read(2), "big")
        answer = stream.read(size)
    if len(answer) < max(size, 12):
        raise ConnectionResetError(errno.ECONNRESET, "closed in the middle of an answer")
    return answer


def _words(error: OSError, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"timed out after {timeout:g} s"
    return (error.strerror or str(error)).lower()
