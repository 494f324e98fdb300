"""What of a container's log a reader gets."""

from __future__ import annotations

import asyncio
import tracemalloc
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


def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ContainerLog, Time]:
    monkeypatch.setattr(logs, "SIZE_LIMIT", 1000)
    return make(tmp_path)


def test_a_long_log_keeps_its_newest_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = short(tmp_path, monkeypatch)
    for number in range(100):
        log.append_line(f"{number:099}")
    kept = [int(line) for line in read(log, Wanted()).splitlines()]
    assert kept == list(range(100 - len(kept), 100))
    assert 5 <= len(kept) <= 10
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000
    assert read(log, Wanted(tail=7)).splitlines() == [f"{n:099}" for n in range(93, 100)]


def test_lines_keep_their_times_when_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, time = short(tmp_path, monkeypatch)
    for number in range(30):
        time.now += 1
        log.append_line(f"{number:099}")
    for line in read(log, Wanted(timestamps=True)).splitlines():
        moment, number = line.split()
        assert moment == f"2027-01-15T08:00:{int(number) + 1:02}.500000000Z"
    assert read(log, Wanted(since=1.5)).splitlines() == [f"{n:099}" for n in (28, 29)]


def test_a_follower_goes_on_while_the_log_begins_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, _ = short(tmp_path, monkeypatch)

    async def body() -> str:
        reading = asyncio.create_task(text(log, Wanted(follow=True)))
        for number in range(50):
            log.append_line(f"{number:099}")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        log.close()
        return await reading

    assert [int(line) for line in asyncio.run(body()).splitlines()] == list(range(50))


def test_a_long_log_goes_on_where_an_earlier_process_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = short(tmp_path, monkeypatch)
    for number in range(18):
        first.append_line(f"{number:099}")
    before = read(first, Wanted())
    again, _ = make(tmp_path)
    assert read(again, Wanted()) == before
    again.append_line("new")
    assert read(again, Wanted(tail=2)) == f"{17:099}\nnew\n"


def test_what_moves_or_goes_is_read_to_its_end(tmp_path: Path) -> None:
    log, _ = make(tmp_path)
    log.append(b"one\n")

    async def body() -> str:
        reading = asyncio.create_task(text(log, Wanted(follow=True)))
        await asyncio.sleep(0)
        log.move(tmp_path / "before.log")
        log.append(b"two\n")
        await asyncio.sleep(0)
        log.append(b"three\n")
        log.close()
        log.delete()
        return await reading

    assert asyncio.run(body()) == "one\ntwo\nthree\n"
    assert list(tmp_path.iterdir()) == []


def test_times_cost_little_memory(tmp_path: Path) -> None:
    log, _ = make(tmp_path)
    tracemalloc.start()
    for _ in range(20):
        log.append(b"y\n" * 32768)
    assert tracemalloc.get_traced_memory()[0] < 300_000  # of 1.3 million bytes
    tracemalloc.stop()


def test_a_carriage_return_ends_no_line(tmp_path: Path) -> None:
    log, _ = make(tmp_path)
    log.append(b"one\rtwo\n")
    assert read(log, Wanted(timestamps=True)) == "2027-01-15T08:00:00.500000000Z one\rtwo\n"
