"""What containers print: a file each and an older one, with the times of lines in memory."""

from __future__ import annotations

import asyncio
import bisect
import os
import time
from array import array
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

#: Read at once from a log file, in bytes.
_PIECE = 65536


#: How much of a log is kept, in bytes: it lies in /run, which is memory. Half of it is a file that
#: grows, half the one before. Source: kubelet's containerLogMaxSize, of which it keeps 5.
SIZE_LIMIT = 10 << 20
#: Lines that come sooner after one another than this have one time (seconds).
GRAIN = 0.001


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


@dataclass(slots=True)
class _Segment:
    """A file and the part of the log in it: the positions from `start` on."""

    path: Path
    start: int
    size: int = 0

    @property
    def end(self) -> int:
        return self.start + self.size


class ContainerLog:
    """The log of one run of a container; `previous` is that of the run before.

    A position counts the bytes since the run began; the oldest are gone from a long log. What the
    files hold already was printed when they were last written to, as far as anybody knows.
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
        #: Where lines begin, and when the first of them was printed (seconds since the epoch).
        self._starts = array("q")
        self._times = array("d")
        self._at_start = True
        self._more: asyncio.Event | None = None
        self._segments: list[_Segment] = []
        for file in (_older(path), path):
            if file.exists():
                self._find(file)
        self._file = path.open("ab", buffering=0)
        if not self._segments or self._segments[-1].path != path:
            self._segments.append(_Segment(path, self._size))

    def _find(self, file: Path) -> None:
        """Take what an earlier process wrote."""
        about = file.stat()
        self._segments.append(_Segment(file, self._size, about.st_size))
        if about.st_size:
            self._mark(self._size - about.st_size, about.st_mtime)
            with file.open("rb") as text:
                text.seek(-1, os.SEEK_END)
                self._at_start = text.read() == b"\n"

    @property
    def _size(self) -> int:
        return self._segments[-1].end if self._segments else 0

    def append(self, data: bytes) -> None:
        """Something was printed; the oldest goes where more than SIZE_LIMIT is there."""
        if not data or self.closed:
            return
        now = self._clock()
        if self._segments[-1].size and self._segments[-1].size + len(data) > SIZE_LIMIT // 2:
            self._rotate()
        if self._at_start:
            self._mark(self._size, now)
        elif newline := data.find(b"\n") + 1:
            self._mark(self._size + newline, now)
        self._at_start = data.endswith(b"\n")
        self._file.write(data)
        self._segments[-1].size += len(data)
        self._tell()

    def append_line(self, line: str) -> None:
        """A whole line was printed."""
        self.append(f"{line}\n".encode())

    def _mark(self, position: int, now: float) -> None:
        """A line begins at `position`."""
        if not self._times or now - self._times[-1] >= GRAIN:
            self._starts.append(position)
            self._times.append(now)

    def _rotate(self) -> None:
        """Begin a new file; the one before the present one goes."""
        full = self._segments[-1]
        self._file.close()
        full.path = self.path.replace(_older(self.path))
        self._file = self.path.open("ab", buffering=0)
        self._segments = [full, _Segment(self.path, full.end)]
        gone = max(0, bisect.bisect_right(self._starts, full.start) - 1)
        del self._starts[:gone], self._times[:gone]

    def close(self) -> None:
        """The run has ended: followers come to an end."""
        if not self.closed:
            self.closed = True
            self._file.close()
            self._tell()

    def move(self, path: Path) -> None:
        """Have the files elsewhere."""
        for segment in self._segments:
            segment.path = segment.path.replace(path if segment.path == self.path else _older(path))
        self.path = path

    def delete(self) -> None:
        """Remove the files; who reads them goes on."""
        delete(self.path)

    def _tell(self) -> None:
        if self._more is not None:
            self._more.set()
            self._more = None

    async def read(self, request: LogRequest) -> AsyncGenerator[bytes, None]:
        """The wanted part, in pieces; ends with the run if it is followed."""
        left = request.limit_bytes
        reader = _Reader()
        try:
            reader.open(self._segments)
            position = self._first(request, reader)
            begins = True
            while left is None or left > 0:
                more = self._more = self._more or asyncio.Event()
                if position < self._size:
                    position, piece = reader.read(self._segments, position)
                    end = position + len(piece)
                    if request.timestamps:
                        piece = b"".join(self._stamped(position, piece, begins))
                        begins = piece.endswith(b"\n")
                    position = end
                    yield piece if left is None else piece[:left]
                    left = None if left is None else left - len(piece)
                elif not request.follow or self.closed:
                    return
                else:
                    await more.wait()
        except FileNotFoundError:
            return  # the container has gone
        finally:
            reader.close()

    def _stamped(self, position: int, piece: bytes, begins: bool) -> Iterator[bytes]:
        """The lines of a piece with their times; the first has one if it `begins` there."""
        for line in _lines(piece):
            if begins:
                at = max(0, bisect.bisect_right(self._starts, position) - 1)
                yield f"{_rfc3339(self._times[at])} ".encode()
            yield line
            begins = True
            position += len(line)

    def _first(self, request: LogRequest, reader: _Reader) -> int:
        """The position of the first line that is wanted."""
        first = self._segments[0].start
        if request.tail is not None:
            first = self._tail(request.tail, reader)
        if request.since is not None:
            at = bisect.bisect_left(self._times, self._clock() - request.since)
            first = max(first, self._starts[at] if at < len(self._starts) else self._size)
        return first

    def _tail(self, lines: int, reader: _Reader) -> int:
        """Where the last `lines` lines begin; the last may be unfinished."""
        position = self._size
        if lines == 0:
            return position
        left = lines + self._at_start  # newlines from the end, that before the first included
        for segment in reversed(self._segments):
            while position > segment.start:
                begin = max(segment.start, position - _PIECE)
                _, piece = reader.read(self._segments, begin, position - begin)
                if (found := piece.count(b"\n")) >= left:
                    at = len(piece)
                    for _ in range(left):
                        at = piece.rfind(b"\n", 0, at)
                    return begin + at + 1
                left -= found
                position = begin
        return position


class _Reader:
    """Reads a log's files, which may move or go meanwhile."""

    def __init__(self) -> None:
        self._files: list[tuple[_Segment, BinaryIO]] = []

    def open(self, segments: list[_Segment]) -> None:
        """Have these files open, and no others."""
        known = {id(segment): file for segment, file in self._files}
        for segment, file in self._files:
            if all(segment is not each for each in segments):
                file.close()
        self._files = [(each, known.get(id(each)) or each.path.open("rb")) for each in segments]

    def read(
        self, segments: list[_Segment], position: int, size: int = _PIECE
    ) -> tuple[int, bytes]:
        """A piece from `position`, or from the oldest that is left, and where that is."""
        self.open(segments)
        position = max(position, segments[0].start)
        for segment, file in self._files:
            if position < segment.end:
                file.seek(position - segment.start)
                return position, file.read(min(size, segment.end - position))
        return position, b""

    def close(self) -> None:
        for _, file in self._files:
            file.close()
        self._files = []


def delete(path: Path) -> None:
    """Remove the files of a log, if they are there."""
    for file in (path, _older(path)):
        file.unlink(missing_ok=True)


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _lines(text: bytes) -> list[bytes]:
    """What ends in newlines alone, carriage returns being a part of it."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _rfc3339(moment: float) -> str:
    whole = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int(moment % 1 * 1e9):09d}Z"
