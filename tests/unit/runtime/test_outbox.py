"""What waits for a control plane: how much, and what of it is never lost."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any, cast

import pytest

from testbed.runtime import outbox
from testbed.runtime.outbox import Outbox


class Listener:
    """A connection; one that `stalls` takes what it is given and asks for no more."""

    def __init__(self, *, stalls: bool = False) -> None:
        self.got: list[dict[str, Any]] = []
        self._stalls = stalls

    def write(self, data: bytes) -> None:
        self.got.append(json.loads(data))

    async def drain(self) -> None:
        if self._stalls:
            await asyncio.Event().wait()


async def listen(box: Outbox, *, stalls: bool = False) -> Listener:
    listener = Listener(stalls=stalls)
    box.send_to(cast(asyncio.StreamWriter, listener))
    for _ in range(5):
        await asyncio.sleep(0)
    return listener


def test_what_is_not_confirmed_is_told_again() -> None:
    async def body() -> None:
        box = Outbox(lambda key: None)
        for number in range(3):
            box.add("k", line=str(number))
        box.add("k", exited=7)
        assert [e.get("line") for e in (await listen(box)).got] == ["0", "1", "2", None]
        box.confirmed(2)
        box.send_to(None)
        assert box.ended() == ["k"]
        again = (await listen(box)).got
        assert again == [
            {"number": 3, "key": "k", "line": "2"},
            {"number": 4, "key": "k", "exited": 7},
        ]
        box.confirmed(4)
        assert box.ended() == []
        assert (await listen(box)).got == []

    asyncio.run(body())


def test_a_key_keeps_its_newest_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SIZE_LIMIT", 100_000)

    async def body() -> None:
        box = Outbox(lambda key: None)
        box.add("quiet", line="hello")
        box.add("loud", exited=1)
        for number in range(1000):
            box.add("loud", line=f"{number} {'x' * 1000}")
        box.add("loud", exited=2)
        got = (await listen(box)).got
        assert [e["exited"] for e in got if "exited" in e] == [1, 2]
        assert got[0] == {"number": 1, "key": "quiet", "line": "hello"}
        lines = [e["line"] for e in got if e["key"] == "loud" and "line" in e]
        assert [int(line.split()[0]) for line in lines] == list(range(1000 - len(lines), 1000))
        assert 50 < len(lines) < 100

    asyncio.run(body())


def test_a_listener_that_is_behind_makes_a_key_full_until_it_confirms() -> None:
    async def body() -> None:
        box = Outbox(lambda key: None)
        listener = await listen(box, stalls=True)
        while not box.is_full("k", was=False):
            box.add("k", line="x" * 1000)
        assert len(listener.got) <= 1
        last = box._number
        box.confirmed(last // 4)
        assert box.is_full("k", was=True)
        assert not box.is_full("other", was=False)
        box.confirmed(last)
        assert not box.is_full("k", was=True)

    asyncio.run(body())


def test_nobody_listening_stops_nothing() -> None:
    async def body() -> None:
        box = Outbox(lambda key: None)
        for _ in range(3000):
            box.add("k", line="x" * 1000)
        assert not box.is_full("k", was=False)
        box.forget("k")
        assert (await listen(box)).got == []

    asyncio.run(body())


@pytest.mark.parametrize("somebody", [False, True])
def test_what_was_dropped_takes_no_memory(somebody: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SIZE_LIMIT", 10_000)

    async def body() -> None:
        box = Outbox(lambda key: None)
        if somebody:
            await listen(box, stalls=True)
        tracemalloc.start()
        for number in range(20_000):
            box.add("k", line=str(number))
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert taken < 200_000

    asyncio.run(body())
