"""Seeing every packet of many namespaces: one packet socket each.

A packet socket that is bound to no interface sees all of them; the message's address names the
interface and the direction. Timestamps are the kernel's.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from testbed.flow.sightings import ETHERNET, RAW_IP, Frame
from testbed.probe import bpf
from testbed.probe.namespaces import Namespace, close_on_threads
from testbed.probe.stamps import SO_TIMESTAMPNS, TIMESPEC, keep_on, stamp

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_OTHERHOST = 3
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772
_TP_STATUS_CSUMNOTREADY = 8
_TP_STATUS_VLAN_VALID = 16
_TP_STATUS_VLAN_TPID_VALID = 64

_AUXDATA = struct.Struct("=IIIHHHH")
_ANCILLARY = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(TIMESPEC.size)
#: Where a frame's VLAN tag goes: after both addresses.
_TAG_AT = 12


def open_socket(
    namespace: Namespace, *, program: list[bpf.Instruction] | None = None, buffer: int = 1 << 23
) -> socket.socket:
    """A packet socket that sees all of `namespace`. `buffer` is in bytes."""
    # Python can't bind to "every interface", so the protocol is given at once; what comes before
    # the filter stands is a few frames more than asked for.
    sock = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    try:
        _grow(sock, buffer)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        if program is not None:
            bpf.attach(sock, program)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _grow(sock: socket.socket, buffer: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)


def read_frame(sock: socket.socket, namespace: str) -> Frame:
    """The next frame. Raises BlockingIOError where there is none."""
    data, ancillary, _, address = sock.recvmsg(1 << 16, _ANCILLARY)
    interface, _, packet_type, hardware = address[:4]
    time, pending = 0, False
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            time = stamp(value)
        elif level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tag, protocol = _AUXDATA.unpack_from(value)
            pending = bool(status & _TP_STATUS_CSUMNOTREADY)
            if status & _TP_STATUS_VLAN_VALID:
                data = _with_tag(data, tag, protocol if status & _TP_STATUS_VLAN_TPID_VALID else 0)
    return Frame(
        time=time,
        namespace=namespace,
        interface=interface,
        direction="out" if packet_type == PACKET_OUTGOING else "in",
        data=data,
        to_us=packet_type != PACKET_OTHERHOST,
        link_type=ETHERNET if hardware in (ARPHRD_ETHER, ARPHRD_LOOPBACK) else RAW_IP,
        length=len(data),
        checksum_pending=pending,
    )


def _with_tag(data: bytes, tag: int, protocol: int) -> bytes:
    """The kernel takes a VLAN tag off before it hands out the frame: put it back."""
    return data[:_TAG_AT] + struct.pack(">HH", protocol or 0x8100, tag) + data[_TAG_AT:]


class Capture:
    """Packet sockets in `namespaces`; use as a context manager.

    Frames wait in the kernel until `drain`; `run_in_thread` hands them on as they come. `dropped`
    counts what the kernel had no room for, by namespace.
    """

    def __init__(
        self,
        namespaces: Sequence[Namespace],
        *,
        program: list[bpf.Instruction] | None = None,
        buffer: int = 1 << 23,
    ) -> None:
        self._sockets: dict[int, tuple[socket.socket, str]] = {}
        self._poll = select.epoll()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self.dropped: dict[str, int] = {}
        keep_on()
        try:
            for namespace in namespaces:
                sock = open_socket(namespace, program=program, buffer=buffer)
                self._sockets[sock.fileno()] = (sock, namespace.name)
                self._poll.register(sock.fileno(), select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable while frames wait."""
        return self._poll.fileno()

    def drain(self, wait: float = 0.0) -> list[Frame]:
        """All frames that wait, in the order of their times; wait up to `wait` s for a first."""
        frames: list[Frame] = []
        for number, _ in self._poll.poll(wait, len(self._sockets) or 1):
            sock, name = self._sockets[number]
            _read_all(sock, name, frames.append)
        frames.sort(key=lambda frame: frame.time)
        return frames

    def run_in_thread(self, handle: Callable[[Frame], None]) -> None:
        """Call `handle` with every frame, on a thread, until `stop`."""

        def work() -> None:
            while not self._stopping.is_set():
                for frame in self.drain(0.05):
                    handle(frame)
            for frame in self.drain():
                handle(frame)

        self._thread = threading.Thread(target=work, daemon=True, name="capture")
        self._thread.start()

    def stop(self) -> dict[str, int]:
        """End the thread, if there is one; return the kernel's drops by namespace (not zero)."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for sock, name in self._sockets.values():
            _, drops = struct.unpack("=II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            if drops:
                self.dropped[name] = self.dropped.get(name, 0) + drops
        return self.dropped

    def close(self) -> Callable[[], None]:
        """Stop and let go of the sockets on threads; the result waits until they are gone."""
        if self._sockets:
            self.stop()
        self._poll.close()
        sockets = [sock for sock, _ in self._sockets.values()]
        self._sockets = {}
        return close_on_threads(sockets)


def _read_all(sock: socket.socket, name: str, take: Callable[[Frame], None]) -> None:
    while True:
        try:
            take(read_frame(sock, name))
        except BlockingIOError:
            return
        except OSError as error:
            # An interface that went down is reported once; the socket lives on.
            if error.errno != errno.ENETDOWN:
                return
