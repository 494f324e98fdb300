"""What of a container's log a reader gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.runtime import logs
from testbed.runtime.logs import ContainerLog


@dataclass(frozen=True)
class Wanted:
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    limit_bytes: int | None = None


class Time:
    def __init__(self) -> None:
        self.now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


async def text(log: ContainerLog, wanted: Wanted) -> str:
    return b"".join([piece async for piece in log.read(wanted)]).decode()


def read(log: ContainerLog, wanted: Wanted) -> str:
    return asyncio.run(text(log, wanted))


def make(tmp_path: Path) -> tuple[ContainerLog, Time]:
    time = Time()
    return ContainerLog(tmp_path / "c.log", clock=time), time


def test_a_tail_counts_lines_also_one_that_is_not_finished(tmp_path: Path) -> None:
    log, _ = make(tmp_path)
    log.append(b"one\ntw")
    log.append(b"o\nthree")
    assert read(log, Wanted()) == "one\ntwo\nthree"
    assert read(log, Wanted(tail=2)) == "two\nthree"
    assert read(log, Wanted(tail=0)) == ""


def test_since_counts_from_the_lines_own_times(tmp_path: Path) -> None:
    log, time = make(tmp_path)
    log.append(b"old\n")
    time.now += 100
    log.append(b"new\n")
    assert read(log, Wanted(since=50)) == "new\n"


def test_every_line_has_its_time(tmp_path: Path) -> None:
    log, time = make(tmp_path)
    log.append(b"one\n")
    time.now += 1
    log.append(b"two\n")
    assert read(log, Wanted(timestamps=True)) == (
        "2027-01-15T08:00:00.500000000Z one\n2027-01-15T08:00:01.500000000Z two\n"
    )


def test_a_limit_cuts_in_bytes(tmp_path: Path) -> None:
    log, _ = make(tmp_path)
    log.append(b"one\ntwo\n")
    assert read(log, Wanted(limit_bytes=5)) == "one\nt"


def test_a_follower_gets_what_comes_until_the_run_ends(tmp_path: Path) -> None:
    log, _ = make(tmp_path)
    log.append(b"one\n")

    async def body() -> str:
        reading = asyncio.create_task(text(log, Wanted(follow=True)))
        await asyncio.sleep(0)
        log.append(b"two\n")
        await asyncio.sleep(0)
        log.close()
        return await reading

    assert asyncio.run(body()) == "one\ntwo\n"


def test_a_log_goes_on_where_an_earlier_process_left_it(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    first = ContainerLog(path)
    first.append(b"one\ntwo\nthr")
    again = ContainerLog(path)
    again.append(b"ee\nfour\n")
    assert path.read_text().splitlines() == ["one", "two", "three", "four"]
    assert read(again, Wanted(tail=2)) == "three\nfour\n"


def test_a_log_stops_growing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SIZE_LIMIT", 1000)
    log = logs.ContainerLog(tmp_path / "log")
    for _ in range(100):
        log.append_line("x" * 99)
    text = (tmp_path / "log").read_text()
    assert text.endswith("[the log has reached 1000 bytes; the rest is dropped]\n")
    assert len(text) < 1200
