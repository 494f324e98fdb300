"""Writing what passes to a file or a pipe while it passes: `testbed capture`."""

from __future__ import annotations

import difflib
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from testbed.errors import UsageError
from testbed.flow.sightings import Frame
from testbed.probe.bpf import Instruction
from testbed.probe.capture import Capture
from testbed.probe.namespaces import Namespace
from testbed.report.pcapng import PcapngWriter, is_second_sight

#: How often a pipe's reader gets what was seen, seconds.
FLUSH = 0.1


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many packets were written, and how many the kernel had no room for, by namespace."""

    written: int
    dropped: dict[str, int]


def namespaces_of(interfaces: Collection[str], known: Sequence[Namespace]) -> list[Namespace]:
    """The namespaces of `w1/eth0` names. Raises UsageError, with near names."""
    by_name = {each.name: each for each in known}
    wanted: dict[str, Namespace] = {}
    for name in interfaces:
        namespace, slash, interface = name.partition("/")
        if not slash or not interface or namespace not in by_name:
            names = ", ".join(sorted(by_name))
            raise UsageError(f"{name!r} is no NAMESPACE/INTERFACE; namespaces: {names}")
        there = interfaces_in(by_name[namespace])
        if interface not in there:
            near = difflib.get_close_matches(interface, there, n=3, cutoff=0.5) or there
            listed = " or ".join(f"{namespace}/{each}" for each in near)
            raise UsageError(f"no interface {name}; did you mean {listed}?")
        wanted[namespace] = by_name[namespace]
    return list(wanted.values())


def interfaces_in(namespace: Namespace) -> list[str]:
    """The names of a namespace's interfaces."""
    return namespace.call(lambda: [name for _, name in socket.if_nameindex()])


def record(
    namespaces: Sequence[Namespace],
    stream: BinaryIO,
    stop: threading.Event,
    *,
    interfaces: Collection[str] = (),
    program: list[Instruction] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> Recorded:
    """Write packets as pcapng to `stream` until `stop` is set or the reader goes away.

    `interfaces` keeps only those (`w1/eth0`); `program` is a BPF filter (probe.bpf); `ready` is
    called once nothing that follows can be missed.
    """
    writer = PcapngWriter(stream)
    written = 0

    def keep(frame: Frame) -> bool:
        if is_second_sight(frame):
            return False
        return not interfaces or f"{frame.namespace}/{frame.interface}" in interfaces

    with Capture(namespaces, program=program) as capture:
        ready()
        last = False
        try:
            while not last:
                last = stop.is_set()
                frames = [frame for frame in capture.drain(0 if last else FLUSH) if keep(frame)]
                for frame in frames:
                    writer.write(frame)
                written += len(frames)
                stream.flush()
        except BrokenPipeError:  # Wireshark was closed
            pass
        return Recorded(written, capture.stop())
