"""What containers print: a file each, with the time of every line beside it in memory."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

#: Read at once from a log file, in bytes.
_PIECE = 65536


#: How large a log file grows, in bytes: they lie in /run, which is memory. Source: kubelet's
#: containerLogMaxSize.
SIZE_LIMIT = 10 << 20


class LogRequest(Protocol):
    """What part of a log is wanted (control.apiserver.pods.LogOptions)."""

    @property
    def follow(self) -> bool: ...
    @property
    def previous(self) -> bool: ...
    @property
    def timestamps(self) -> bool: ...
    @property
    def tail(self) -> int | None: ...
    @property
    def since(self) -> float | None: ...
    @property
    def limit_bytes(self) -> int | None: ...


class ContainerLog:
    """The log of one run of a container; `previous` is that of the run before.

    What the file holds already was printed when it was last written to, as far as anybody knows.
    `append` and `close` belong to the event loop's thread.
    """

    def __init__(
        self,
        path: Path,
        previous: ContainerLog | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.previous = previous
        if previous is not None:
            previous.previous = None
        self.closed = False
        self._clock = clock
        self._file = path.open("ab", buffering=0)
        self._full = False
        self._size = 0
        #: Of every line: where it begins, and when (seconds since the epoch).
        self._starts: list[int] = []
        self._times: list[float] = []
        self._at_start = True
        self._more: asyncio.Event | None = None
        if self._file.tell():
            data = path.read_bytes()
            self._note(data, path.stat().st_mtime)
            self._size = len(data)

    def append(self, data: bytes) -> None:
        """Something was printed; what comes after SIZE_LIMIT is dropped, and a line says so."""
        if self._full:
            return
        if self._size + len(data) > SIZE_LIMIT:
            self._full = True
            data = f"\n[the log has reached {SIZE_LIMIT} bytes; the rest is dropped]\n".encode()
        self._note(data, self._clock())
        self._file.write(data)
        self._size += len(data)
        self._tell()

    def append_line(self, line: str) -> None:
        """A whole line was printed."""
        self.append(f"{line}\n".encode())

    def _note(self, data: bytes, now: float) -> None:
        """Remember where the lines of `data` begin, which comes after all that there is."""
        position = 0
        while position < len(data):
            if self._at_start:
                self._starts.append(self._size + position)
                self._times.append(now)
            end = data.find(b"\n", position)
            self._at_start = end >= 0
            position = end + 1 if end >= 0 else len(data)

    def close(self) -> None:
        """The run has ended: followers come to an end."""
        if not self.closed:
            self.closed = True
            self._file.close()
            self._tell()

    def _tell(self) -> None:
        if self._more is not None:
            self._more.set()
            self._more = None

    async def read(self, request: LogRequest) -> AsyncGenerator[bytes, None]:
        """The wanted part, in pieces; ends with the run if it is followed."""
        line = self._first_line(request)
        left = request.limit_bytes
        position = self._starts[line] if line < len(self._starts) else self._size
        with self.path.open("rb") as file:
            while left is None or left > 0:
                more = self._more = self._more or asyncio.Event()
                end = self._line_end(line) if request.timestamps else self._size
                if position < end:
                    file.seek(position)
                    piece = file.read(min(_PIECE, end - position))
                    if request.timestamps:
                        if position == self._starts[line]:
                            piece = f"{_rfc3339(self._times[line])} ".encode() + piece
                        position = file.tell()
                        line += position == end and not self._open_line(line)
                    else:
                        position = file.tell()
                    yield piece if left is None else piece[:left]
                    left = None if left is None else left - len(piece)
                elif not request.follow or self.closed:
                    return
                else:
                    await more.wait()

    def _first_line(self, request: LogRequest) -> int:
        first = 0
        if request.tail is not None:
            first = max(0, len(self._starts) - request.tail)
        if request.since is not None:
            first = max(first, bisect.bisect_left(self._times, self._clock() - request.since))
        return first

    def _line_end(self, line: int) -> int:
        return self._starts[line + 1] if line + 1 < len(self._starts) else self._size

    def _open_line(self, line: int) -> bool:
        return line + 1 == len(self._starts) and not self._at_start


def _rfc3339(moment: float) -> str:
    whole = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int(moment % 1 * 1e9):09d}Z"
