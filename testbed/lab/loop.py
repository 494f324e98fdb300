"""The event loop of a lab, in a thread of its own, and how other threads have work done in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An asyncio loop in a thread. The control plane and all servers of a lab live in it."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name=f"lab-{name}", daemon=True
        )
        self._thread.start()

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the loop's thread; return or raise what it does."""
        if threading.current_thread() is self._thread:
            return work()

        async def body() -> T:
            return work()

        return self.wait(body())

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop; return or raise what it does. Not for the loop's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        if self.loop.is_closed():
            return

        async def cancel() -> None:
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.wait(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
