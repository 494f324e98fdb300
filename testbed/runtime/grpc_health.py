"""gRPC probes: grpc.health.v1.Health/Check over plain HTTP/2, as kubelet asks it.

Source: pkg/probe/grpc; the protocol: grpc/grpc doc/health-checking.md, PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from testbed.runtime.checks import AGENT, SocketOpener, connection, host_and_port

if TYPE_CHECKING:
    from h2.connection import H2Connection

_PATH = "/grpc.health.v1.Health/Check"
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_OK, _UNKNOWN, _UNIMPLEMENTED, _UNAVAILABLE = 0, 2, 12, 14
#: Names of gRPC's status codes. Source: google.golang.org/grpc/codes.
_CODES = tuple(
    re.findall(
        "[A-Z][A-Za-z]+",
        "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists "
        "PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented "
        "Internal Unavailable DataLoss Unauthenticated",
    )
)
_PIECE = 65536


@dataclass(slots=True)
class _Answer:
    """What came back: the status of the call, and the message.

    A server is `connected` once it has said that it speaks HTTP/2.
    """

    connected: bool = False
    code: int = _UNKNOWN
    words: str = ""
    data: bytes = b""
    ended: bool = False


async def check(opener: SocketOpener, host: str, port: int, service: str, timeout: float) -> str:
    """ "" where `service` ("" for the whole server) is SERVING, or what speaks against it."""
    place = host_and_port(host, port)
    answer = _Answer()
    try:
        async with asyncio.timeout(timeout), connection(opener, host, port) as sock:
            await _call(sock, place, service, timeout, answer)
    except TimeoutError:
        if answer.connected:
            return f"timeout: health rpc did not complete within {timeout:g}s"
    except (OSError, EOFError) as error:
        answer.code, answer.words = _UNAVAILABLE, f"error reading from server: {error}"
    if not answer.connected:
        # kubelet's client tries again until its time is over.
        late = "context deadline exceeded"
        return f'timeout: failed to connect service "{place}" within {timeout:g}s: {late}'
    return _verdict(answer)


def _verdict(answer: _Answer) -> str:
    if answer.code == _UNIMPLEMENTED:
        what = "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        return f"error: {what}: {answer.words}"
    if answer.code != _OK:
        name = _CODES[answer.code] if answer.code < len(_CODES) else f"Code({answer.code})"
        what = f"rpc error: code = {name} desc = {answer.words}"
        return f"error: health rpc probe failed: {what}"
    number = _status_of(answer.data)
    name = _STATUSES[number] if number < len(_STATUSES) else str(number)
    return "" if name == "SERVING" else f'service unhealthy (responded with "{name}")'


async def _call(
    sock: socket.socket, place: str, service: str, timeout: float, answer: _Answer
) -> None:
    """Make the call; raises OSError and EOFError where the connection breaks."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    http.initiate_connection()
    await _until(sock, http, answer, lambda: answer.connected)
    stream = http.get_next_available_stream_id()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", _PATH),
        (":authority", place),
        ("content-type", "application/grpc"),
        ("user-agent", AGENT),
        ("te", "trailers"),
        ("grpc-timeout", f"{int(timeout * 1000)}m"),
    ]
    http.send_headers(stream, headers)
    http.send_data(stream, _request(service), end_stream=True)
    await _until(sock, http, answer, lambda: answer.ended)


async def _until(
    sock: socket.socket, http: H2Connection, answer: _Answer, holds: Callable[[], bool]
) -> None:
    """Exchange what there is until it holds."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, http.data_to_send())
    while not holds():
        data = await loop.sock_recv(sock, _PIECE)
        if not data:
            raise EOFError("EOF")
        if problem := _take(http, data, answer):
            raise EOFError(problem)
        await loop.sock_sendall(sock, http.data_to_send())


def _take(http: H2Connection, data: bytes, answer: _Answer) -> str:
    """Read what the server sent; "" or why this isn't an answer."""
    from h2 import events
    from h2.exceptions import ProtocolError

    try:
        found = http.receive_data(data)
    except ProtocolError as error:
        return f"connection error: {error}"
    for event in found:
        if isinstance(event, events.RemoteSettingsChanged):
            answer.connected = True
        elif isinstance(event, events.ResponseReceived | events.TrailersReceived):
            _take_headers({str(name): str(value) for name, value in event.headers or ()}, answer)
        elif isinstance(event, events.DataReceived):
            answer.data += event.data or b""
            http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        elif isinstance(event, events.StreamEnded):
            answer.ended = True
        elif isinstance(event, events.StreamReset):
            return f"stream terminated by RST_STREAM with error code: {event.error_code}"
        elif isinstance(event, events.ConnectionTerminated):
            return "closing transport due to: connection error: received prior goaway"
    return ""


def _take_headers(headers: dict[str, str], answer: _Answer) -> None:
    """The call's status: gRPC's, or what stands for an HTTP status that isn't 200."""
    status = headers.get(":status", "200")
    if "grpc-status" in headers:
        answer.code = int(headers["grpc-status"]) if headers["grpc-status"].isdigit() else _UNKNOWN
        answer.words = unquote(headers.get("grpc-message", ""))
    elif status != "200":
        answer.code = _UNIMPLEMENTED if status == "404" else _UNKNOWN
        kind = headers.get("content-type", "")
        answer.words = (
            f"unexpected HTTP status code received from server: {status}; "
            f'transport: received unexpected content-type "{kind}"'
        )


def _request(service: str) -> bytes:
    """A HealthCheckRequest in gRPC's frame: not compressed, its length."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _status_of(data: bytes) -> int:
    """Field 1 of a HealthCheckResponse in gRPC's frame; 0 where it isn't there."""
    message = data[5:]
    if message[:1] != b"\x08":
        return 0
    value = 0
    for index, byte in enumerate(message[1:]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            break
    return value


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
