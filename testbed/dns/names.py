"""Domain names in the two forms DNS needs: text (`web.default.svc.cluster.local`) and wire.

Text is lower case, without the final dot; "" is the root. Names compare case-insensitively
(RFC 4343), so everything is lowered on the way in.
"""

from __future__ import annotations

import ipaddress

from testbed.errors import UsageError

#: What fits a message (RFC 1035, 2.3.4), in characters of text without the final dot.
MAX_LABEL, MAX_NAME = 63, 253


def normal(name: str) -> str:
    """The form names are kept in."""
    return name.rstrip(".").lower()


def check(name: str) -> None:
    """Raise UsageError for a name that no message can carry (RFC 1035, 2.3.4)."""
    bare = name.removesuffix(".")
    longest = max(len(label) for label in bare.split("."))
    if bare and not all(bare.split(".")):
        raise UsageError(f"DNS name {name!r} has an empty label")
    if longest > MAX_LABEL or len(bare) > MAX_NAME:
        raise UsageError(
            f"DNS name {name!r} is too long: {MAX_LABEL} characters a label, {MAX_NAME} in all"
        )


def parent(name: str) -> str:
    """The name above; "" above a top-level name."""
    return name.partition(".")[2]


def within(name: str, zone: str) -> bool:
    """Whether `name` is `zone` or below it."""
    return not zone or name == zone or name.endswith(f".{zone}")


def reverse(address: str) -> str:
    """The name of an address's PTR record."""
    return ipaddress.ip_address(address).reverse_pointer


def from_wire(wire: bytes) -> str:
    """Text of an uncompressed name in wire form; a dot inside a label is written `\\.`."""
    labels = []
    offset = 0
    while size := wire[offset]:
        label = wire[offset + 1 : offset + 1 + size].lower().decode("latin-1")
        labels.append(label.replace(".", "\\."))
        offset += 1 + size
    return ".".join(labels)


def dashed(address: str) -> str:
    """An address as a label: `10-244-1-5`, `fd00-10-244--5`. Source: CoreDNS endpointHostname."""
    return address.replace(".", "-").replace(":", "-")


def from_dashed(label: str) -> str | None:
    """The address that a dashed label stands for, or None. Source: CoreDNS findPods."""
    separator = "." if label.count("-") == 3 and "--" not in label else ":"
    try:
        return str(ipaddress.ip_address(label.replace("-", separator)))
    except ValueError:
        return None
