"""What rules of nftables mode ask and do, each as nf_tables expressions of nft 1.0.6.

Fields of a packet, its mark, its interfaces and its conntrack entry; lookups and destination NAT.
Source: nftables src/netlink_linearize.c.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from testbed.api.objects import IPV4, IPV6
from testbed.netlink import be32, text
from testbed.proxy.kernel import expressions as nft
from testbed.proxy.kernel.expressions import CMP_EQ, CMP_NEQ
from testbed.proxy.kernel.messages import FAMILIES
from testbed.proxy.nftables.keys import Unencodable, register

_CT_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_CT_STATUSES = {"snat": 0x10, "dnat": 0x20}
_ADDRESS_OFFSETS = {
    (IPV4, "saddr"): 12,
    (IPV4, "daddr"): 16,
    (IPV6, "saddr"): 8,
    (IPV6, "daddr"): 24,
}


@lru_cache(maxsize=64)
def load(family: str, field: tuple[str, str], words: int) -> tuple[bytes, int]:
    """Load `field` behind `words` register words; also how many words it takes."""
    if field[0] in ("ip", "ip6"):
        size = 16 if family == IPV6 else 4
        return load_address(family, field[1], size, register(words)), size // 4
    if field == ("meta", "l4proto"):
        return nft.meta_load(nft.META_L4PROTO, register(words)), 1
    if field == ("th", "dport"):
        return nft.payload(nft.BASE_TRANSPORT, 2, 2, register(words)), 1
    raise Unencodable(f"unknown field {' '.join(field)}")


def load_address(family: str, side: str, size: int, into: int = 1) -> bytes:
    """Load the first `size` bytes of the source ("saddr") or destination address."""
    return nft.payload(nft.BASE_NETWORK, _ADDRESS_OFFSETS[family, side], size, into)


def mark(word: str) -> bytes:
    """A packet mark as registers hold it."""
    return struct.pack("=I", int(word, 0))


def conntrack(key: str, words: Sequence[str]) -> bytes:
    """`ct state` or `ct status` has one of these bits."""
    names, number = (_CT_STATES, 0) if key == "state" else (_CT_STATUSES, 2)
    return _conntrack(number, sum(names[word] for word in words))


@lru_cache(maxsize=64)
def _conntrack(key: int, bits: int) -> bytes:
    state = nft.expression("ct", be32(1, 1), be32(2, key))
    return state + nft.bitwise(struct.pack("=I", bits), bytes(4)) + nft.compare(bytes(4), CMP_NEQ)


def local_address(side: str) -> bytes:
    """`fib saddr type local` or `fib daddr type local`"""
    of = {"saddr": 1, "daddr": 2}[side]
    kind = nft.expression("fib", be32(1, 1), be32(2, 3), be32(3, of))
    return kind + nft.compare(struct.pack("=I", 2))


def interface(word: str, name: str, negated: bool) -> bytes:
    """`iifname NAME` or `oifname NAME`; a name may end in `*`."""
    key = nft.META_IIFNAME if word == "iifname" else nft.META_OIFNAME
    packed = name[:-1].encode() if name.endswith("*") else struct.pack("16s", name.encode())
    return nft.meta_load(key) + nft.compare(packed, CMP_NEQ if negated else CMP_EQ)


@lru_cache(maxsize=16)
def nat(family: str, port_register: int) -> bytes:
    """Destination NAT to the address in register 1 and the port in `port_register`."""
    return nft.expression(
        "nat",
        be32(1, 1),
        be32(2, FAMILIES[family]),
        be32(3, 1),
        be32(4, 1),
        be32(5, port_register),
        be32(6, port_register),
        be32(7, 3),
    )


def lookup(
    name: str, *, number: int = 0, destination: int | None = None, negated: bool = False
) -> bytes:
    """Look register 1 up in a set; with `destination` in a map, into that register."""
    parts = [text(1, name), be32(2, 1)]
    if destination is not None:
        parts.append(be32(3, destination))
    if number:
        parts.append(be32(4, number))
    parts.append(be32(5, 1 if negated else 0))
    return nft.expression("lookup", *parts)
