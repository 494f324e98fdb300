"""Synthetic sightings and trace events: packets as tests describe them."""

from __future__ import annotations

import itertools
import socket
import struct
from dataclasses import dataclass, field

from testbed.flow import ConntrackEntry, Flow, Frame, Route, Sighting, sighting_of
from testbed.flow.headers import parse_split
from testbed.probe.rules import ChainKey, ChainText
from testbed.probe.trace_events import RULE, TraceEvent
from testbed.probe.trace_rule import TABLE

CLIENT = "203.0.113.10"
VIP = "10.96.10.1"
POD = "10.244.1.5"
NODE = "172.18.0.11"

SENT = Flow("tcp", CLIENT, 40000, VIP, 80)
ARRIVED = Flow("tcp", NODE, 5555, POD, 8080)

SYN, ACK, RST = 2, 16, 4


def tcp_packet(
    flow: Flow, flags: int, sequence: int = 1000, ack: int = 0, ip_id: int = 1, ttl: int = 64
) -> bytes:
    segment = struct.pack(
        ">HHIIBBHHH", flow.source_port, flow.destination_port, sequence, ack, 5 << 4, flags, 0, 0, 0
    )
    return ip_packet(flow, 6, segment, ip_id, ttl)


def ip_packet(flow: Flow, protocol: int, body: bytes, ip_id: int = 1, ttl: int = 64) -> bytes:
    addresses = socket.inet_aton(flow.source) + socket.inet_aton(flow.destination)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), ip_id, 0, ttl, protocol, 0)
    return head + addresses + body


def icmp_error(source: str, destination: str, inner: bytes, kind: int = 3, code: int = 3) -> bytes:
    flow = Flow("icmp", source, 0, destination, 0)
    return ip_packet(flow, 1, struct.pack(">BBHI", kind, code, 0, 0) + inner)


@dataclass
class Script:
    """Sightings one after another, 10 ns apart; trace events in order."""

    sightings: list[Sighting] = field(default_factory=list)
    events: list[TraceEvent] = field(default_factory=list)
    _clock: itertools.count[int] = field(default_factory=lambda: itertools.count(1000, 10))

    def see(self, where: str, direction: str, packet: bytes, *, to_us: bool = True) -> None:
        """`where` is namespace/interface."""
        namespace, interface = where.split("/")
        data = b"\x02" * 12 + b"\x08\x00" + packet
        frame = Frame(next(self._clock), namespace, interface, direction, data, to_us)
        sighting = sighting_of(frame)
        assert sighting is not None
        self.sightings.append(sighting)

    def cross(self, packet: bytes, *places: str) -> None:
        """`packet` at `>client/eth0` (out) and `<w1/eth0` (in), one after the other."""
        for place in places:
            self.see(place[1:], "out" if place[0] == ">" else "in", packet)

    def enter(
        self, namespace: str, packet: bytes, hook: str = "prerouting", number: int = 1
    ) -> None:
        """`packet` meets our own trace rule."""
        self.rule(namespace, TABLE, hook, 1, "continue", packet=packet, number=number)

    def rule(
        self,
        namespace: str,
        table: str,
        chain: str,
        handle: int,
        verdict: str,
        *,
        packet: bytes | None = None,
        number: int = 1,
    ) -> None:
        headers = parse_split(packet[:20], packet[20:40]) if packet else None
        self.events.append(
            TraceEvent(
                namespace, number, "ip", table, chain, handle, RULE, verdict, headers=headers
            )
        )


@dataclass
class Facts:
    """Canned answers."""

    chains: dict[tuple[str, ChainKey], ChainText] = field(default_factory=dict)
    entries: dict[tuple[str, Flow], ConntrackEntry] = field(default_factory=dict)
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)

    def chain(self, namespace: str, key: ChainKey) -> ChainText:
        return self.chains.get((namespace, key), ChainText(()))

    def conntrack(self, namespace: str, flow: Flow) -> ConntrackEntry | None:
        return self.entries.get((namespace, flow))

    def route(self, namespace: str, flow: Flow, interface_in: str, mark: int) -> Route | None:
        return self.routes.get((namespace, flow.destination))
