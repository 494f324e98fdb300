"""The kernel's rule trace of one flow, in many namespaces at once."""

from __future__ import annotations

import contextlib
import errno
import select
from collections.abc import Callable, Sequence

from testbed import netlink as nl
from testbed.flow.fingerprint import Fingerprint
from testbed.probe import trace_rule
from testbed.probe.namespaces import Namespace, close_on_threads
from testbed.probe.trace_events import TRACE_MESSAGE, TraceEvent, decode

NFNLGRP_NFTRACE = 9
_ADD_MEMBERSHIP = 1
#: Enough for 10,000 events between two reads.
_BUFFER = 1 << 23


class _Watch:
    """One namespace: the socket that owns the trace table and hears the events."""

    def __init__(self, namespace: Namespace, fingerprint: Fingerprint) -> None:
        self.name = namespace.name
        self.family = fingerprint.family
        self.lost = 0
        self.link = namespace.netlink(nl.NETLINK_NETFILTER)
        try:
            self.table = self._install(fingerprint)
            self.link.sock.setsockopt(
                nl.NetlinkSocket.SOL_NETLINK, _ADD_MEMBERSHIP, NFNLGRP_NFTRACE
            )
            self.link.sock.setblocking(False)
        except BaseException:
            self.link.close()
            raise

    def _install(self, fingerprint: Fingerprint) -> str:
        try:
            self._commit(trace_rule.install(fingerprint))
        except nl.NetlinkError as error:
            # The name is taken, or its owner is another socket.
            if error.errno not in (errno.EEXIST, errno.EPERM):
                raise
            own = f"{trace_rule.TABLE}-{self.link.sock.getsockname()[0]}"
            self._commit(trace_rule.install(fingerprint, own))
            return own
        return trace_rule.TABLE

    def _commit(self, transaction: bytes) -> None:
        """Send one transaction and wait for its last acknowledgement. Raises NetlinkError."""
        self.link.sock.send(transaction)
        last = [each.sequence for each in nl.messages(transaction)][-2]  # before the batch's end
        failure: nl.NetlinkError | None = None
        while True:
            for received in nl.messages(self.link.sock.recv(1 << 16)):
                if received.kind != nl.NLMSG_ERROR:
                    continue
                code, words = nl.error_of(received)
                if code and failure is None:
                    failure = nl.NetlinkError(code, received.sequence, words)
                if received.sequence == last:
                    if failure is not None:
                        raise failure
                    return

    def read(self, take: Callable[[TraceEvent], None]) -> None:
        while True:
            try:
                data = self.link.sock.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
                continue
            for received in nl.messages(data):
                if received.kind == TRACE_MESSAGE:
                    take(decode(self.name, received.payload))

    def remove(self) -> None:
        """Take the table away; the kernel would do it with the socket."""
        with contextlib.suppress(OSError):
            self.link.sock.setsockopt(nl.NetlinkSocket.SOL_NETLINK, 2, NFNLGRP_NFTRACE)
            self.link.sock.setblocking(True)
            self.link.sock.settimeout(1.0)
            self._commit(trace_rule.remove(self.family, self.table))


class Tracer:
    """Traces the packets with `fingerprint` in `namespaces` from construction until `close`.

    `failed` maps a namespace where no trace could be set up to the reason; `lost` counts overflows
    by namespace. Nothing but packets with the fingerprint meets the trace rule.
    """

    def __init__(self, namespaces: Sequence[Namespace], fingerprint: Fingerprint) -> None:
        self._watches: list[_Watch] = []
        self._poll = select.epoll()
        self._by_number: dict[int, _Watch] = {}
        self.failed: dict[str, str] = {}
        for namespace in namespaces:
            try:
                watch = _Watch(namespace, fingerprint)
            except OSError as error:
                self.failed[namespace.name] = error.strerror or str(error)
                continue
            self._watches.append(watch)
            self._by_number[watch.link.fileno()] = watch
            self._poll.register(watch.link.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Readable while events wait."""
        return self._poll.fileno()

    @property
    def lost(self) -> dict[str, int]:
        return {watch.name: watch.lost for watch in self._watches if watch.lost}

    def drain(self) -> list[TraceEvent]:
        """The events that wait; those of one namespace are in order."""
        events: list[TraceEvent] = []
        for number, _ in self._poll.poll(0, len(self._watches) or 1):
            self._by_number[number].read(events.append)
        return events

    def close(self) -> None:
        """Remove the trace tables."""
        self._poll.close()
        for watch in self._watches:
            watch.remove()
        # The kernel waits for its grace periods when such a socket closes: 5 ms each.
        close_on_threads([watch.link.sock for watch in self._watches])
        self._watches = []

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
