"""The PROXY protocol's binary header: who the client was, told by a proxy before its first byte.

Source: haproxy.org/download/2.6/doc/proxy-protocol.txt, section 2.2. Pure.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = 16
#: Address family and transport byte → (socket family, bytes of one address); TCP only.
_FAMILIES = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header of `size` bytes; `client` is (address, port), None where it names nobody."""

    size: int
    client: tuple[str, int] | None


def is_possible(data: bytes) -> bool:
    """Whether a connection that begins with `data` may begin with a header."""
    return data[: len(SIGNATURE)] == SIGNATURE[: len(data)]


def parse(data: bytes) -> Header | None:
    """The header that `data` begins with, or None while it isn't there to its end."""
    if len(data) < _HEAD or not is_possible(data):
        return None
    command, family = data[12], data[13]
    size = _HEAD + int.from_bytes(data[14:16], "big")
    if len(data) < size:
        return None
    # Command LOCAL (a health check of the proxy's own) names nobody.
    if command != 0x21 or family not in _FAMILIES:
        return Header(size, None)
    kind, length = _FAMILIES[family]
    ports = _HEAD + 2 * length
    address = socket.inet_ntop(kind, data[_HEAD : _HEAD + length])
    return Header(size, (address, int.from_bytes(data[ports : ports + 2], "big")))
