"""A rule of iptables-save as the expressions that iptables-nft 1.8.9 makes of it.

Addresses, protocols and interfaces are nf_tables' own expressions; matches and targets are in
`extensions.py`. Source: iptables/nft-shared.c, nft-ipv4.c, nft-ipv6.c of iptables 1.8.9.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from functools import lru_cache

from testbed.api.objects import IPV4, IPV6
from testbed.netlink import be32, nested
from testbed.proxy.iptables.extensions import MATCHES, TARGETS, Option, Unencodable, comment
from testbed.proxy.kernel import expressions as nft
from testbed.proxy.kernel.expressions import CMP_EQ, CMP_NEQ

#: Protocols by the names that iptables-save prints.
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "ipv6-icmp": 58}

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPED = re.compile(r"\\(.)")

_COMMENT_WORDS = "-m comment --comment "
_STANDARD = {"ACCEPT": nft.ACCEPT, "DROP": nft.DROP, "RETURN": nft.RETURN}
#: Offset of source and destination address in the network header, by family.
_ADDRESS_OFFSETS = {IPV4: (12, 16), IPV6: (8, 24)}


def tokens(line: str) -> list[str]:
    """The words of a rule, quotes and their escapes undone."""
    return [
        word or (_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted)
        for quoted, word in _TOKEN.findall(line)
    ]


def encode(family: str, line: str) -> bytes:
    """The attributes of an nf_tables rule for `line`, a rule without `-A CHAIN`.

    `family` is IPV4 or IPV6 of `api.objects`. Raises Unencodable, with the part that isn't known.
    """
    segments = _SEGMENT.findall(line)
    if " ".join(segments) != line:
        raise Unencodable(_unread(line, segments))
    slots: list[bytes] = [b"", b"", b"", b"", b""]
    matches: list[bytes] = []
    compat = b""
    for text in segments:
        slot, packed, more = _segment(family, text)
        if slot == _MATCH:
            matches.append(packed)
        else:
            slots[slot] += packed
            compat = more or compat
    interfaces, protocol, source, destination, action = slots
    head = (interfaces, protocol, source, destination)
    return nested(4, *head, *matches, nft.COUNTER, action) + compat


#: A rule's segments in the order of its expressions; matches stand between address and counter.
_INTERFACE, _PROTOCOL, _SOURCE, _DESTINATION, _ACTION, _MATCH = range(6)

_VALUE = r'(?:"(?:[^"\\]|\\.)*"|(?!-|! )\S+)'
_OPTIONS = rf"(?: (?:! )?--\S+(?: +{_VALUE})?)*"
#: One plain option, or one match or target with its options.
_SEGMENT = re.compile(rf"(?:! )?-[sdpio] \S+|-m \S+{_OPTIONS}|-[jg] \S+{_OPTIONS}")


def _unread(line: str, segments: list[str]) -> str:
    """What of `line` isn't in its segments, for an error."""
    place = 0
    for segment in segments:
        if not line.startswith(segment, place):
            break
        place += len(segment) + 1
    return f"can't be understood from {line[place:]!r} on"


@lru_cache(maxsize=16384)
def _segment(family: str, text: str) -> tuple[int, bytes, bytes]:
    """(slot, expressions, NFTA_RULE_COMPAT where it names the protocol) of one segment.

    Cached: of a large rule set most segments come again.
    """
    try:
        negated = text[0] == "!"
        if text[3 if negated else 1] in "mjg":
            return _extension(family, text)
        word, value = text.split(" ")[-2:]
        return _plain(family, word, value, negated)
    except (LookupError, ValueError, OverflowError, OSError, struct.error) as error:
        if isinstance(error, Unencodable):
            raise
        raise Unencodable(f"{text!r} can't be understood: {error}") from error


def _plain(family: str, word: str, value: str, negated: bool) -> tuple[int, bytes, bytes]:
    if word == "-s":
        return _SOURCE, address(family, 0, value, negated), b""
    if word == "-d":
        return _DESTINATION, address(family, 1, value, negated), b""
    if word == "-p":
        number = PROTOCOLS[value] if value in PROTOCOLS else int(value)
        return _PROTOCOL, _protocol(number, negated), _compat(number, negated)
    key = nft.META_IIFNAME if word == "-i" else nft.META_OIFNAME
    return _INTERFACE, _interface(key, value, negated), b""


def _extension(family: str, text: str) -> tuple[int, bytes, bytes]:
    if text.startswith(_COMMENT_WORDS):
        (words,) = tokens(text[len(_COMMENT_WORDS) :])
        return _MATCH, comment(words), b""
    word, name, *rest = tokens(text)
    options = _options(rest)
    if word == "-m":
        make = MATCHES.get(name)
        if make is None:
            raise Unencodable(f"unknown match {name}")
        return _MATCH, make(family, options), b""
    if word == "-g":
        action = nft.immediate_verdict(nft.GOTO, name)
    elif name in _STANDARD:
        action = nft.immediate_verdict(_STANDARD[name])
    elif name in TARGETS:
        action = TARGETS[name](family, options)
    elif options:
        raise Unencodable(f"unknown target {name}")
    else:
        action = nft.immediate_verdict(nft.JUMP, name)
    return _ACTION, action, b""


def _options(words: list[str]) -> list[Option]:
    """The options of a match or target."""
    found: list[Option] = []
    negated = False
    for word in words:
        if word == "!":
            negated = True
        elif word.startswith("--"):
            found.append(Option(word, negated))
            negated = False
        else:
            found[-1].value = word
    return found


@lru_cache(maxsize=64)
def _compat(protocol: int, inverted: bool) -> bytes:
    """NFTA_RULE_COMPAT: the protocol that xtables matches check against."""
    return nested(5, be32(1, protocol), be32(2, 2 if inverted else 0))


@lru_cache(maxsize=64)
def _protocol(number: int, negated: bool) -> bytes:
    return nft.meta_load(nft.META_L4PROTO) + nft.compare(
        bytes((number,)), CMP_NEQ if negated else CMP_EQ
    )


@lru_cache(maxsize=256)
def _interface(key: int, name: str, negated: bool) -> bytes:
    return nft.meta_load(key) + nft.compare(nft.interface(name), CMP_NEQ if negated else CMP_EQ)


def address(family: str, side: int, value: str, negated: bool) -> bytes:
    """A comparison of the source (0) or destination (1) address with `ADDRESS/LENGTH`.

    A prefix of whole bytes loads only these; any other is masked.
    """
    text, _, length = value.partition("/")
    packed = socket.inet_pton(socket.AF_INET if family == IPV4 else socket.AF_INET6, text)
    bits = int(length) if length else len(packed) * 8
    offset = _ADDRESS_OFFSETS[family][side]
    operator = CMP_NEQ if negated else CMP_EQ
    if bits % 8 == 0:
        size = bits // 8
        if not size:
            return b""
        return nft.payload(nft.BASE_NETWORK, offset, size) + nft.compare(packed[:size], operator)
    mask = int(ipaddress.ip_network(value, strict=False).netmask).to_bytes(len(packed), "big")
    masked = bytes(a & b for a, b in zip(packed, mask, strict=True))
    return (
        nft.payload(nft.BASE_NETWORK, offset, len(packed))
        + nft.bitwise(mask, bytes(len(packed)))
        + nft.compare(masked, operator)
    )
