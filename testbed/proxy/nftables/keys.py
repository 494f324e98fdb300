"""Keys of nftables sets: types by name, and values as registers hold them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from testbed.api.objects import IPV6

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}

#: nft's numbers of the types, and how many bytes a value takes.
KEY_TYPES = {
    "integer": (4, 4),
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "inet_proto": (12, 1),
    "inet_service": (13, 2),
}


class Unencodable(ValueError):
    """A text has a part that isn't known here."""


def type_number(kinds: tuple[str, ...]) -> int:
    """A concatenation's type: its parts' numbers, six bits each."""
    number = 0
    for kind in kinds:
        number = number << 6 | KEY_TYPES[kind][0]
    return number


def type_size(kinds: tuple[str, ...]) -> int:
    """Bytes of a key; a concatenation's parts are padded to registers' words."""
    if len(kinds) == 1:
        return KEY_TYPES[kinds[0]][1]
    return sum((KEY_TYPES[kind][1] + 3) & ~3 for kind in kinds)


def pack_key(key: str, kinds: tuple[str, ...]) -> bytes:
    """`10.96.0.1 . tcp . 80` as the bytes of a key of these types."""
    if len(kinds) == 1:
        return _pack(key, kinds[0])
    packed = b""
    for value, kind in zip(key.split(" . "), kinds, strict=True):
        each = _pack(value, kind)
        packed += each + bytes(-len(each) % 4)
    return packed


def _pack(value: str, kind: str) -> bytes:
    if kind == "ipv4_addr":
        return socket.inet_pton(socket.AF_INET, value)
    if kind == "ipv6_addr":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "inet_proto":
        return bytes((PROTOCOLS[value],))
    return int(value).to_bytes(2, "big")


def address(family: str, value: str) -> bytes:
    return _pack(value, "ipv6_addr" if family == IPV6 else "ipv4_addr")


def network(family: str, value: str) -> tuple[bytes, int]:
    """(address, prefix length) of `ADDRESS` or `ADDRESS/LENGTH`."""
    host, _, length = value.partition("/")
    packed = address(family, host)
    return packed, int(length) if length else 8 * len(packed)


def register(words: int) -> int:
    """The register behind `words` 4-byte words, as the kernel names it in dumps."""
    return 1 + words // 4 if words % 4 == 0 else 8 + words


def intervals(family: str, values: list[str]) -> Iterator[tuple[bytes, bool, bool]]:
    """Networks and ranges (`A-B`) as an interval set's elements.

    They are (key, is an end, reaches to the last address). Overlapping and adjacent ones become
    one interval, as nft merges them.
    """
    size = 16 if family == IPV6 else 4
    ranges = sorted(_span(family, value) for value in values)
    merged: list[list[int]] = []
    for first, after in ranges:
        if merged and first <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], after)
        else:
            merged.append([first, after])
    if merged and merged[0][0] > 0:
        yield bytes(size), True, False
    for first, after in merged:
        last = after >> 8 * size != 0
        yield first.to_bytes(size, "big"), False, last
        if not last:
            yield after.to_bytes(size, "big"), True, False


def _span(family: str, value: str) -> tuple[int, int]:
    """The first address of `A-B`, `ADDRESS` or `ADDRESS/LENGTH`, and the one after its last."""
    start, dash, end = value.partition("-")
    if dash:
        first, last = (int.from_bytes(address(family, each), "big") for each in (start, end))
        if last < first:
            raise Unencodable(f"{value} ends before it begins")
        return first, last + 1
    packed, bits = network(family, value)
    span = 1 << 8 * len(packed) - bits
    first = int.from_bytes(packed, "big") & -span
    return first, first + span
