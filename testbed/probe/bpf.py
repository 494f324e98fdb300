"""Classic BPF filters for packet sockets: built here, or compiled from tcpdump's words."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable

from testbed import shell
from testbed.errors import UsageError

SO_ATTACH_FILTER = 26
#: Ancillary loads (linux/filter.h): independent of the link header's length.
_PROTOCOL = 0xFFFFF000
_NETWORK = 0xFFF00000
_LOAD_HALF = 0x28
_LOAD_BYTE = 0x30
_JUMP_EQUAL = 0x15
_RETURN = 0x06
_WHOLE = 0x40000

Instruction = tuple[int, int, int, int]

_FAMILIES = {4: (0x0800, 9), 6: (0x86DD, 6)}


def protocols_filter(family: int, protocols: Iterable[int]) -> list[Instruction]:
    """Keeps IP packets of `family` (4 or 6) that carry one of `protocols`.

    Fragments and IPv6 extension headers pass too, where their first next-header says so.
    """
    numbers = list(dict.fromkeys([*protocols, *([44, 0] if family == 6 else [])]))
    ethertype, offset = _FAMILIES[family]
    program: list[Instruction] = [
        (_LOAD_HALF, 0, 0, _PROTOCOL),
        (_JUMP_EQUAL, 0, len(numbers) + 1, ethertype),
        (_LOAD_BYTE, 0, 0, _NETWORK + offset),
    ]
    for place, number in enumerate(numbers):
        program.append((_JUMP_EQUAL, len(numbers) - place, 0, number))
    # Both refusals land here; every match jumps over it.
    program.append((_RETURN, 0, 0, 0))
    program.append((_RETURN, 0, 0, _WHOLE))
    return program


def compile_filter(words: str) -> list[Instruction]:
    """The program of a pcap filter such as `tcp port 80`; raise UsageError if it is none."""
    tcpdump = shell.find_program("tcpdump")
    try:
        listing = shell.run([tcpdump, "-y", "EN10MB", "-ddd", words])
    except shell.CommandError as error:
        reason = error.output.strip().splitlines()[-1].removeprefix("tcpdump: ")
        raise UsageError(f"filter {words!r}: {reason}") from None
    rows = [line.split() for line in listing.splitlines()[1:]]
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in rows]


def attach(sock: socket.socket, program: list[Instruction]) -> None:
    """Put `program` on `sock`."""
    packed = b"".join(struct.pack("=HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)
