"""nf_tables expressions as bytes, in the form and order in which the kernel dumps them.

Source: linux/netfilter/nf_tables.h, nf_tables_compat.h. Every function returns one NFTA_LIST_ELEM;
a rule is their concatenation. Register 1 is the first of four 16-byte registers, 8 and up are
4-byte ones.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from testbed.netlink import attribute, be32, nested, text

LIST_ELEM = 1

REGISTER_VERDICT = 0
REGISTER_1 = 1

CMP_EQ = 0
CMP_NEQ = 1

BASE_NETWORK = 1
BASE_TRANSPORT = 2

META_MARK = 3
META_IIFNAME = 6
META_OIFNAME = 7
META_L4PROTO = 16

ACCEPT = 1
DROP = 0
JUMP = -3
GOTO = -4
RETURN = -5


def expression(name: str, *parts: bytes) -> bytes:
    """The expression `name` with its attributes."""
    return nested(LIST_ELEM, text(1, name), nested(2, *parts))


def value(kind: int, data: bytes) -> bytes:
    """Attribute `kind` that holds plain data (NFTA_DATA_VALUE)."""
    return attribute(kind, attribute(1, data))


def verdict(kind: int, code: int, chain: str = "") -> bytes:
    """Attribute `kind` that holds a verdict, with the chain where it jumps."""
    parts = [attribute(1, struct.pack(">i", code))]
    if chain:
        parts.append(text(2, chain))
    return attribute(kind, attribute(2, b"".join(parts)))


@lru_cache(maxsize=256)
def payload(base: int, offset: int, length: int, register: int = REGISTER_1) -> bytes:
    """Load `length` bytes of the packet at `offset` from `base`."""
    return expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


def compare(data: bytes, operator: int = CMP_EQ, register: int = REGISTER_1) -> bytes:
    """Go on only where the register holds (or, CMP_NEQ, doesn't hold) `data`."""
    start, end = _compare_frame(len(data), operator, register)
    return start + data + end


@lru_cache(maxsize=64)
def _compare_frame(size: int, operator: int, register: int) -> tuple[bytes, bytes]:
    """What stands before and after the data, whatever it is."""
    data = b"\xff" * size
    whole = expression("cmp", be32(1, register), be32(2, operator), value(3, data))
    before = len(whole) - size - -size % 4
    return whole[:before], whole[before + size :]


@lru_cache(maxsize=256)
def bitwise(mask: bytes, xor: bytes, register: int = REGISTER_1) -> bytes:
    """register = register & mask ^ xor"""
    return expression(
        "bitwise",
        be32(1, register),
        be32(2, register),
        be32(3, len(mask)),
        be32(6, 0),
        value(4, mask),
        value(5, xor),
    )


@lru_cache(maxsize=64)
def meta_load(key: int, register: int = REGISTER_1) -> bytes:
    return expression("meta", be32(2, key), be32(1, register))


@lru_cache(maxsize=64)
def meta_set(key: int, register: int = REGISTER_1) -> bytes:
    return expression("meta", be32(2, key), be32(3, register))


def immediate_verdict(code: int, chain: str = "") -> bytes:
    """End the chain with a verdict, or go on in another chain."""
    name = chain.encode()
    start, end = _verdict_frame(code, len(name))
    return start + name + end


@lru_cache(maxsize=512)
def _verdict_frame(code: int, size: int) -> tuple[bytes, bytes]:
    whole = expression("immediate", be32(1, REGISTER_VERDICT), verdict(2, code, "x" * size))
    before = len(whole) - (size + 1 + -(size + 1) % 4 if size else 0)
    return whole[:before], whole[before + size :]


def immediate(data: bytes, register: int) -> bytes:
    return expression("immediate", be32(1, register), value(2, data))


#: Packets and bytes, both 0.
COUNTER = expression("counter", attribute(1, bytes(8)), attribute(2, bytes(8)))


def match(name: str, revision: int, info: bytes) -> bytes:
    """An xtables match by way of nft_compat; `info` is padded to the kernel's 8-byte alignment."""
    return expression("match", text(1, name), be32(2, revision), attribute(3, aligned(info)))


def target(name: str, revision: int, info: bytes) -> bytes:
    """An xtables target by way of nft_compat."""
    return expression("target", text(1, name), be32(2, revision), attribute(3, aligned(info)))


def aligned(info: bytes) -> bytes:
    """XT_ALIGN: padded with zeros to a multiple of 8."""
    return info + bytes(-len(info) % 8)


def interface(name: str) -> bytes:
    """An interface's name as registers hold it; `name` ends in '*' or '+' for a prefix."""
    if name.endswith(("*", "+")):
        return name[:-1].encode()
    return name.encode() + b"\0"
