"""The trace rule meets one flow only, and goes away whatever happens to its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from small_world import CLIENT, VIP, World

from testbed.flow import Flow
from testbed.flow import fingerprint as fingerprints
from testbed.probe import Observer, Request, exchange
from testbed.probe.trace import Tracer
from testbed.probe.trace_rule import TABLE

pytestmark = pytest.mark.kernel

SEQUENCE = 0x11223344


def make_fingerprint() -> fingerprints.Fingerprint:
    return fingerprints.of_tcp(Flow("tcp", CLIENT, 40000, VIP, 80), SEQUENCE)


def tables(world: World, name: str) -> str:
    return world[name].run(["nft", "list", "tables"])


def test_other_traffic_makes_no_event(world: World) -> None:
    with Tracer(world.all(), make_fingerprint()) as tracer:
        outcome = exchange(world["client"], Request(VIP, 80))
        assert outcome.kind == "answered"
        assert tracer.drain() == []


def test_the_table_is_there_while_tracing_and_gone_after(world: World) -> None:
    before = world["w1"].run(["nft", "list", "ruleset"])
    with Tracer(world.all(), make_fingerprint()) as tracer:
        assert tracer.failed == {}
        assert TABLE in tables(world, "w1")
    assert TABLE not in tables(world, "w1")
    assert world["w1"].run(["nft", "list", "ruleset"]).count("\n") == before.count("\n")


def test_two_probes_at_the_same_time_follow_their_own_flows(world: World) -> None:
    with Tracer(world.all(), make_fingerprint()) as other:
        path = Observer(world.all()).follow(world["client"], Request(VIP, 80)).path
        assert path.unseen == ()
        assert path.hops[2].rules
        assert [hop.namespace for hop in path.hops] == ["client", "router", "w1", "web-0"]
        assert other.failed == {}
        assert tables(world, "w1").count(TABLE) == 1
    assert TABLE not in tables(world, "w1")


CHILD = """
import sys, time, ctypes, os, socket
sys.path[:0] = [{root!r}, {here!r}]
from small_world import NetNs
from testbed.flow import Flow, fingerprint
from testbed.probe.trace import Tracer
flow = Flow("tcp", "203.0.113.10", 1, "10.96.10.1", 80)
tracer = Tracer([NetNs("w1", {path!r})], fingerprint.of_tcp(flow, 5))
print(tracer.failed, flush=True)
time.sleep(60)
"""


def test_kill_9_leaves_no_trace_table(world: World) -> None:
    here = os.path.dirname(__file__)
    root = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    code = CHILD.format(root=root, here=here, path=f"/run/netns/{world.prefix}-w1")
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "{}"
    assert TABLE in tables(world, "w1")
    child.send_signal(signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 5
    while TABLE in tables(world, "w1") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert TABLE not in tables(world, "w1")


def test_a_namespace_without_conntrack_stays_without(world: World) -> None:
    """Tracing must not switch connection tracking on where no rule asked for it."""
    with Tracer(world.all(), make_fingerprint()):
        exchange(world["client"], Request(VIP, 80))

        def entries() -> str:
            with open("/proc/net/nf_conntrack") as file:
                return file.read()

        assert VIP not in world["router"].call(entries)


def test_known_sequence_numbers_start_ordinary_connections(world: World) -> None:
    from testbed.probe.exchange import perform, prepare

    prepared = prepare(world["client"], Request(VIP, 80))
    low = int.from_bytes(prepared.fingerprint.patterns[0].checks[0].low, "big")
    watcher = world["client"].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    watcher.settimeout(2)
    outcome = perform(prepared)
    sequences = set()
    while len(sequences) < 2:
        frame = watcher.recv(65536)
        if frame[12:14] == b"\x08\x00" and frame[23] == 6 and frame[47] & 0x02:
            sequences.add(int.from_bytes(frame[38:42], "big"))
    watcher.close()
    assert outcome.kind == "answered"
    assert low in sequences
