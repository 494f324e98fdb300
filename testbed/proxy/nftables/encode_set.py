"""Sets, maps and elements as nf_tables takes them, with the user data that nft lists them by.

User data (a set's comment, its byte orders, what its key was made of) is what makes `nft list`
print the same text again. Source: nftables src/mnl.c; libnftnl include/udata.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache

from testbed.api.objects import IPV4, IPV6
from testbed.netlink import attribute, attributes, be32, be64, nested
from testbed.proxy.kernel import expressions as nft
from testbed.proxy.nftables.keys import (
    KEY_TYPES,
    Unencodable,
    address,
    intervals,
    type_number,
    type_size,
)

SET_ANONYMOUS = 1
SET_CONSTANT = 2
SET_INTERVAL = 4
SET_MAP = 8
SET_TIMEOUT = 16
SET_EVAL = 32
_SET_FLAGS = {"dynamic": SET_EVAL, "timeout": SET_TIMEOUT, "interval": SET_INTERVAL}

#: The key and data types as numbers of libnftnl's user data and nf_tables.
VERDICT_TYPE = 0xFFFFFF00
_ELEMENT_IS_INTERVAL_END = 1

VERDICTS = {"accept": nft.ACCEPT, "drop": nft.DROP, "return": nft.RETURN}
JUMPS = {"jump": nft.JUMP, "goto": nft.GOTO}


# User data: (type, length, value) in bytes


def userdata_field(kind: int, value: bytes) -> bytes:
    """One field of user data: type, length, value."""
    return bytes((kind, len(value))) + value


def _number(kind: int, value: int) -> bytes:
    return userdata_field(kind, struct.pack("=I", value))


def userdata_comment(words: str, kind: int = 0) -> bytes:
    """A comment as rules, chains, tables and elements (kind 0) or sets (kind 7) carry it."""
    return userdata_field(kind, words.encode() + b"\0")


_HOST_ENDIAN, _BIG_ENDIAN = 1, 2
_KEY_ORDER, _DATA_ORDER, _MERGE, _KEY_MADE_OF, _DATA_MADE_OF, _DATA_INTERVAL = 0, 1, 2, 3, 4, 6
_SET_COMMENT = 7
#: nft's numbers of expressions (verdict, payload, concatenation) and of payload fields.
_VERDICT, _PAYLOAD, _CONCATENATION = 1, 7, 13
_PAYLOAD_FIELDS = {
    (IPV4, "saddr"): (12, 11),
    (IPV4, "daddr"): (12, 12),
    (IPV6, "saddr"): (13, 8),
    (IPV6, "daddr"): (13, 9),
}


def _made_of(kind: int, expression: int, *parts: bytes) -> bytes:
    return userdata_field(kind, _number(0, expression) + userdata_field(1, b"".join(parts)))


MAP_TO_DATA = _number(_KEY_ORDER, _HOST_ENDIAN) + _number(_DATA_ORDER, 0) + _number(6, 0)
MAP_TO_VERDICT = (
    _number(_KEY_ORDER, _HOST_ENDIAN)
    + _number(_DATA_ORDER, 0)
    + _made_of(_DATA_MADE_OF, _VERDICT)
    + _number(_DATA_INTERVAL, 0)
)


def address_set(family: str, side: str, values: list[str]) -> tuple[bytes, tuple[bytes, ...]]:
    """Attributes and elements of `{ ADDRESS, NETWORK, A-B, … }`.

    Networks and ranges make it an interval set.
    """
    kind = "ipv6_addr" if family == IPV6 else "ipv4_addr"
    number, size = KEY_TYPES[kind]
    flags = SET_ANONYMOUS | SET_CONSTANT
    userdata = _number(_KEY_ORDER, _BIG_ENDIAN)
    if any("/" in value or "-" in value for value in values):
        flags |= SET_INTERVAL
        userdata += _number(_MERGE, 1)
        elements = tuple(
            element(key, flags=_ELEMENT_IS_INTERVAL_END if is_end else 0, is_open=is_open)
            for key, is_end, is_open in intervals(family, values)
        )
    else:
        elements = tuple(element(address(family, value)) for value in dict.fromkeys(values))
    header, field = _PAYLOAD_FIELDS[family, side]
    userdata += _made_of(_KEY_MADE_OF, _PAYLOAD, _number(0, header), _number(1, field))
    made = be32(3, flags) + be32(4, number) + be32(5, size)
    made += nested(9, be32(1, len(elements))) + attribute(13, userdata)
    return made, elements


def element(
    key: bytes,
    *,
    data: bytes = b"",
    verdict: str = "",
    comment: str = "",
    flags: int = 0,
    is_open: bool = False,
) -> bytes:
    """One element (NFTA_LIST_ELEM): key, in maps data or a verdict (`goto CHAIN`, `drop`)."""
    parts = nft.value(1, key)
    if verdict:
        parts += _verdict(verdict)
    elif data:
        parts += nft.value(2, data)
    if flags:
        parts += be32(3, flags)
    if comment:
        parts += attribute(6, userdata_comment(comment))
    elif is_open:
        parts += attribute(6, _number(1, 1))
    return nested(1, parts)


def _verdict(words: str) -> bytes:
    word, _, chain = words.partition(" ")
    if word in JUMPS:
        return nft.verdict(2, JUMPS[word], chain)
    return nft.verdict(2, VERDICTS[word])


@lru_cache(maxsize=1024)
def encode_set(
    key_type: str, value_type: str, comment: str, flags: tuple[str, ...], size: int, timeout: int
) -> bytes:
    """The attributes of a named set, or of a verdict map where `value_type` is given."""
    kinds = tuple(key_type.split(" . "))
    joined = len(kinds) > 1
    bits = sum(_SET_FLAGS[flag] for flag in flags) | (SET_MAP if value_type else 0)
    userdata = _number(_KEY_ORDER, 0 if joined else KEY_ORDERS.get(kinds[0], _BIG_ENDIAN))
    made = be32(3, bits) + be32(4, type_number(kinds)) + be32(5, type_size(kinds))
    if value_type:
        if value_type != "verdict":
            raise Unencodable(f"unknown type of map: {value_type}")
        made += be32(6, VERDICT_TYPE) + be32(7, 16)
        userdata += _number(_DATA_ORDER, 0)
    if joined:
        userdata += _made_of(_KEY_MADE_OF, _CONCATENATION)
    if value_type:
        userdata += _number(_DATA_INTERVAL, 0)
    if comment:
        userdata += userdata_comment(comment, _SET_COMMENT)
    made += nested(9, *([be32(1, size)] if size else []))
    if timeout:
        made += be64(11, timeout * 1000)
    return made + attribute(13, userdata)


#: inet_proto and inet_service are big endian too, as addresses are; plain integers aren't.
KEY_ORDERS = {"integer": _HOST_ENDIAN}


def same_set(made: bytes, held: Mapping[int, bytes]) -> bool:
    """Whether a dumped set is what `made` (of `encode_set`) would make."""
    wanted = {kind: bytes(body) for kind, body in attributes(made).items()}
    return all(
        wanted.get(kind, b"").strip(b"\0") == held.get(kind, b"").strip(b"\0")
        for kind in _SET_IDENTITY
    )


#: NFTA_SET_FLAGS, KEY_TYPE, KEY_LEN, DATA_TYPE, DATA_LEN, DESC, TIMEOUT, USERDATA
_SET_IDENTITY = (3, 4, 5, 6, 7, 9, 11, 13)
