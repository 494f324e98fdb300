"""Making the kernel stamp packets when they pass, not when they are read.

The kernel stamps packets only while some socket has asked for it, and it switches that on in the
background (net_enable_timestamp, net/core/dev.c): a packet that passes before gets the time of its
reading, which says nothing about order. So one socket of this process asks all the time, in a
namespace of its own, and the first capture waits until stamps are true.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
import time

from testbed.errors import CannotRunError
from testbed.fabric.namespace import in_thread
from testbed.fabric.syscalls import unshare_network

SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("=qq")
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
#: The longest wait for the kernel's background work, seconds.
_LIMIT = 5.0

_lock = threading.Lock()
_keeper: socket.socket | None = None


def keep_on() -> None:
    """Return when packets are stamped as they pass; from then on they are, in every namespace.

    Raises CannotRunError where the kernel doesn't come round to it.
    """
    global _keeper
    with _lock:
        if _keeper is None:
            made = in_thread(_open_keeper)
            try:
                _wait_until_true(made)
            except BaseException:
                made.close()
                raise
            _keeper = made


def _open_keeper() -> socket.socket:
    """A datagram socket that talks to itself over the loopback of a new namespace."""
    unshare_network()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    request = struct.pack("16sH14x", b"lo", _IFF_UP)
    fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, request)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind(("127.0.0.1", 0))
    sock.connect(sock.getsockname())
    sock.settimeout(1.0)
    return sock


def _wait_until_true(sock: socket.socket) -> None:
    deadline = time.monotonic() + _LIMIT
    while time.monotonic() < deadline:
        sock.send(b"?")
        passed = time.time_ns()
        time.sleep(0.0005)  # a stamp made by the reading is later than `passed`
        _, ancillary, _, _ = sock.recvmsg(16, socket.CMSG_SPACE(TIMESPEC.size))
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and stamp(value) <= passed:
                return
    raise CannotRunError("the kernel does not stamp packets as they pass: no path can be ordered")


def stamp(value: bytes) -> int:
    """Nanoseconds since 1970 of an SO_TIMESTAMPNS message."""
    seconds, nanoseconds = TIMESPEC.unpack_from(value)
    return int(seconds * 1_000_000_000 + nanoseconds)
