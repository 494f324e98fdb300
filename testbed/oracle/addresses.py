"""Addresses as the oracle compares them: one spelling each, and ranges of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from testbed.api.objects import IPV4, IPV6


@lru_cache(maxsize=65536)
def canonical(address: str) -> str:
    """The one spelling of `address`; "" for what is no address.

    As lenient as Kubernetes (k8s.io/utils/net ParseIPSloppy): leading zeros of IPv4 are decimal,
    an IPv4-mapped IPv6 address is the IPv4 address.
    """
    text = address.strip()
    if ":" not in text:
        parts = text.split(".")
        if len(parts) != 4 or not all(p.isascii() and p.isdigit() for p in parts):
            return ""
        return ".".join(map(str, map(int, parts))) if all(int(p) < 256 for p in parts) else ""
    try:
        parsed = ipaddress.IPv6Address(text)
    except ValueError:
        return ""
    return str(parsed.ipv4_mapped or parsed)


@lru_cache(maxsize=65536)
def _number(address: str) -> tuple[str, int]:
    parsed = ipaddress.ip_address(address)
    return (IPV4 if parsed.version == 4 else IPV6), int(parsed)


def is_loopback(address: str) -> bool:
    """Whether `address` (canonical) is 127.0.0.0/8 or ::1."""
    return address.startswith("127.") or address == "::1"


class Ranges:
    """A set of CIDRs of both families that answers `address in ranges` for canonical addresses.

    Entries that aren't CIDRs (or bare addresses) are left out: the API's validation reports them.
    """

    def __init__(self, cidrs: Iterable[str]) -> None:
        self._ranges: dict[str, list[tuple[int, int]]] = {IPV4: [], IPV6: []}
        #: Families in which some entry covers every address.
        self.everything: set[str] = set()
        v4: list[ipaddress.IPv4Network] = []
        v6: list[ipaddress.IPv6Network] = []
        for cidr in cidrs:
            network = _network(cidr)
            if isinstance(network, ipaddress.IPv4Network):
                v4.append(network)
            elif network is not None:
                v6.append(network)
        for network4 in ipaddress.collapse_addresses(v4):
            self._add(IPV4, network4)
        for network6 in ipaddress.collapse_addresses(v6):
            self._add(IPV6, network6)

    def _add(self, family: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        first, last = int(network.network_address), int(network.broadcast_address)
        self._ranges[family].append((first, last))
        if network.prefixlen == 0:
            self.everything.add(family)

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, str) or not address:
            return False
        family, number = _number(address)
        return any(first <= number <= last for first, last in self._ranges[family])

    def has(self, family: str) -> bool:
        """Whether any range is of `family`."""
        return bool(self._ranges[family])


def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    address, slash, length = cidr.strip().partition("/")
    spelled = canonical(address)
    try:
        return ipaddress.ip_network(f"{spelled}{slash}{length}", strict=False) if spelled else None
    except ValueError:
        return None
