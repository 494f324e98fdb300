"""nf_tables transactions: send a batch, take it all or nothing, name what was refused."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from testbed.errors import TestbedError
from testbed.netlink import (
    NETLINK_NETFILTER,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    NetlinkSocket,
    Received,
    error_of,
    messages,
)
from testbed.proxy.kernel.messages import NEWELEMENT, NEWRULE, NEWSET, Message

BATCH_BEGIN = 0x10
BATCH_END = 0x11

T = TypeVar("T")

_HEADER = struct.Struct("=IHHII")
_BATCH = struct.pack(">BBH", 0, 0, 10)


class Namespace(Protocol):
    """What the proxy needs of a node's network namespace."""

    @property
    def name(self) -> str: ...

    def netlink(self, protocol: int) -> NetlinkSocket:
        """A netlink socket opened in the namespace."""

    def run(self, argv: Sequence[str], *, input: str | bytes | None = None) -> str:
        """Run a program in the namespace; its standard output. Raises CommandError."""

    def call(self, fn: Callable[[], T]) -> T:
        """Run `fn` in a thread inside the namespace; return or raise what it does."""


class RuleError(TestbedError):
    """The kernel refused a transaction: nothing of it was done.

    `table` and `line` name the first refused part, `reason` and `code` (errno) are the kernel's.
    """

    def __init__(self, namespace: str, table: str, line: str, reason: str, code: int) -> None:
        self.code = code
        self.namespace = namespace
        self.table = table
        self.line = line
        self.reason = reason
        super().__init__(f"{namespace}: table {table}: {reason}: {line}")


class Transactions:
    """One namespace's door to nf_tables."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace.name
        self.netlink = namespace.netlink(NETLINK_NETFILTER)
        self._room = 0
        self.count = 0

    def close(self) -> None:
        self.netlink.close()

    def commit(self, batch: Sequence[Message]) -> dict[int, Received]:
        """Do all of `batch` or nothing; return the echoed answers by place in the batch.

        Raises RuleError for the first message that the kernel refuses. Where an ordinary user's
        send buffer is too small for one transaction, it takes several, cut
        where a chain's rules end.
        """
        size = sum(len(message.payload) + 16 for message in batch)
        room = self._room_for(size)
        if size <= room:
            return self._commit(batch)
        echoed: dict[int, Received] = {}
        for start, end in parts(batch, room):
            answers = self._commit(batch[start:end])
            echoed.update((start + place, answer) for place, answer in answers.items())
        return echoed

    def _commit(self, batch: Sequence[Message]) -> dict[int, Received]:
        if not batch:
            return {}
        first = self.netlink.next_sequence() + 1
        data = self._packed(batch, first)
        self._drain()
        self.count += 1
        try:
            self.netlink.sock.send(data)
        except OSError as error:
            raise RuleError(
                self.namespace,
                batch[0].table,
                f"a transaction of {len(batch)} parts, {len(data)} bytes",
                os.strerror(error.errno or 0),
                error.errno or 0,
            ) from error
        return self._answers(batch, first)

    def _packed(self, batch: Sequence[Message], first: int) -> bytes:
        pack = _HEADER.pack
        parts = [pack(20, BATCH_BEGIN, NLM_F_REQUEST, first - 1, 0), _BATCH]
        add = parts.append
        sequence = first
        for kind, flags, payload, _, _ in batch:
            add(pack(16 + len(payload), kind, NLM_F_REQUEST | flags, sequence, 0))
            add(payload)
            sequence += 1
        add(pack(20, BATCH_END, NLM_F_REQUEST, sequence, 0))
        add(_BATCH)
        for _ in range(len(batch) + 1):
            self.netlink.next_sequence()
        return b"".join(parts)

    def _room_for(self, size: int) -> int:
        """A transaction is one datagram: how large may it be, if it should be `size`?"""
        wanted = size + 4096
        if wanted > self._room:
            self._room = self.netlink.grow_send_buffer(wanted)
        return self._room - 4096

    def _drain(self) -> None:
        """Forget what an earlier, refused transaction left unread."""
        while True:
            try:
                self.netlink.sock.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _answers(self, batch: Sequence[Message], first: int) -> dict[int, Received]:
        """The kernel has worked through the batch when `send` returns: read what it said."""
        echoed: dict[int, Received] = {}
        refused: tuple[int, int, str] | None = None
        while True:
            try:
                data = self.netlink.sock.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                refused = refused or (0, errno.ENOBUFS, "")
                continue
            for received in messages(data):
                place = received.sequence - first
                if received.kind == NLMSG_ERROR:
                    code, words = error_of(received)
                    if code and (refused is None or place < refused[0]):
                        refused = (place, code, words)
                # Not the generation that is announced too, under some message's number.
                elif 0 <= place < len(batch) and received.kind == batch[place].kind:
                    echoed[place] = received
        if refused is not None:
            place, code, words = refused
            blamed = batch[min(max(place, 0), len(batch) - 1)]
            raise RuleError(
                self.namespace, blamed.table, blamed.words, words or os.strerror(code), code
            )
        return echoed


def parts(batch: Sequence[Message], room: int) -> Iterator[tuple[int, int]]:
    """Cut `batch` into pieces of at most `room` bytes.

    If possible not between a chain's rules, nor between an anonymous set and the rule it is for.
    """
    start, cut, size, since_cut = 0, 0, 0, 0
    previous = 0
    for place, message in enumerate(batch):
        length = len(message.payload) + 16
        if message.kind != NEWRULE and previous not in (NEWSET, NEWELEMENT):
            cut, since_cut = place, 0
        previous = message.kind
        if size + length > room and place > start:
            end = cut if cut > start else place
            yield start, end
            size = since_cut if end == cut else 0
            start = end
        size += length
        since_cut += length
    yield start, len(batch)
