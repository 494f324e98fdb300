"""SPDY/3.1 frames, as far as kubectl port-forward uses them.

Source: the SPDY protocol, draft 3.1 (chromium.org), sections 2.2, 2.6 and 2.6.10.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 0x01
VERSION = 3
#: Longest frame that is read; kubectl sends 32 KiB.
FRAME_LIMIT = 1 << 20
HEADERS_LIMIT = 1 << 16

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url "
    "public set-cookie keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, "
    "Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
#: What both ends know before the first header block.
DICTIONARY = (
    b"".join(
        struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()
    )
    + _TAIL.encode()
)


class FrameError(ValueError):
    """The bytes aren't SPDY/3.1."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame: `type` 0 is data, otherwise a control frame of `stream` (a PING's id)."""

    type: int
    stream: int
    flags: int = 0
    data: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Codec:
    """One end of a connection: bytes in, frames out, and back. Header blocks share a context."""

    def __init__(self) -> None:
        self._buffer = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with `data`; raises FrameError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFFFFFF
            if length > FRAME_LIMIT:
                raise FrameError(f"a frame of {length} bytes")
            if len(self._buffer) < 8 + length:
                return
            payload, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
            if not first & 0x80000000:
                yield Frame(0, first, second >> 24, payload)
            elif (first >> 16) & 0x7FFF != VERSION:
                raise FrameError("not SPDY version 3")
            else:
                yield self._control(first & 0xFFFF, second >> 24, payload)

    def _control(self, kind: int, flags: int, payload: bytes) -> Frame:
        if len(payload) < 4:
            return Frame(kind, 0, flags)
        stream = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
        block = {SYN_STREAM: 10, SYN_REPLY: 4}.get(kind)
        headers = self._headers(payload[block:]) if block is not None else {}
        return Frame(kind, stream, flags, payload[4:], headers)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, HEADERS_LIMIT)
            (count,) = struct.unpack_from(">I", text)
            position, strings = 4, []
            for _ in range(2 * count):
                (length,) = struct.unpack_from(">I", text, position)
                strings.append(text[position + 4 : position + 4 + length].decode())
                position += 4 + length
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise FrameError(f"a broken header block: {error}") from None
        return dict(zip((name.lower() for name in strings[::2]), strings[1::2], strict=True))

    def data(self, stream: int, data: bytes = b"", *, end: bool = False) -> bytes:
        """A data frame; `end` closes our half of the stream."""
        return struct.pack(">II", stream, (FIN if end else 0) << 24 | len(data)) + data

    def open(self, stream: int, headers: Mapping[str, str]) -> bytes:
        """A SYN_STREAM."""
        return _frame(SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + self._block(headers))

    def reply(self, stream: int) -> bytes:
        """A SYN_REPLY without headers."""
        return _frame(SYN_REPLY, struct.pack(">I", stream) + self._block({}))

    def pong(self, number: int) -> bytes:
        """The answer to a PING."""
        return _frame(PING, struct.pack(">I", number))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        text = struct.pack(">I", len(headers))
        for pair in headers.items():
            for string in pair:
                text += struct.pack(">I", len(string.encode())) + string.encode()
        return self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, len(payload)) + payload
