"""What is under way in Pods: checks, and programs that were asked to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeAlias

#: How long `settled` waits (seconds).
PATIENCE = 0.3

#: A container: its Pod's uid, its name.
Key: TypeAlias = tuple[str, str]


class Pending:
    """Tasks and awaited ends of one lab; belongs to the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: set[Key] = set()
        self._change = asyncio.Event()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` in the background."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def await_end(self, key: Key) -> None:
        """A container's program was asked to end."""
        self._ending.add(key)

    def ended(self, key: Key) -> None:
        """It has."""
        self._ending.discard(key)
        self._changed()

    def forget(self, uid: str) -> None:
        """Nobody waits for a Pod's programs any more."""
        self._ending = {key for key in self._ending if key[0] != uid}

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed()

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def settled(self) -> None:
        """Wait until nothing is under way, not for long."""
        end = self._loop.time() + PATIENCE
        try:
            async with asyncio.timeout_at(end):
                while self._tasks or self._ending:
                    await self._change.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._tasks):
            task.cancel()
