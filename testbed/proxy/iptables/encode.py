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

from testbed.api.objects import IPV4, IPV6
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
_ADDRESS_OFFSETS = {IPV4: (12, 16), IPV6: (8, 24)}


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
        return _MATCH, _comment(words), b""
    word, name, *rest = tokens(text)
    options = _options(rest)
    if word == "-m":
        make = _MATCHES.get(name)
        if make is None:
            raise Unencodable(f"unknown match {name}")
        return _MATCH, make(family, options), b""
    if word == "-g":
        action = nft.immediate_verdict(nft.GOTO, name)
    elif name in _STANDARD:
        action = nft.immediate_verdict(_STANDARD[name])
    elif name in _TARGETS:
        action = _TARGETS[name](family, options)
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


_COMMENT_WORDS = "-m comment --comment "
_COMMENT_START = nft.match("comment", 0, bytes(256))[:-256]


def _comment(text: str) -> bytes:
    words = text.encode()[:255]
    return _COMMENT_START + words + bytes(256 - len(words))


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
    name, mask = "DEFAULT", b"\xff" * (4 if family == IPV4 else 16)
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


_DNAT_START = nft.target("DNAT", 2, bytes(48))[:-48]


def _dnat(family: str, options: list[Option]) -> bytes:
    """struct nf_nat_range2: one address, one port"""
    (option,) = options
    host, _, port = option.value.rpartition(":")
    if family == IPV4:
        place = socket.inet_pton(socket.AF_INET, host) + bytes(12)
    else:
        place = socket.inet_pton(socket.AF_INET6, host.strip("[]"))
    number = int(port).to_bytes(2, "big")
    return _DNAT_START + b"\3\0\0\0" + place + place + number + number + bytes(8)


def _masquerade(family: str, options: list[Option]) -> bytes:
    """IPv4: struct nf_nat_ipv4_multi_range_compat; IPv6: struct nf_nat_range"""
    flags = 0x10 if any(option.name == "--random-fully" for option in options) else 0
    if family == IPV4:
        return nft.target("MASQUERADE", 0, struct.pack("=II12x", 1, flags))
    return nft.target("MASQUERADE", 0, struct.pack("=I36x", flags))


def _reject(family: str, options: list[Option]) -> bytes:
    """struct ipt_reject_info, struct ip6t_reject_info"""
    kinds = _REJECT_V4 if family == IPV4 else _REJECT_V6
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
