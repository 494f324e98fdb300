"""A flow: the five values that name one conversation."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from testbed.errors import UsageError

#: IP protocol numbers of the protocols that a probe can send.
PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}
ICMPV6 = 58


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """A 5-tuple. `protocol` is tcp, udp, sctp or icmp (also for ICMPv6).

    An ICMP echo carries its identifier as both ports, so that the reversed flow is the answer's;
    other ICMP messages and later fragments carry no ports (0).
    """

    protocol: str
    source: str
    source_port: int
    destination: str
    destination_port: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.destination else 4

    @property
    def protocol_number(self) -> int:
        """The number in the IP header; ICMP's differs between the families."""
        if self.protocol == "icmp" and self.family == 6:
            return ICMPV6
        return PROTOCOL_NUMBERS[self.protocol]

    def reversed(self) -> Flow:
        """The flow of the answers."""
        return Flow(
            self.protocol,
            self.destination,
            self.destination_port,
            self.source,
            self.source_port,
        )

    def __str__(self) -> str:
        source = endpoint(self.source, self.source_port)
        return f"{source} > {endpoint(self.destination, self.destination_port)}"


def endpoint(address: str, port: int) -> str:
    """`address:port`, brackets around IPv6; the address alone where the port is 0."""
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse_endpoint(words: str) -> tuple[str, int]:
    """(address, port) of `1.2.3.4:80`, `[::1]:80` or a bare address (port 0).

    Raises UsageError where it is none of these.
    """
    address, port = words, "0"
    if words.startswith("["):
        address, _, rest = words[1:].partition("]")
        port = rest.removeprefix(":") or "0"
    elif words.count(":") == 1:
        address, _, port = words.partition(":")
    try:
        number = int(port)
        canonical = str(ipaddress.ip_address(address))
    except ValueError:
        number = -1
        canonical = ""
    if not 0 <= number <= 65535:
        raise UsageError(f"{words!r} is no address or address:port ([address]:port for IPv6)")
    return canonical, number
