"""What the API server asks of whoever runs the Pods: logs, exec, attach, connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from testbed.api.documents import Document

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What part of a container's log is wanted. `tail` in lines, `since` in seconds."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    limit_bytes: int | None = None


class Streams(Protocol):
    """The client's end of an exec or attach."""

    async def read(self) -> bytes:
        """The client's next input; b"" once it has ended."""

    async def write(self, data: bytes, stream: int = STDOUT) -> None:
        """Send output; `stream` is STDOUT or STDERR. Raises ConnectionError once it left."""

    async def resized(self) -> tuple[int, int]:
        """The next size of the client's terminal: columns, rows."""


class PodBackend(Protocol):
    """Runs Pods. `container` is a name that the Pod has. Raises StatusError where it can't."""

    def logs(
        self, pod: Document, container: str, options: LogOptions
    ) -> AsyncGenerator[bytes, None]:
        """The log's bytes, in pieces; ends with the log unless it is followed."""

    async def execute(
        self,
        pod: Document,
        container: str,
        command: Sequence[str],
        streams: Streams,
        *,
        tty: bool,
        stdin: bool,
    ) -> int:
        """Run `command` in the container; returns its exit status."""

    async def attach(
        self, pod: Document, container: str, streams: Streams, *, tty: bool, stdin: bool
    ) -> int:
        """Join the container's own process; returns its exit status."""

    async def dial(
        self, pod: Document, port: int, address: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection to `port` inside the Pod: of `address`, or of its loopback.

        Raises OSError.
        """
