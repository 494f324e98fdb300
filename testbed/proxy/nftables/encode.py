"""The rules that `nft list` prints, read word by word into nf_tables expressions.

Only the language of the proxy's rules is known; anything else is Unencodable. Source: nftables
src/netlink_linearize.c.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from testbed.api.objects import IPV4, IPV6
from testbed.netlink import attribute, be32, nested, text
from testbed.proxy.kernel import expressions as nft
from testbed.proxy.kernel.expressions import CMP_EQ, CMP_NEQ
from testbed.proxy.kernel.messages import Hook
from testbed.proxy.nftables import fields
from testbed.proxy.nftables.encode_set import (
    JUMPS,
    MAP_TO_DATA,
    MAP_TO_VERDICT,
    SET_ANONYMOUS,
    SET_CONSTANT,
    SET_MAP,
    VERDICT_TYPE,
    VERDICTS,
    address_set,
    element,
    userdata_comment,
    userdata_field,
)
from testbed.proxy.nftables.keys import (
    KEY_TYPES,
    PROTOCOLS,
    Unencodable,
    address,
    network,
    pack_key,
    register,
    type_number,
    type_size,
)

_TOKEN = re.compile(r'"[^"]*"|[{},]|[^\s{},]+')
_COMMENT = re.compile(r' comment "([^"]*)"')
#: A type of user data that nft doesn't use.
_RULE_DIGEST = 0x7B
_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "srcnat": 100}
_HOOK = re.compile(r"type (\w+) hook (\w+) priority (?:(-?\d+)|(\w+)(?: ([-+]) (\d+))?)")
_ADDRESS_PORT = {
    IPV4: ("ipv4_addr", "inet_service"),
    IPV6: ("ipv6_addr", "inet_service"),
}
#: ICMP's and ICMPv6's code for "port unreachable".
_UNREACHABLE_PORT = {IPV4: 3, IPV6: 4}


@dataclass(frozen=True, slots=True)
class AnonymousSet:
    """A set or map written into a rule: made before it in the same transaction."""

    name: str
    number: int
    attributes: bytes
    elements: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EncodedRule:
    """A rule's attributes, and the anonymous sets that must exist before it."""

    attributes: bytes
    sets: tuple[AnonymousSet, ...]


#: Gives a name and a number to an anonymous set.
Allocate = Callable[[], tuple[str, int]]


def encode_rule(family: str, line: str, allocate: Allocate) -> EncodedRule:
    """Encode one rule of `family` (IPV4 or IPV6 of `api.objects`); raises Unencodable."""
    reader = _Rule(family, _TOKEN.findall(line), allocate)
    try:
        reader.read()
    except (LookupError, ValueError, OverflowError, OSError, struct.error) as error:
        if isinstance(error, Unencodable):
            raise
        near = " ".join(reader.words[: reader.place][-2:])
        raise Unencodable(f"can't be understood near {near!r}: {error}") from error
    encoded = nested(4, *reader.parts) + attribute(7, rule_userdata(line))
    return EncodedRule(encoded, tuple(reader.sets))


def rule_userdata(line: str) -> bytes:
    """A rule's user data: its comment, and a digest of its text.

    nft passes over what it doesn't know. A rule can't be changed in place, nor can its anonymous
    sets, so a rule with this user data is that rule: a full sync needs not look closer.
    """
    comment = _COMMENT.search(line)
    return (userdata_comment(comment.group(1)) if comment else b"") + userdata_field(
        _RULE_DIGEST, blake2b(line.encode(), digest_size=12).digest()
    )


class _Rule:
    """Reads a rule's words from left to right and collects expressions."""

    def __init__(self, family: str, words: list[str], allocate: Allocate) -> None:
        self.family = family
        self.words = words
        self.place = 0
        self.allocate = allocate
        self.parts: list[bytes] = []
        self.sets: list[AnonymousSet] = []

    def read(self) -> None:
        while self.place < len(self.words):
            word = self.take()
            handler = _STATEMENTS.get(word)
            if handler is None:
                raise Unencodable(f"unknown word {word!r}")
            handler(self, word)

    def take(self) -> str:
        word = self.words[self.place]
        self.place += 1
        return word

    def take_if(self, *words: str) -> bool:
        """Take `words` if they come next."""
        end = self.place + len(words)
        if tuple(self.words[self.place : end]) != words:
            return False
        self.place = end
        return True

    def expect(self, *words: str) -> None:
        if not self.take_if(*words):
            raise Unencodable(f"expected {' '.join(words)!r} after {self.words[self.place - 1]!r}")

    # Matches

    def network_field(self, word: str) -> None:
        self.field((word, self.take()))

    def field(self, first: tuple[str, str]) -> None:
        """A packet's field, or several joined by dots; then what it is compared with."""
        joined = [first]
        while self.take_if("."):
            joined.append((self.take(), self.take()))
        words = 0
        for each in joined:
            load, size = fields.load(self.family, each, words)
            self.parts.append(load)
            words += size
        if self.take_if("vmap"):
            self.parts.append(
                fields.lookup(self.take().removeprefix("@"), destination=nft.REGISTER_VERDICT)
            )
            return
        negated = self.take_if("!=")
        value = self.take()
        if value.startswith("@"):
            self.parts.append(fields.lookup(value[1:], negated=negated))
        elif value == "{":
            self.parts.append(self.address_set(first, negated))
        else:
            self.compare_field(first, value, negated)

    def compare_field(self, field: tuple[str, str], value: str, negated: bool) -> None:
        operator = CMP_NEQ if negated else CMP_EQ
        if field == ("meta", "l4proto"):
            self.parts.append(nft.compare(bytes((PROTOCOLS[value],)), operator))
            return
        packed, bits = network(self.family, value)
        if bits == 8 * len(packed):
            self.parts.append(nft.compare(packed, operator))
        elif bits % 8 == 0 and bits:
            self.parts[-1] = fields.load_address(self.family, field[1], bits // 8)
            self.parts.append(nft.compare(packed[: bits // 8], operator))
        else:
            mask = ((1 << bits) - 1 << 8 * len(packed) - bits).to_bytes(len(packed), "big")
            self.parts.append(nft.bitwise(mask, bytes(len(packed))))
            self.parts.append(nft.compare(packed, operator))

    def address_set(self, field: tuple[str, str], negated: bool) -> bytes:
        values = [word for word in self.until_brace() if word != ","]
        name, number = self.allocate()
        made, elements = address_set(self.family, field[1], values)
        self.sets.append(AnonymousSet(name, number, made, elements))
        return fields.lookup(name, number=number, negated=negated)

    def until_brace(self) -> Iterator[str]:
        """The words up to `}`, which is taken too."""
        while (word := self.take()) != "}":
            yield word

    def meta(self, word: str) -> None:
        key = self.take()
        if key == "l4proto":
            self.field((word, key))
        elif key != "mark":
            raise Unencodable(f"unknown meta {key}")
        elif self.take_if("set", "meta", "mark"):
            self.set_mark()
        else:
            self.expect("&")
            mask = fields.mark(self.take())
            operator = CMP_NEQ if self.take_if("!=") else CMP_EQ
            self.parts.append(nft.meta_load(nft.META_MARK) + nft.bitwise(mask, bytes(4)))
            self.parts.append(nft.compare(fields.mark(self.take()), operator))

    def set_mark(self) -> None:
        operator, bits = self.take(), fields.mark(self.take())
        if operator == "|":
            kept = bytes(byte ^ 0xFF for byte in bits)
        elif operator == "^":
            kept = b"\xff" * 4
        else:
            raise Unencodable(f"unknown operator {operator}")
        self.parts.append(nft.meta_load(nft.META_MARK) + nft.bitwise(kept, bits))
        self.parts.append(nft.meta_set(nft.META_MARK))

    def conntrack(self, word: str) -> None:
        key = self.take()
        self.parts.append(fields.conntrack(key, self.take().split(",")))

    def fib(self, word: str) -> None:
        side = self.take()
        self.expect("type", "local")
        self.parts.append(fields.local_address(side))

    def interface(self, word: str) -> None:
        negated = self.take_if("!=")
        self.parts.append(fields.interface(word, self.take().strip('"'), negated))

    # Statements

    def verdict(self, word: str) -> None:
        self.parts.append(nft.immediate_verdict(VERDICTS[word]))

    def jump(self, word: str) -> None:
        self.parts.append(nft.immediate_verdict(JUMPS[word], self.take()))

    def reject(self, word: str) -> None:
        code = bytes((_UNREACHABLE_PORT[self.family],))
        self.parts.append(nft.expression("reject", be32(1, 0), attribute(2, code)))

    def masquerade(self, word: str) -> None:
        flags = 0x10 if self.take_if("fully-random") else 0
        self.parts.append(nft.expression("masq", *([be32(1, flags)] if flags else [])))

    def numgen(self, word: str) -> None:
        """`numgen random mod N vmap { 0 : goto CHAIN, … }`"""
        self.random()
        self.expect("vmap", "{")
        pairs = [_numbered(entry) for entry in self.entries()]
        elements = tuple(
            element(struct.pack("=I", number), verdict=words) for number, words in pairs
        )
        self.mapped(elements, VERDICT_TYPE, 16, MAP_TO_VERDICT, nft.REGISTER_VERDICT)

    def random(self) -> None:
        self.expect("random", "mod")
        modulus = int(self.take())
        self.parts.append(
            nft.expression("numgen", be32(1, 1), be32(2, modulus), be32(3, 1), be32(4, 0))
        )

    def entries(self) -> list[list[str]]:
        """The entries up to the closing brace, each as its words."""
        found: list[list[str]] = [[]]
        for word in self.until_brace():
            if word == ",":
                found.append([])
            else:
                found[-1].append(word)
        return found

    def mapped(
        self, elements: tuple[bytes, ...], data: int, size: int, userdata: bytes, destination: int
    ) -> None:
        name, number = self.allocate()
        flags = SET_ANONYMOUS | SET_CONSTANT | SET_MAP
        made = (
            be32(3, flags)
            + be32(4, KEY_TYPES["integer"][0])
            + be32(5, 4)
            + be32(6, data)
            + be32(7, size)
            + nested(9, be32(1, len(elements)))
            + attribute(13, userdata)
        )
        self.sets.append(AnonymousSet(name, number, made, elements))
        self.parts.append(fields.lookup(name, number=number, destination=destination))

    def dnat(self, word: str) -> None:
        """`dnat to ADDRESS:PORT`, or `dnat ip to numgen random mod N map { 0 : ADDRESS . PORT }`"""
        words = 4 if self.family == IPV6 else 1
        if self.take_if("ip" if self.family == IPV4 else "ip6"):
            self.expect("to", "numgen")
            self.random()
            self.expect("map", "{")
            elements = tuple(
                element(struct.pack("=I", number), data=pack_key(key, _ADDRESS_PORT[self.family]))
                for number, key in map(_numbered, self.entries())
            )
            kinds = _ADDRESS_PORT[self.family]
            self.mapped(elements, type_number(kinds), type_size(kinds), MAP_TO_DATA, 1)
            port_register = register(words)
        else:
            self.expect("to")
            host, _, port = self.take().rpartition(":")
            packed = address(self.family, host.strip("[]"))
            self.parts.append(nft.immediate(packed, 1))
            self.parts.append(nft.immediate(int(port).to_bytes(2, "big"), 2))
            port_register = 2
        self.parts.append(fields.nat(self.family, port_register))

    def update(self, word: str) -> None:
        name = self.take().removeprefix("@")
        self.expect("{")
        load, _ = fields.load(self.family, (self.take(), self.take()), 0)
        self.expect("}")
        self.parts.append(load)
        self.parts.append(nft.expression("dynset", be32(4, 1), be32(3, 1), text(1, name)))

    def skip_comment(self, word: str) -> None:
        self.take()


_STATEMENTS: dict[str, Callable[[_Rule, str], None]] = {
    "ip": _Rule.network_field,
    "ip6": _Rule.network_field,
    "meta": _Rule.meta,
    "ct": _Rule.conntrack,
    "fib": _Rule.fib,
    "iifname": _Rule.interface,
    "oifname": _Rule.interface,
    "accept": _Rule.verdict,
    "drop": _Rule.verdict,
    "return": _Rule.verdict,
    "jump": _Rule.jump,
    "goto": _Rule.jump,
    "reject": _Rule.reject,
    "masquerade": _Rule.masquerade,
    "numgen": _Rule.numgen,
    "dnat": _Rule.dnat,
    "update": _Rule.update,
    "comment": _Rule.skip_comment,
}


def _numbered(entry: list[str]) -> tuple[int, str]:
    number, colon, *words = entry
    if colon != ":":
        raise Unencodable(f"expected ':' in {' '.join(entry)!r}")
    return int(number), " ".join(words)


def encode_hook(declaration: str) -> Hook:
    """`type nat hook prerouting priority dstnat - 10` as nf_tables wants it."""
    found = _HOOK.match(declaration)
    if found is None:
        raise Unencodable(f"unknown hook {declaration!r}")
    kind, hook, plain, named, sign, offset = found.groups()
    if plain is not None:
        return Hook(kind, hook, int(plain))
    return Hook(kind, hook, _PRIORITIES[named] + int(f"{sign or '+'}{offset or 0}"))
