"""What the probe needs of a network namespace; the fabric's Namespace has it."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from testbed.netlink import NetlinkSocket

T = TypeVar("T")


class Namespace(Protocol):
    """A network namespace: sockets and programs inside it, from outside."""

    @property
    def name(self) -> str: ...

    def socket(self, family: int, type: int, proto: int = 0) -> socket.socket:
        """A socket that belongs to the namespace."""
        ...

    def netlink(self, protocol: int) -> NetlinkSocket:
        """A netlink socket that belongs to the namespace."""
        ...

    def run(self, argv: Sequence[str], *, input: str | None = None) -> str:
        """Run a program inside; return its output. Raises CommandError."""
        ...

    def call(self, fn: Callable[[], T]) -> T:
        """Call `fn` in a thread that is inside the namespace."""
        ...


class _Closer:
    """Closes sockets on threads: a packet socket takes the kernel milliseconds to let go of."""

    THREADS = 32

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[socket.socket, threading.Semaphore]] = (
            queue.SimpleQueue()
        )
        self._threads = 0
        self._lock = threading.Lock()

    def close(self, sockets: Sequence[socket.socket]) -> Callable[[], None]:
        """Start closing; the call that is returned waits until all are closed."""
        done = threading.Semaphore(0)
        with self._lock:
            wanted = min(len(sockets), self.THREADS)
            while self._threads < wanted:
                threading.Thread(target=self._work, daemon=True, name="close-sockets").start()
                self._threads += 1
        for sock in sockets:
            self._queue.put((sock, done))

        def wait() -> None:
            for _ in sockets:
                done.acquire()

        return wait

    def _work(self) -> None:
        while True:
            sock, done = self._queue.get()
            sock.close()
            done.release()


_closer = _Closer()


def close_on_threads(sockets: Sequence[socket.socket]) -> Callable[[], None]:
    """Close `sockets` without waiting for the kernel; call the result to wait."""
    return _closer.close(sockets)
