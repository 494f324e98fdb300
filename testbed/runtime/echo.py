"""The echo application: tells every client which Pod answered and which address it saw.

It runs on sockets opened inside the Pod's network namespace, in the lab's event loop; no process is
started. A TCP connection or a datagram gets one JSON line; an HTTP request gets the same as a body.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit

from testbed.api.objects import family_of
from testbed.runtime import proxy_protocol

#: Opens a socket of (family, type, protocol) inside the Pod's network namespace.
SocketOpener: TypeAlias = Callable[[int, int, int], socket.socket]
#: (protocol, number): TCP, UDP or SCTP.
Port: TypeAlias = tuple[str, int]

#: A TCP client that says nothing for so long gets its answer all the same (seconds).
PATIENCE = 0.2
#: An HTTP request must be whole within so many seconds after its last piece.
REQUEST_PATIENCE = 10.0
_HTTP_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ")
_REQUEST_LIMIT = 65536
_IP_PKTINFO = 8
_IPV6_RECVPKTINFO = 49
_IPV6_PKTINFO = 50
_SOCKET_TYPES = {
    "TCP": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "UDP": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "SCTP": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    pod: str
    namespace: str
    node: str


def join(address: str, port: int) -> str:
    """`address:port`, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class EchoServer:
    """The echo application of one Pod. `listen` may be called again as ports come and go."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        identity: Identity,
        opener: SocketOpener,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._opener = opener
        self._log = log
        #: Whether /healthz and /readyz answer 200 (or 503).
        self.healthy = True
        self._listeners: dict[Port, list[socket.socket]] = {}
        self._connections: set[_Connection] = set()

    @property
    def ports(self) -> frozenset[Port]:
        """The ports that are listened on."""
        return frozenset(self._listeners)

    def listen(self, ports: Iterable[Port]) -> list[str]:
        """Listen on exactly `ports`; returns what couldn't be opened, one line each."""
        wanted, problems = set(ports), []
        for port in set(self._listeners) - wanted:
            self._close_port(port)
        for port in sorted(wanted - set(self._listeners)):
            try:
                self._listeners[port] = self._open(port)
            except OSError as error:
                problems.append(f"{port[0]} port {port[1]}: {error.strerror or error}")
        return problems

    def close(self) -> None:
        """Stop listening and end every connection."""
        for port in list(self._listeners):
            self._close_port(port)
        for connection in list(self._connections):
            connection.close()

    def _open(self, port: Port) -> list[socket.socket]:
        protocol, number = port
        opened: list[socket.socket] = []
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                sock = self._opener(family, *_SOCKET_TYPES[protocol])
                opened.append(sock)
                self._bind(sock, family, number)
                if protocol == "UDP":
                    self._loop.add_reader(sock, self._datagram, sock)
                else:
                    sock.listen(1024)
                    self._loop.add_reader(sock, self._accept, sock, protocol)
        except OSError:
            for sock in opened:
                self._forget(sock)
            raise
        return opened

    def _bind(self, sock: socket.socket, family: int, number: int) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sock.type == socket.SOCK_DGRAM:
            # The answer must leave from the address that was asked, of the several a node has.
            if family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", number))

    def _close_port(self, port: Port) -> None:
        for sock in self._listeners.pop(port):
            self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        self._loop.remove_reader(sock)
        sock.close()

    def answer(
        self, protocol: str, peer: str, local: str, client: str = "", forwarded: str = ""
    ) -> bytes:
        """The JSON line that a client gets; `peer` and `local` as `address:port`.

        `client` is whom a proxy in between named (PROXY protocol), in the same form; `forwarded`
        what an HTTP proxy wrote into X-Forwarded-For.
        """
        fields = {
            "pod": self._identity.pod,
            "namespace": self._identity.namespace,
            "node": self._identity.node,
            "protocol": protocol,
            "peer": peer,
            "local": local,
        }
        named = {"client": client, "forwarded": forwarded}
        line = json.dumps(fields | {name: value for name, value in named.items() if value})
        self._log(f"{protocol} {peer} -> {local}")
        return line.encode() + b"\n"

    @property
    def identity(self) -> Identity:
        return self._identity

    def _agnhost_datagram(self, data: bytes, peer: str) -> bytes | None:
        """What agnhost netexec answers to its UDP commands; None for anything else."""
        word, _, rest = data.strip().partition(b" ")
        match word.lower():
            case b"hostname":
                return self._identity.pod.encode()
            case b"clientip":
                return peer.encode()
            case b"echo":
                return rest
        return None

    def _accept(self, listener: socket.socket, protocol: str) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, peer = listener.accept()
                connection = _Connection(self, self._loop, sock, join(*peer[:2]), protocol)
                self._connections.add(connection)

    def forget_connection(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def _datagram(self, sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, peer = sock.recvmsg(65535, 256)
                local = _asked_address(ancillary)
                there = join(peer[0], peer[1])
                text = self.answer("UDP", there, join(local, sock.getsockname()[1]))
                if (agnhost := self._agnhost_datagram(data, there)) is not None:
                    text = agnhost
                # A client that is gone makes the kernel report its refusal on this socket.
                with contextlib.suppress(OSError):
                    sock.sendmsg([text], _from_address(local), 0, peer)


class _Connection:
    """One TCP (or SCTP) connection: decides by the first bytes whether the client speaks HTTP."""

    def __init__(
        self,
        server: EchoServer,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        peer: str,
        protocol: str,
    ) -> None:
        self._server = server
        self._loop = loop
        self._sock = sock
        sock.setblocking(False)
        self._buffer = b""
        # The peer as accept told it: a client that has reset already has no name any more.
        self._peer = peer
        self._local = join(*sock.getsockname()[:2])
        self._client = ""
        self._forwarded = ""
        self._started = False
        self._spoken = False
        self._protocol = protocol
        self._patience = loop.call_later(PATIENCE, self._answer_silent)
        loop.add_reader(sock, self._readable)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._patience.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        self._server.forget_connection(self)

    def _line(self) -> bytes:
        return self._server.answer(
            self._protocol, self._peer, self._local, self._client, self._forwarded
        )

    def _send(self, data: bytes) -> None:
        try:
            self._sock.send(data)
        except OSError:
            self.close()

    def _answer_silent(self) -> None:
        self._send(self._line())
        self.close()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_REQUEST_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data and not self._started:
            data = self._start(data)
            if not data:
                return
        self._patience.cancel()
        if not data:
            if not self._spoken:
                self._send(self._line())
            self.close()
            return
        self._buffer += data
        if any(method.startswith(self._buffer) for method in _HTTP_METHODS):
            # Perhaps the first bytes of a request, perhaps a short word: the next moment tells.
            self._patience = self._loop.call_later(PATIENCE, self._answer_silent)
            return
        self._spoken = True
        if self._buffer.startswith(_HTTP_METHODS):
            self._serve_http()
            if self._buffer and self._sock.fileno() >= 0:
                self._patience = self._loop.call_later(REQUEST_PATIENCE, self.close)
        else:
            self._serve_lines()
        if len(self._buffer) > _REQUEST_LIMIT:
            self.close()

    def _start(self, data: bytes) -> bytes:
        """The first bytes without a proxy's header; b"" while that isn't whole."""
        self._buffer += data
        if proxy_protocol.is_possible(self._buffer):
            header = proxy_protocol.parse(self._buffer)
            if header is None:
                return b""
            self._buffer = self._buffer[header.size :]
            if header.client is not None:
                self._client = join(*header.client)
        self._started = True
        rest, self._buffer = self._buffer, b""
        return rest

    def _serve_lines(self) -> None:
        """One answer per line; a first piece without an end of line gets one too."""
        *lines, self._buffer = self._buffer.split(b"\n")
        for _ in lines or (b"",):
            self._send(self._line())
        if not lines:
            self._buffer = b""

    def _serve_http(self) -> None:
        while b"\r\n\r\n" in self._buffer and self._sock.fileno() >= 0:
            head, rest = self._buffer.split(b"\r\n\r\n", 1)
            length = _content_length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._respond(head)

    def _respond(self, head: bytes) -> None:
        request, *headers = head.split(b"\r\n")
        self._forwarded = _header(headers, b"x-forwarded-for")
        method, path, version = [*request.split(b" "), b"", b""][:3]
        keep = version == b"HTTP/1.1" and not any(
            h.lower().replace(b" ", b"") == b"connection:close" for h in headers
        )
        status, kind, body = self._body(urlsplit(path.decode(errors="replace")))
        self._send(
            b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n"
            % (status, kind, len(body), b"keep-alive" if keep else b"close")
            + (b"" if method == b"HEAD" else body)
        )
        if not keep:
            self.close()

    def _body(self, url: SplitResult) -> tuple[bytes, bytes, bytes]:
        """Status, content type and body; paths that agnhost netexec knows answer as it does."""
        text, plain = b"200 OK", b"text/plain"
        match url.path:
            case "/hostname":
                return text, plain, self._server.identity.pod.encode()
            case "/clientip":
                return text, plain, self._peer.encode()
            case "/echo":
                return text, plain, "".join(parse_qs(url.query).get("msg", [])).encode()
            case "/healthz" | "/readyz":
                if not self._server.healthy:
                    return b"503 Service Unavailable", plain, b"unhealthy"
                return text, plain, b"ok"
        return text, b"application/json", self._line()


def _content_length(head: bytes) -> int:
    for header in head.split(b"\r\n")[1:]:
        name, _, value = header.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return 0


def _header(headers: list[bytes], wanted: bytes) -> str:
    for header in headers:
        name, _, value = header.partition(b":")
        if name.strip().lower() == wanted:
            return value.strip().decode(errors="replace")
    return ""


def _asked_address(ancillary: list[tuple[int, int, bytes]]) -> str:
    """The address that a datagram was sent to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return socket.inet_ntop(socket.AF_INET, data[8:12])
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            return socket.inet_ntop(socket.AF_INET6, data[:16])
    return "0.0.0.0"


def _from_address(local: str) -> list[tuple[int, int, bytes]]:
    """Ancillary data that makes a datagram leave from `local`."""
    if family_of(local) == "IPv4":
        return [
            (
                socket.IPPROTO_IP,
                _IP_PKTINFO,
                struct.pack("=i4s4s", 0, socket.inet_aton(local), b"\0" * 4),
            )
        ]
    packed = socket.inet_pton(socket.AF_INET6, local)
    return [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, packed + struct.pack("=i", 0))]
