"""Real conversations from inside a namespace: TCP line or HTTP GET, UDP datagram.

Blocking, each with its own deadline: call it from a thread of its own (`exchange_async` does) where
the servers live on the same event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from testbed.errors import UsageError
from testbed.flow import fingerprint as fingerprints
from testbed.flow.fingerprint import TCP_WINDOW, Fingerprint
from testbed.flow.tuples import Flow, endpoint
from testbed.probe.namespaces import Namespace

ANSWERED = "answered"
REFUSED = "refused"
TIMEOUT = "timeout"
NO_ROUTE = "no route"
FAILED = "failed"

_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_SEND_QUEUE = 2
_ANSWER_LIMIT = 1 << 20
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_TYPE = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask, of whom. `protocol` is tcp or udp; `timeout` in seconds covers all of it.

    With `http_path` an HTTP GET is made (Host `http_host`, or the address). `payload` replaces the
    line or datagram that the probe would send. Port 0 as `source_port` lets the kernel choose.
    """

    destination: str
    port: int
    protocol: str = "tcp"
    http_path: str | None = None
    http_host: str = ""
    payload: bytes | None = None
    source: str = ""
    source_port: int = 0
    timeout: float = 1.0

    @property
    def family(self) -> int:
        return 6 if ":" in self.destination else 4

    def __str__(self) -> str:
        scheme = "http" if self.http_path is not None else self.protocol
        return f"{scheme}://{endpoint(self.destination, self.port)}{self.http_path or ''}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: answered, refused, timeout, no route or failed.

    `response` is what came back (the body, for HTTP), `error` the system's words, `duration` in
    seconds. Whether a refusal was a reset or an ICMP message only a capture tells.
    """

    kind: str
    flow: Flow
    response: str = ""
    error: str = ""
    duration: float = 0.0
    status: int = 0

    def body(self) -> dict[str, Any]:
        """The echo application's JSON line, {} where the answer is none."""
        try:
            value = json.loads(self.response)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class Prepared:
    """A request that is ready to go: its flow and fingerprint are known before a packet is sent."""

    request: Request
    sock: socket.socket
    flow: Flow
    fingerprint: Fingerprint
    payload: bytes

    @property
    def token(self) -> bytes:
        """Bytes that only this TCP request has and that HTTP proxies hand on as they are."""
        if self.request.protocol != "tcp":
            return b""
        agent = b"User-Agent: "
        lines = self.payload.split(b"\r\n")
        return next((x.removeprefix(agent) for x in lines if x.startswith(agent)), self.payload)


def source_address(namespace: Namespace, destination: str) -> str:
    """The address that `namespace` sends from to reach `destination`.

    Raises OSError (ENETUNREACH and such) where it has no way there.
    """
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with contextlib.closing(namespace.socket(family, socket.SOCK_DGRAM, 0)) as sock:
        sock.connect((destination, 9))
        return str(sock.getsockname()[0])


def prepare(namespace: Namespace, request: Request) -> Prepared:
    """Open and bind the socket. Raises OSError where the namespace has no route, UsageError for a
    protocol that no conversation is known of."""
    if request.protocol not in _TYPE:
        raise UsageError(f"no conversation over {request.protocol}: use tcp, udp, or a packet")
    source = request.source or source_address(namespace, request.destination)
    sock = namespace.socket(_FAMILY[request.family], _TYPE[request.protocol], 0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source, request.source_port))
        port = sock.getsockname()[1]
        flow = Flow(request.protocol, source, port, request.destination, request.port)
        payload = _payload(request)
        if request.protocol == "tcp":
            made = fingerprints.of_tcp(flow, _choose_sequence(sock))
        else:
            made = fingerprints.of_udp(flow, payload)
    except BaseException:
        sock.close()
        raise
    return Prepared(request, sock, flow, made, payload)


def _payload(request: Request) -> bytes:
    if request.payload is not None:
        return request.payload
    if request.http_path is not None:
        host = request.http_host or endpoint(request.destination, request.port)
        lines = (
            f"GET {request.http_path} HTTP/1.1",
            f"Host: {host}",
            f"User-Agent: probe/{secrets.token_hex(8)}",
            "Connection: close",
        )
        return "\r\n".join([*lines, "", ""]).encode()
    # The token comes first: it is what the packet is known by (fingerprint.TOKEN bytes).
    return f"{secrets.token_hex(4)} probe\n".encode()


def _choose_sequence(sock: socket.socket) -> int:
    """Give the connection an initial sequence number that we know.

    A socket takes one in repair mode; leaving that mode before connect makes an ordinary handshake
    start with it (tcp_v4_connect keeps a write_seq that isn't 0).
    """
    sequence = 1 + secrets.randbelow((1 << 32) - 2 * TCP_WINDOW)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, _SEND_QUEUE)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ, struct.pack("=I", sequence))
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 0)
    return sequence


def perform(prepared: Prepared) -> Outcome:
    """Have the conversation and close the socket."""
    start = time.monotonic()
    deadline = start + prepared.request.timeout
    response, status = "", 0
    with contextlib.closing(prepared.sock) as sock:
        try:
            _limit(sock, deadline)
            sock.connect((prepared.request.destination, prepared.request.port))
            if prepared.request.protocol == "udp":
                sock.send(prepared.payload)
                _limit(sock, deadline)
                response = sock.recv(1 << 16).decode(errors="replace")
            else:
                sock.sendall(prepared.payload)
                response, status = _read(sock, prepared.request, deadline)
            kind, error = ANSWERED, ""
        except OSError as problem:
            kind, error = _kind_of(problem)
    return Outcome(kind, prepared.flow, response.strip(), error, time.monotonic() - start, status)


def exchange(namespace: Namespace, request: Request) -> Outcome:
    """One request from inside `namespace`, without watching it."""
    try:
        prepared = prepare(namespace, request)
    except OSError as problem:
        kind, error = _kind_of(problem)
        flow = Flow(request.protocol, request.source, 0, request.destination, request.port)
        return Outcome(kind, flow, error=error)
    return perform(prepared)


async def exchange_async(namespace: Namespace, request: Request) -> Outcome:
    """`exchange` on a thread of its own, for callers on an event loop."""
    return await asyncio.to_thread(exchange, namespace, request)


def _limit(sock: socket.socket, deadline: float) -> None:
    sock.settimeout(max(deadline - time.monotonic(), 0.001))


def _read(sock: socket.socket, request: Request, deadline: float) -> tuple[str, int]:
    """(answer, HTTP status or 0): one line, or a whole HTTP response's body."""
    data = b""
    http = request.http_path is not None
    while len(data) < _ANSWER_LIMIT and (http or b"\n" not in data):
        _limit(sock, deadline)
        chunk = sock.recv(1 << 16)
        if not chunk:
            break
        data += chunk
    if not data:
        raise ConnectionResetError(errno.ECONNRESET, "closed without an answer")
    if not http:
        return data.decode(errors="replace"), 0
    head, _, body = data.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return body.decode(errors="replace"), status


def _kind_of(problem: OSError) -> tuple[str, str]:
    if isinstance(problem, TimeoutError) or problem.errno == errno.ETIMEDOUT:
        return TIMEOUT, "timed out"
    words = problem.strerror or str(problem)
    if problem.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
        return REFUSED, words
    if problem.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
        return NO_ROUTE, words
    return FAILED, words or os.strerror(problem.errno or 0)
