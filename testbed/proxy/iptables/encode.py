"""A rule of iptables-save as the expressions that iptables-nft 1.8.9 makes of it.

Addresses, protocols, interfaces, `tcp`/`udp` ports and `mark` are nf_tables' own expressions; every
other match and target is xtables' by way of nft_compat, with the structures of
linux/netfilter/xt_*.h. Source: iptables/nft-shared.c, nft-ipv4.c, nft-ipv6.c of iptables 1.8.9.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from testbed.netlink import attribute, be32, nested
from testbed.proxy.kernel import expressions as nft
from testbed.proxy.kernel.expressions import CMP_EQ, CMP_NEQ

#: Protocols by the names that iptables-save prints.
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "ipv6-icmp": 58}

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPED = re.compile(r"\\(.)")

_CONNTRACK_STATES = {
    "INVALID": 1,
    "ESTABLISHED": 2,
    "RELATED": 4,
    "NEW": 8,
    "SNAT": 64,
    "DNAT": 128,
    "UNTRACKED": 256,
}
#: RTN_* of linux/rtnetlink.h as bits.
_ADDRESS_TYPES = {
    "UNSPEC": 1 << 0,
    "UNICAST": 1 << 1,
    "LOCAL": 1 << 2,
    "BROADCAST": 1 << 3,
    "ANYCAST": 1 << 4,
    "MULTICAST": 1 << 5,
    "BLACKHOLE": 1 << 6,
    "UNREACHABLE": 1 << 7,
    "PROHIBIT": 1 << 8,
}
_RECENT_FLAGS = {"--rcheck": 1, "--set": 2, "--update": 4, "--remove": 8, "--reap": 32}
_REJECT_V4 = {
    "icmp-net-unreachable": 0,
    "icmp-host-unreachable": 1,
    "icmp-proto-unreachable": 2,
    "icmp-port-unreachable": 3,
    "tcp-reset": 7,
}
_REJECT_V6 = {
    "icmp6-no-route": 0,
    "icmp6-adm-prohibited": 1,
    "icmp6-addr-unreachable": 3,
    "icmp6-port-unreachable": 4,
    "tcp-reset": 6,
}
_STANDARD = {"ACCEPT": nft.ACCEPT, "DROP": nft.DROP, "RETURN": nft.RETURN}
#: Offset of source and destination address in the network header, by family.
_ADDRESS_OFFSETS = {"ipv4": (12, 16), "ipv6": (8, 24)}


class Unencodable(ValueError):
    """A rule's text has a part that isn't known here."""


class Option:
    """One option of a match or target: `! --name value`."""

    __slots__ = ("name", "negated", "value")

    def __init__(self, name: str, negated: bool, value: str = "") -> None:
        self.name = name
        self.negated = negated
        self.value = value


def tokens(line: str) -> list[str]:
    """The words of a rule, quotes and their escapes undone."""
    return [
        word or (_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted)
        for quoted, word in _TOKEN.findall(line)
    ]


def encode(family: str, line: str) -> bytes:
    """The attributes of an nf_tables rule for `line`, a rule without `-A CHAIN`.

    `family` is `ipv4` or `ipv6`. Raises Unencodable, with the part that isn't known.
    """
    words = tokens(line)
    try:
        return _Rule(family, words).attributes()
    except (IndexError, KeyError, ValueError, OSError, struct.error) as error:
        if isinstance(error, Unencodable):
            raise
        raise Unencodable(f"can't be understood: {error}") from error


class _Rule:
    """Collects a rule's expressions: interfaces, protocol, addresses, matches, counter, target."""

    def __init__(self, family: str, words: list[str]) -> None:
        self.family = family
        self.protocol = 0
        self.inverted_protocol = False
        self.interfaces = b""
        self.source = b""
        self.destination = b""
        self.protocol_match = b""
        self.matches: list[bytes] = []
        self.action = b""
        self._read(words)

    def attributes(self) -> bytes:
        parts = (
            self.interfaces,
            self.protocol_match,
            self.source,
            self.destination,
            *self.matches,
            nft.COUNTER,
            self.action,
        )
        encoded = nested(4, *parts)
        if self.protocol:
            encoded += _compat(self.protocol, self.inverted_protocol)
        return encoded

    def _read(self, words: list[str]) -> None:
        place = 0
        negated = False
        while place < len(words):
            word = words[place]
            if word == "!":
                negated = True
                place += 1
                continue
            value = words[place + 1]
            if word in ("-m", "-j", "-g"):
                options, place = _options(words, place + 2)
                self._extension(word, value, options)
            else:
                self._plain(word, value, negated)
                place += 2
            negated = False

    def _plain(self, word: str, value: str, negated: bool) -> None:
        if word == "-s":
            self.source = address(self.family, 0, value, negated)
        elif word == "-d":
            self.destination = address(self.family, 1, value, negated)
        elif word == "-p":
            self.protocol = PROTOCOLS[value] if value in PROTOCOLS else int(value)
            self.inverted_protocol = negated
            self.protocol_match = _protocol(self.protocol, negated)
        elif word in ("-i", "-o"):
            key = nft.META_IIFNAME if word == "-i" else nft.META_OIFNAME
            self.interfaces += _interface(key, value, negated)
        else:
            raise Unencodable(f"unknown option {word}")

    def _extension(self, word: str, name: str, options: list[Option]) -> None:
        if word == "-m":
            make = _MATCHES.get(name)
            if make is None:
                raise Unencodable(f"unknown match {name}")
            self.matches.append(make(self.family, options))
        elif word == "-g":
            self.action = nft.immediate_verdict(nft.GOTO, name)
        elif name in _STANDARD:
            self.action = nft.immediate_verdict(_STANDARD[name])
        elif name in _TARGETS:
            self.action = _TARGETS[name](self.family, options)
        elif options:
            raise Unencodable(f"unknown target {name}")
        else:
            self.action = nft.immediate_verdict(nft.JUMP, name)


def _options(words: list[str], place: int) -> tuple[list[Option], int]:
    """The options from `place` on, and the place after them."""
    found: list[Option] = []
    negated = False
    while place < len(words):
        word = words[place]
        if word == "!":
            if not words[place + 1].startswith("--"):
                break
            negated = True
        elif word.startswith("--"):
            found.append(Option(word, negated))
            negated = False
        elif word[0] == "-" and found and found[-1].value == "" and word[1:].isdigit():
            found[-1].value = word
        elif word in ("-m", "-j", "-g", "-s", "-d", "-p", "-i", "-o"):
            if not (found and found[-1].name == "--comment" and found[-1].value == ""):
                break
            found[-1].value = word
        elif found and not found[-1].value:
            found[-1].value = word
        else:
            raise Unencodable(f"unexpected {word}")
        place += 1
    return found, place


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


@lru_cache(maxsize=1024)
def address(family: str, side: int, value: str, negated: bool) -> bytes:
    """A comparison of the source (0) or destination (1) address with `ADDRESS/LENGTH`.

    A prefix of whole bytes loads only these; any other is masked.
    """
    text, _, length = value.partition("/")
    packed = socket.inet_pton(socket.AF_INET if family == "ipv4" else socket.AF_INET6, text)
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


def _comment(family: str, options: list[Option]) -> bytes:
    words = options[0].value.encode()[:255]
    return _COMMENT_START + words + bytes(256 - len(words))


_COMMENT_START = nft.match("comment", 0, bytes(256))[:-256]


def _ports(protocol: str) -> Callable[[str, list[Option]], bytes]:
    """`-m tcp` and `-m udp`: ports natively, and xtables' match where there are none."""
    unlimited = nft.match(protocol, 0, struct.pack("=HHHH4x", 0, 0xFFFF, 0, 0xFFFF))

    def make(family: str, options: list[Option]) -> bytes:
        if not options:
            return unlimited
        return b"".join(_port(option) for option in options)

    return make


_PORT_OFFSETS = {"--sport": 0, "--dport": 2}


def _port(option: Option) -> bytes:
    return nft.payload(nft.BASE_TRANSPORT, _PORT_OFFSETS[option.name], 2) + nft.compare(
        int(option.value).to_bytes(2, "big"), CMP_NEQ if option.negated else CMP_EQ
    )


def _sctp(family: str, options: list[Option]) -> bytes:
    """struct xt_sctp_info"""
    ports = {"--dport": (0, 0), "--sport": (0, 0)}
    flags = inverted = 0
    for option in options:
        first, _, last = option.value.partition(":")
        ports[option.name] = (int(first), int(last or first))
        bit = 1 if option.name == "--sport" else 2
        flags |= bit
        inverted |= bit if option.negated else 0
    info = struct.pack("=HHHH256xI", *ports["--dport"], *ports["--sport"], 0)
    info += b"\xff\0\0" * 4 + struct.pack("=III", 0, flags, inverted)
    return nft.match("sctp", 0, info)


@lru_cache(maxsize=64)
def _mark_bytes(text: str) -> tuple[bytes, bytes | None]:
    mark, _, mask = text.partition("/")
    return struct.pack("=I", int(mark, 0)), struct.pack("=I", int(mask, 0)) if mask else None


def _mark(family: str, options: list[Option]) -> bytes:
    mark, mask = _mark_bytes(options[0].value)
    masked = nft.bitwise(mask, bytes(4)) if mask is not None else b""
    operator = CMP_NEQ if options[0].negated else CMP_EQ
    return nft.meta_load(nft.META_MARK) + masked + nft.compare(mark, operator)


def _conntrack(family: str, options: list[Option]) -> bytes:
    """struct xt_conntrack_mtinfo3: only the state is compared."""
    (option,) = options
    if option.name != "--ctstate":
        raise Unencodable(f"unknown option {option.name}")
    states = sum(_CONNTRACK_STATES[name] for name in option.value.split(","))
    info = struct.pack("=146xHHH16x", 1, 1 if option.negated else 0, states)
    return nft.match("conntrack", 3, info)


def _address_type(family: str, options: list[Option]) -> bytes:
    """struct xt_addrtype_info_v1"""
    masks = {"--src-type": 0, "--dst-type": 0}
    flags = 0
    for option in options:
        masks[option.name] = sum(_ADDRESS_TYPES[name] for name in option.value.split(","))
        if option.negated:
            flags |= 1 if option.name == "--src-type" else 2
    return nft.match(
        "addrtype", 1, struct.pack("=HHI", masks["--src-type"], masks["--dst-type"], flags)
    )


@lru_cache(maxsize=256)
def _random(probability: str) -> bytes:
    """struct xt_statistic_info; userland also writes the value over the member it shares with."""
    scaled = int(float(probability) * 0x80000000 + 0.5)
    return nft.match("statistic", 0, struct.pack("=HHIII8x", 0, 0, scaled, 0, scaled))


def _statistic(family: str, options: list[Option]) -> bytes:
    values = {option.name: option.value for option in options}
    if values.pop("--mode") != "random":
        raise Unencodable("only --mode random is known")
    return _random(values["--probability"])


def _recent(family: str, options: list[Option]) -> bytes:
    """struct xt_recent_mtinfo_v1"""
    seconds = flags = side = 0
    name, mask = "DEFAULT", b"\xff" * (4 if family == "ipv4" else 16)
    for option in options:
        if option.name in _RECENT_FLAGS:
            flags |= _RECENT_FLAGS[option.name]
        elif option.name == "--seconds":
            seconds = int(option.value)
        elif option.name == "--name":
            name = option.value
        elif option.name == "--mask":
            version = socket.AF_INET6 if ":" in option.value else socket.AF_INET
            mask = socket.inet_pton(version, option.value)
        elif option.name in ("--rsource", "--rdest"):
            side = int(option.name == "--rdest")
        else:
            raise Unencodable(f"unknown option {option.name}")
    info = struct.pack("=IIBB200sBx16s", seconds, 0, flags, 0, name.encode(), side, mask)
    return nft.match("recent", 1, info)


def _nfacct(family: str, options: list[Option]) -> bytes:
    """struct xt_nfacct_match_info_v1; the counter must exist before the rule."""
    return nft.match("nfacct", 1, struct.pack("=32s8x", options[0].value.encode()))


_MATCHES: Mapping[str, Callable[[str, list[Option]], bytes]] = {
    "comment": _comment,
    "tcp": _ports("tcp"),
    "udp": _ports("udp"),
    "sctp": _sctp,
    "mark": _mark,
    "conntrack": _conntrack,
    "addrtype": _address_type,
    "statistic": _statistic,
    "recent": _recent,
    "nfacct": _nfacct,
}


def _set_mark(family: str, options: list[Option]) -> bytes:
    """struct xt_mark_tginfo2: mark and mask"""
    (option,) = options
    if option.name != "--set-xmark":
        raise Unencodable(f"unknown option {option.name}")
    mark, mask = _mark_bytes(option.value)
    return nft.target("MARK", 2, mark + (mask or b"\xff" * 4))


def _dnat(family: str, options: list[Option]) -> bytes:
    """struct nf_nat_range2: one address, one port"""
    (option,) = options
    host, _, port = option.value.rpartition(":")
    if family == "ipv4":
        packed = socket.inet_pton(socket.AF_INET, host)
    else:
        packed = socket.inet_pton(socket.AF_INET6, host.strip("[]"))
    place = struct.pack("=16s", packed)
    number = int(port).to_bytes(2, "big")
    return nft.target("DNAT", 2, b"\3\0\0\0" + place + place + number + number + bytes(4))


def _masquerade(family: str, options: list[Option]) -> bytes:
    """IPv4: struct nf_nat_ipv4_multi_range_compat; IPv6: struct nf_nat_range"""
    flags = 0x10 if any(option.name == "--random-fully" for option in options) else 0
    if family == "ipv4":
        return nft.target("MASQUERADE", 0, struct.pack("=II12x", 1, flags))
    return nft.target("MASQUERADE", 0, struct.pack("=I36x", flags))


def _reject(family: str, options: list[Option]) -> bytes:
    """struct ipt_reject_info, struct ip6t_reject_info"""
    kinds = _REJECT_V4 if family == "ipv4" else _REJECT_V6
    return nft.target("REJECT", 0, struct.pack("=I", kinds[options[0].value]))


_TARGETS: Mapping[str, Callable[[str, list[Option]], bytes]] = {
    "MARK": _set_mark,
    "DNAT": _dnat,
    "MASQUERADE": _masquerade,
    "REJECT": _reject,
}


def counters_used(lines: Iterable[str]) -> set[str]:
    """Names of the nfacct counters that `lines` count into."""
    return {
        match.group(1)
        for line in lines
        if "nfacct" in line
        for match in [re.search(r"--nfacct-name\s+(\S+)", line)]
        if match
    }


def accounting(name: str) -> bytes:
    """The attributes that make nfacct counter `name` (linux/netfilter/nfnetlink_acct.h)."""
    return attribute(1, name.encode() + b"\0") + attribute(2, bytes(8)) + attribute(3, bytes(8))
