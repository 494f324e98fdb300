"""A live capture writes what was asked for, and ends with its reader."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from small_world import VIP, World

from testbed import shell
from testbed.errors import UsageError
from testbed.probe import Request, exchange
from testbed.probe.bpf import compile_filter
from testbed.probe.live import Recorded, namespaces_of, record

pytestmark = pytest.mark.kernel


def test_only_the_named_interfaces_and_the_filters_packets_are_written(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "live.pcapng"
    ready, stop = threading.Event(), threading.Event()
    results: list[Recorded] = []
    interfaces = {"router/c0", "w1/eth0"}
    with file.open("wb") as stream:

        def work() -> None:
            namespaces = namespaces_of(interfaces, world.all())
            program = compile_filter("tcp port 80")
            results.append(
                record(
                    namespaces,
                    stream,
                    stop,
                    interfaces=interfaces,
                    program=program,
                    ready=ready.set,
                )
            )

        thread = threading.Thread(target=work)
        thread.start()
        assert ready.wait(5)
        exchange(world["client"], Request(VIP, 80, "udp"))
        assert exchange(world["client"], Request(VIP, 80)).kind == "answered"
        stop.set()
        thread.join()
    fields = ("-e", "frame.interface_name", "-e", "tcp.port", "-e", "udp.port")
    listing = shell.run(["tshark", "-r", str(file), "-T", "fields", *fields])
    rows = [line.split("\t") for line in listing.splitlines()]
    assert {row[0] for row in rows} == interfaces
    assert all("80" in row[1].split(",") for row in rows)
    assert results[0].written == len(rows)
    assert results[0].dropped == {}


def test_a_reader_that_goes_away_ends_the_capture(world: World) -> None:
    reading, writing = os.pipe()
    done = threading.Event()
    ready = threading.Event()

    def work() -> None:
        with os.fdopen(writing, "wb", buffering=0) as stream:
            record(world.all(), stream, threading.Event(), ready=ready.set)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert ready.wait(5)
    os.close(reading)
    for _ in range(5):
        exchange(world["client"], Request(VIP, 80))
    assert done.wait(5)


@pytest.mark.parametrize("name", ["eth0", "nowhere/eth0", "w1/"])
def test_an_unknown_interface_is_refused_with_the_namespaces(world: World, name: str) -> None:
    with pytest.raises(UsageError, match=r"no NAMESPACE/INTERFACE; namespaces: client, "):
        namespaces_of([name], world.all())


def test_a_filter_that_is_none_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="filter 'tcp prt 80'"):
        compile_filter("tcp prt 80")
