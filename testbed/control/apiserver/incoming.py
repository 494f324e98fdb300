"""What comes from the client of an exec or attach, whatever carries it."""

from __future__ import annotations

import asyncio
import json

#: Sizes of a terminal that wait to be looked at; of more the newest are kept.
SIZES_WAITING = 16
#: Input that may wait for a slow program before the client is slowed down, in messages.
INPUT_WAITING = 64


class Incoming:
    """The reading half of a `Streams`."""

    def __init__(self, *, ended: bool = False) -> None:
        self._input: asyncio.Queue[bytes] = asyncio.Queue(INPUT_WAITING)
        self._sizes: asyncio.Queue[tuple[int, int]] = asyncio.Queue(SIZES_WAITING)
        self._ended = ended

    async def read(self) -> bytes:
        """The next input; b"" at its end."""
        if self._ended:
            return b""
        data = await self._input.get()
        self._ended = not data
        return data

    async def resized(self) -> tuple[int, int]:
        """The terminal's next size: columns and rows."""
        return await self._sizes.get()

    async def take_input(self, data: bytes) -> None:
        """Input has come; b"" is its end. Waits while much of it has not been read."""
        await self._input.put(data)

    def take_size(self, text: bytes | str) -> None:
        """A size has come, as a JSON object; raises ValueError, KeyError or TypeError."""
        size = json.loads(text)
        columns_and_rows = int(size["Width"]), int(size["Height"])
        if self._sizes.full():
            self._sizes.get_nowait()
        self._sizes.put_nowait(columns_and_rows)
