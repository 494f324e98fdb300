"""Netlink messages: packing, parsing, and a socket that sends batches and reports refusals.

Pure packing first (no socket, tested without root); `NetlinkSocket` last. The kernel's layout is in
linux/netlink.h: a header of 16 bytes, a family header, then attributes padded to 4 bytes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_ECHO = 0x8
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class NetlinkError(OSError):
    """The kernel refused a message; `index` is its place in the batch.

    `refused` has the places of all that were refused.
    """

    def __init__(self, code: int, index: int, message: str = "") -> None:
        super().__init__(code, message or os.strerror(code))
        self.index = index
        self.refused = [index]


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute with its padding."""
    size = len(payload) + 4
    return _ATTRIBUTE.pack(size, kind) + payload + _PADDING[size & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">H", value))


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


def message(kind: int, flags: int, payload: bytes, sequence: int = 0) -> bytes:
    """One netlink message: header and payload (family header plus attributes)."""
    return _HEADER.pack(16 + len(payload), kind, flags, sequence, 0) + payload


def attributes(data: bytes | memoryview, offset: int = 0) -> dict[int, memoryview]:
    """The attributes in `data` from `offset` on, by type; the last of a type wins."""
    return dict(iterate_attributes(data, offset))


def iterate_attributes(
    data: bytes | memoryview, offset: int = 0
) -> Iterator[tuple[int, memoryview]]:
    """(type, payload) of every attribute, in order; for lists, where one type repeats."""
    view = memoryview(data)
    end = len(view)
    while offset + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(view, offset)
        if size < 4:
            return
        yield kind & NLA_TYPE_MASK, view[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def string(payload: bytes | memoryview) -> str:
    """A string attribute's value without its terminating zero."""
    return bytes(payload).split(b"\0", 1)[0].decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Received:
    """One message from the kernel; `payload` starts after the netlink header."""

    kind: int
    flags: int
    sequence: int
    payload: memoryview


def messages(data: bytes | memoryview) -> Iterator[Received]:
    """Every message in one datagram."""
    view = memoryview(data)
    offset = 0
    while offset + 16 <= len(view):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(view, offset)
        if size < 16:
            return
        yield Received(kind, flags, sequence, view[offset + 16 : offset + size])
        offset += (size + 3) & ~3


def error_of(received: Received) -> tuple[int, str]:
    """(errno, text) of an NLMSG_ERROR; errno 0 is an acknowledgement."""
    code = -struct.unpack_from("=i", received.payload)[0]
    return code, _extended_text(received)


NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLMSGERR_ATTR_MSG = 1


def _extended_text(received: Received) -> str:
    if not received.flags & NLM_F_ACK_TLVS:
        return ""
    original = struct.unpack_from("=I", received.payload, 4)[0]
    offset = 20 if received.flags & NLM_F_CAPPED else 4 + ((original + 3) & ~3)
    found = attributes(received.payload, offset).get(NLMSGERR_ATTR_MSG)
    return string(found) if found is not None else ""


class NetlinkSocket:
    """A netlink socket around `sock`, which belongs to the namespace it was opened in."""

    SOL_NETLINK = 270
    NETLINK_CAP_ACK = 10
    NETLINK_EXT_ACK = 11

    def __init__(self, sock: socket.socket, *, buffer: int = 1 << 22) -> None:
        self.sock = sock
        for option in (self.NETLINK_CAP_ACK, self.NETLINK_EXT_ACK):
            sock.setsockopt(self.SOL_NETLINK, option, 1)
        self._grow(socket.SO_RCVBUF, buffer)
        self._sequence = 0

    def _grow(self, option: int, size: int) -> None:
        """Ask for `size` bytes: past the system's limit if allowed, up to it otherwise."""
        forced = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}[option]
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            self.sock.setsockopt(socket.SOL_SOCKET, option, size)

    def grow_send_buffer(self, size: int) -> int:
        """Ask that one datagram of `size` bytes can be sent; return how many bytes can."""
        self._grow(socket.SO_SNDBUF, size)
        # The kernel reports twice of what it grants, and counts its own headers against it.
        granted: int = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return granted - 1024

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        self.sock.close()

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def request(self, kind: int, flags: int, payload: bytes) -> list[Received]:
        """Send one request; return what it answers (all parts of a dump).

        Raises NetlinkError where the kernel refuses it.
        """
        sequence = self.next_sequence()
        ask = NLM_F_REQUEST | flags | (0 if flags & NLM_F_DUMP == NLM_F_DUMP else NLM_F_ACK)
        self.sock.send(message(kind, ask, payload, sequence))
        answers: list[Received] = []
        while True:
            for received in messages(self.sock.recv(1 << 18)):
                if received.sequence != sequence:
                    continue
                if received.kind == NLMSG_DONE:
                    return answers
                if received.kind == NLMSG_ERROR:
                    code, words = error_of(received)
                    if code:
                        raise NetlinkError(code, 0, words)
                    return answers
                answers.append(received)

    def batch(self, requests: Sequence[tuple[int, int, bytes]]) -> None:
        """Send (kind, flags, payload) requests in few system calls; only the last is acknowledged.

        Raises NetlinkError with the index of the first refused one; later ones have still been
        tried (rtnetlink has no transactions).
        """
        if not requests:
            return
        first = self._sequence + 1
        self._sequence += len(requests)
        last = self._sequence
        failure: NetlinkError | None = None
        chunk: list[bytes] = []
        size = 0
        for offset, (kind, flags, payload) in enumerate(requests):
            acknowledge = NLM_F_ACK if first + offset == last else 0
            packed = message(kind, NLM_F_REQUEST | flags | acknowledge, payload, first + offset)
            if size + len(packed) > 32768:
                self.sock.send(b"".join(chunk))
                chunk, size = [], 0
            chunk.append(packed)
            size += len(packed)
        self.sock.send(b"".join(chunk))
        while True:
            for received in messages(self.sock.recv(1 << 18)):
                if received.kind != NLMSG_ERROR or not first <= received.sequence <= last:
                    continue
                code, words = error_of(received)
                if code and failure is None:
                    failure = NetlinkError(code, received.sequence - first, words)
                elif code and failure is not None:
                    failure.refused.append(received.sequence - first)
                if received.sequence == last:
                    if failure is not None:
                        raise failure
                    return


def is_gone(error: OSError) -> bool:
    """True where an error only says that the thing isn't there (any more)."""
    return error.errno in (errno.ENOENT, errno.ENODEV, errno.ESRCH)
