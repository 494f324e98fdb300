"""IP addresses and CIDRs in fields.

Go's parser for old fields takes leading zeros and IPv4-mapped IPv6; StrictIPCIDRValidation (on in
1.36) then refuses them, unless the stored object already had the value. Sources: apimachinery
pkg/util/validation/ip.go, pkg/apis/core/validation (ValidateNonSpecialIP).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import TypeAlias

from testbed.api.gojson import quote
from testbed.api.status import FieldError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_AN_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
LEADING_ZEROS = "must not have leading 0s"
MAPPED = "must not be an IPv4-mapped IPv6 address"

_OCTETS = re.compile(r"(?:^|(?<=:))(\d{1,20})\.(\d{1,20})\.(\d{1,20})\.(\d{1,20})$", re.ASCII)


def parse_ip(value: str) -> Address | None:
    """The address, as Go's ParseIPSloppy reads it (octets may have leading zeros), or None."""
    text = _OCTETS.sub(lambda found: ".".join(str(int(octet)) for octet in found.groups()), value)
    if "%" in value or "/" in value:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _leading_zeros(value: str) -> bool:
    found = _OCTETS.search(value)
    return bool(found) and any(len(o) > 1 and o.startswith("0") for o in found.groups())  # type: ignore[union-attr]


def is_mapped(address: Address) -> bool:
    """True for ::ffff:a.b.c.d."""
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def address_text(address: Address) -> str:
    """An address as Go prints it: an IPv4-mapped one as IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def network_text(network: Network) -> str:
    """A range as Go prints it: an IPv4-mapped one as IPv4."""
    start = address_text(network.network_address)
    mapped = network.version == 6 and "." in start
    return f"{start}/{network.prefixlen - 96 if mapped else network.prefixlen}"


def is_ipv6(value: str) -> bool:
    """True for an IPv6 address; an IPv4-mapped one is IPv4 to Go."""
    address = parse_ip(value)
    return address is not None and address.version == 6 and not is_mapped(address)


def legacy_ip(path: str, value: str, stored: Collection[str] = ()) -> list[FieldError]:
    """An address in an old field; values in `stored` are left alone."""
    if value in stored:
        return []
    address = parse_ip(value)
    if address is None:
        return [FieldError.invalid(path, value, NOT_AN_IP)]
    if _leading_zeros(value):
        return [FieldError.invalid(path, value, LEADING_ZEROS)]
    return [FieldError.invalid(path, value, MAPPED)] if is_mapped(address) else []


def strict_ip(path: str, value: str) -> list[FieldError]:
    """An address in a new field: also in canonical form."""
    if errors := legacy_ip(path, value):
        return errors
    canonical = str(parse_ip(value))
    return [] if canonical == value else [_not_canonical(path, value, canonical)]


def parse_cidr(value: str) -> tuple[Address, Network] | None:
    """Address and range, as Go's ParseCIDRSloppy reads them (leading zeros are fine), or None."""
    text, slash, length_text = value.rpartition("/")
    address = parse_ip(text)
    if not slash or address is None or not re.fullmatch(r"0*[0-9]{1,3}", length_text):
        return None
    length = int(length_text)
    if length > address.max_prefixlen:
        return None
    return address, ipaddress.ip_network((address, length), strict=False)


def cidr_leading_zeros(value: str) -> bool:
    """True where the address or the length of a CIDR is written with zeros before it."""
    text, _, length = value.rpartition("/")
    return _leading_zeros(text) or (len(length) > 1 and length.startswith("0"))


def legacy_cidr(path: str, value: str, stored: Collection[str] = ()) -> list[FieldError]:
    """A CIDR in an old field; values in `stored` are left alone."""
    if value in stored:
        return []
    parsed = parse_cidr(value)
    if parsed is None:
        return [FieldError.invalid(path, value, NOT_A_CIDR)]
    if cidr_leading_zeros(value):
        words = "must not have leading 0s in IP or prefix length"
        return [FieldError.invalid(path, value, words)]
    address, network = parsed
    if is_mapped(address):
        return [FieldError.invalid(path, value, "must not have an IPv4-mapped IPv6 address")]
    if network.network_address != address:
        words = "must not have bits set beyond the prefix length"
        return [FieldError.invalid(path, value, words)]
    return []


def strict_cidr(path: str, value: str) -> list[FieldError]:
    """A CIDR in a new field: also in canonical form."""
    if errors := legacy_cidr(path, value):
        return errors
    canonical = str(ipaddress.ip_network(value))
    return [] if canonical == value else [_not_canonical(path, value, canonical)]


def not_special(path: str, value: str) -> list[FieldError]:
    """Refuse loopback, unspecified, link-local and link-local multicast addresses."""
    address = parse_ip(value)
    if address is None:
        return [FieldError.invalid(path, value, "must be a valid IP address")]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    found = []
    if address.is_unspecified:
        found.append(f"may not be unspecified ({value})")
    if address.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if _link_local_multicast(address):
        found.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return [FieldError.invalid(path, value, words) for words in found]


def _link_local_multicast(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 2


def _not_canonical(path: str, value: str, canonical: str) -> FieldError:
    return FieldError.invalid(path, value, f"must be in canonical form ({quote(canonical)})")
