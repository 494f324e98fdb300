"""Addresses as Go reads and prints them, whatever they look like in a status or in Endpoints."""

from __future__ import annotations

import ipaddress
import re

_DOTTED = re.compile(r"\d+\.\d+\.\d+\.\d+")


def canonical(text: str) -> str | None:
    """The address in its short form; None where it isn't one.

    IPv4 in IPv6's clothes is IPv4, and leading zeros are decimal. Source: k8s.io/utils/net
    ParseIPSloppy, net.IP.String.
    """
    if _DOTTED.fullmatch(text):
        text = ".".join(str(int(part)) for part in text.split("."))
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return None if "%" in text else str(address)
