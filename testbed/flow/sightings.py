"""One packet seen on one interface."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from testbed.flow.headers import Headers, parse_packet
from testbed.flow.tuples import Flow

#: Link types of pcap (LINKTYPE_…): frames with an Ethernet header, and bare IP packets.
ETHERNET = 1
RAW_IP = 101


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes as an interface saw them. `time` is nanoseconds since 1970, from the kernel.

    `direction` is `in` or `out`, seen from the namespace. `to_us` is False for a frame whose
    destination address is not the interface's: a bridge's ports see those, and a flooded copy is
    one. `checksum_pending` says that the card would have filled in the checksum.
    """

    time: int
    namespace: str
    interface: str
    direction: str
    data: bytes
    to_us: bool = True
    link_type: int = ETHERNET
    length: int = 0
    checksum_pending: bool = False

    def packet(self) -> bytes:
        """The IP packet inside, b"" where the frame carries something else."""
        if self.link_type == RAW_IP:
            return self.data
        offset = 12
        kind = self.data[12:14]
        while kind in (b"\x81\x00", b"\x88\xa8"):
            offset += 4
            kind = self.data[offset : offset + 2]
        return self.data[offset + 2 :] if kind in (b"\x08\x00", b"\x86\xdd") else b""


@dataclass(frozen=True)
class Sighting:
    """A frame with the IP packet in it understood."""

    frame: Frame
    headers: Headers

    @property
    def time(self) -> int:
        return self.frame.time

    @property
    def namespace(self) -> str:
        return self.frame.namespace

    @property
    def interface(self) -> str:
        return self.frame.interface

    @property
    def direction(self) -> str:
        return self.frame.direction

    @property
    def flow(self) -> Flow:
        return self.headers.flow

    @cached_property
    def place(self) -> tuple[str, str, str, int]:
        """Where a packet is seen once at most: namespace, interface, direction and TTL left."""
        return (self.namespace, self.interface, self.direction, self.headers.ttl)


def sighting_of(frame: Frame) -> Sighting | None:
    """What `frame` says, or None where it carries no IP packet."""
    packet = frame.packet()
    headers = parse_packet(packet) if packet else None
    return None if headers is None else Sighting(frame, headers)
