"""A pcapng file of a whole network: an interface block per captured interface, ns timestamps.

Interfaces are named `namespace/interface`; a comment on a packet says what happened to it there
(Wireshark shows both). Layout: draft-ietf-opsawg-pcapng, sections 4.1 to 4.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from testbed.flow.paths import Hop, Path
from testbed.flow.sightings import Frame
from testbed.report.stops import stops
from testbed.report.words import meaning, verdict

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_END, _COMMENT = 0, 1
_APPLICATION = 4
_NAME, _RESOLUTION = 2, 9
_FLAGS = 2
_DIRECTIONS = {"in": 1, "out": 2}
_NANOSECONDS = b"\x09"
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

#: Where a frame was seen, for comments: time, namespace, interface.
Place = tuple[int, str, str]


class PcapngWriter:
    """Writes frames to `stream` as they come; interfaces are declared when they first appear."""

    def __init__(self, stream: BinaryIO, application: str = "testbed") -> None:
        self._stream = stream
        self._interfaces: dict[tuple[str, str, int], int] = {}
        options = _options([(_APPLICATION, application.encode())])
        body = struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1) + options
        stream.write(_block(_SECTION, body))

    def write(self, frame: Frame, comment: str = "") -> None:
        """Append one frame, with `comment` if there is one."""
        number = self._interface(frame)
        options = [(_FLAGS, struct.pack("=I", _DIRECTIONS.get(frame.direction, 0)))]
        if comment:
            options.insert(0, (_COMMENT, comment.encode()))
        data = frame.data
        body = struct.pack(
            "=IIIII",
            number,
            frame.time >> 32,
            frame.time & 0xFFFFFFFF,
            len(data),
            max(frame.length, len(data)),
        )
        padded = data + _PADDING[len(data) & 3]
        self._stream.write(_block(_PACKET, body + padded + _options(options)))

    def _interface(self, frame: Frame) -> int:
        key = (frame.namespace, frame.interface, frame.link_type)
        if key not in self._interfaces:
            self._interfaces[key] = len(self._interfaces)
            name = f"{frame.namespace}/{frame.interface}".encode()
            options = _options([(_NAME, name), (_RESOLUTION, _NANOSECONDS)])
            body = struct.pack("=HHI", frame.link_type, 0, 0) + options
            self._stream.write(_block(_INTERFACE, body))
        return self._interfaces[key]


def is_second_sight(frame: Frame) -> bool:
    """True for a packet on its way into the loopback, which comes out of it again at once."""
    return frame.interface == "lo" and frame.direction == "out"


def write_frames(
    stream: BinaryIO, frames: Iterable[Frame], comments: Mapping[Place, str] | None = None
) -> int:
    """Write `frames`, each packet once an interface; return how many."""
    writer = PcapngWriter(stream)
    count = 0
    for frame in frames:
        if not is_second_sight(frame):
            place = (frame.time, frame.namespace, frame.interface)
            writer.write(frame, (comments or {}).get(place, ""))
            count += 1
    return count


def path_comments(path: Path, frames: Sequence[Frame]) -> dict[Place, str]:
    """What `path` says about its frames: hop number, translations, rules with a meaning, verdict.

    `frames` are the path's own; the comment goes to the frame that left a hop, or ended there.
    Numbers are those of the text and the page; switches have none.
    """
    comments: dict[Place, str] = {}
    for leg in path.legs:
        by_place = {
            (frame.time - leg.start, frame.namespace): (
                frame.time,
                frame.namespace,
                frame.interface,
            )
            for frame in frames
        }
        for stop in stops(leg):
            said = [f"hop {stop.number}", *(str(nat) for nat in stop.hop.nat)]
            said += _rule_words(stop.hop)
            if stop.hop is leg.hops[-1]:
                said.append(f"verdict: {verdict(leg)}")
            if (place := by_place.get((stop.hop.end, stop.hop.namespace))) is not None:
                comments[place] = "; ".join(said)
            for hop in stop.switches:
                if (place := by_place.get((hop.end, hop.namespace))) is not None:
                    comments[place] = f"switched on after hop {stop.number}"
    return comments


def _rule_words(hop: Hop) -> list[str]:
    return [f"{hit.table} {hit.chain} = {meaning(hit)}" for hit in hop.rules if hit.meaning]


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack("=II", kind, size) + body + struct.pack("=I", size)


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    parts = [
        struct.pack("=HH", kind, len(value)) + value + _PADDING[len(value) & 3]
        for kind, value in options
    ]
    return b"".join(parts) + struct.pack("=HH", _END, 0)
