"""Addresses as the rules spell them: parsed as kube-proxy parses them, printed canonically.

Source: k8s.io/utils/net ParseIPSloppy, ParseCIDRSloppy; Go's net.IP.String.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache

from testbed.api.objects import IPV4, IPV6

#: Longest prefix by family.
BITS = {IPV4: 32, IPV6: 128}


@lru_cache(maxsize=65536)
def parse_ip(text: str) -> tuple[str, str] | None:
    """(family, canonical address), or None where `text` isn't an address.

    Leading zeros are decimal, and an IPv4-mapped IPv6 address is its IPv4 address.
    """
    if ":" not in text:
        try:
            return IPV4, socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text))
        except OSError:
            return _parse_ip_with_zeros(text)
    try:
        six = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    if six.scope_id:
        return None
    if six.ipv4_mapped:
        return IPV4, str(six.ipv4_mapped)
    return IPV6, str(six)


def _parse_ip_with_zeros(text: str) -> tuple[str, str] | None:
    parts = text.split(".")
    if len(parts) != 4 or not all(p.isascii() and p.isdigit() for p in parts):
        return None
    numbers = [int(part) for part in parts]
    return (IPV4, ".".join(map(str, numbers))) if max(numbers) < 256 else None


@lru_cache(maxsize=4096)
def parse_cidr(text: str) -> tuple[str, str] | None:
    """(family, network) with the host bits cleared, or None where `text` isn't a CIDR."""
    address, slash, length = text.partition("/")
    parsed = parse_ip(address)
    if not parsed or not slash or not (length.isascii() and length.isdigit()):
        return None
    family, canonical = parsed
    if family == IPV4 and ":" in address:  # ::ffff:10.0.0.0/104 is an IPv6 network to Go
        return None
    if int(length) > BITS[family]:
        return None
    return family, str(ipaddress.ip_network(f"{canonical}/{int(length)}", strict=False))


def contains(network: str, address: str) -> bool:
    """Whether `address` lies in `network`; both canonical."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


def is_zero_cidr(network: str) -> bool:
    """Whether `network` is everything: a prefix of length 0."""
    return network.endswith("/0")


def host_cidr(address: str) -> str:
    """`address` as the network of itself alone, as iptables-save prints it."""
    return f"{address}/128" if ":" in address else f"{address}/32"


def join_host_port(address: str, port: int) -> str:
    """`ip:port`, or `[ip]:port` for IPv6. Source: Go's net.JoinHostPort."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
