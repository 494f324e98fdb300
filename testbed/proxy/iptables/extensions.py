"""xtables' matches and targets (`-m` and `-j` with their options) as nf_tables expressions.

The ports of TCP and UDP and the mark are nf_tables' own; every other goes by way of nft_compat,
with the structures of linux/netfilter/xt_*.h. Source: extensions/libxt_*.c, libipt_*.c, libip6t_*.c
of iptables 1.8.9.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache

from testbed.api.objects import IPV4
from testbed.proxy.kernel import expressions as nft
from testbed.proxy.kernel.expressions import CMP_EQ, CMP_NEQ

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


class Unencodable(ValueError):
    """A rule's text has a part that isn't known here."""


class Option:
    """One option of a match or target: `! --name value`."""

    __slots__ = ("name", "negated", "value")

    def __init__(self, name: str, negated: bool, value: str = "") -> None:
        self.name = name
        self.negated = negated
        self.value = value


_COMMENT_START = nft.match("comment", 0, bytes(256))[:-256]


def comment(text: str) -> bytes:
    """struct xt_comment_info, which is cut where it is full."""
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


#: By name: (family, options) to expressions.
MATCHES: Mapping[str, Callable[[str, list[Option]], bytes]] = {
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


TARGETS: Mapping[str, Callable[[str, list[Option]], bytes]] = {
    "MARK": _set_mark,
    "DNAT": _dnat,
    "MASQUERADE": _masquerade,
    "REJECT": _reject,
}
