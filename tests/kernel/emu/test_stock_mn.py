"""Mininet's own command with our topologies, without its machine-wide clean-up.

Each run is in PID and mount namespaces of its own: should the clean-up run, it finds no process to
kill, and its commands are our decoys.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[3]
MN = Path(sys.executable).parent / "mn"
#: What the clean-up would call; each decoy writes down that it was called.
DECOYS = ("killall", "pkill", "pgrep", "ovs-vsctl", "rm")

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def mn() -> Iterator[Run]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        calls = Path(place, "calls")
        for decoy in DECOYS:
            path = Path(place, decoy)
            path.write_text(f'#!/bin/sh\necho "{decoy} $*" >>{calls}\nexit 1\n')
            path.chmod(0o755)

        def run(*arguments: str, script: str = "") -> tuple[int, str, str]:
            environment = {
                **os.environ,
                "PATH": f"{place}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
            }
            done = subprocess.run(
                ["unshare", "-pfm", "--mount-proc", str(MN), *arguments],
                input=script,
                capture_output=True,
                text=True,
                env=environment,
                cwd=ROOT,
                timeout=60,
            )
            called = calls.read_text() if calls.exists() else ""
            return done.returncode, done.stdout + done.stderr, called

        yield run


@pytest.mark.parametrize("name", ["single_node", "three_nodes", "two_zones"])
def test_pingall_passes(mn: Run, name: str) -> None:
    custom = f"topologies/{name}.py"
    status, output, called = mn("--custom", custom, "--topo", name, "--test", "pingall")
    assert (status, called) == (0, "")
    assert "*** Results: 0% dropped" in output


def test_the_cli_works(mn: Run) -> None:
    _, output, called = mn(
        *("--custom", "topologies/three_nodes.py"),
        *("--topo", "three_nodes,families=ipv4"),
        script="links\ndump\nw1 ping -c1 client\npy w2.IP()\nexit\n",
    )
    assert called == ""
    assert "w1-eth0<->cluster-eth2 (OK OK)" in output
    assert "<FabricNode client: client-eth0:203.0.113.10>" in output
    assert "1 packets transmitted, 1 received" in output
    assert "172.18.0.12" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--topo", "three_nodes", "--test", "no-such-test"), "no-such-test is unknown"),
        (("--topo", "three_nodes,zones=9"), "option 'zones' is unknown"),
        (("--topo", "no_such_topo"), "Invalid topo name"),
        (("--topo", "three_nodes", "--nat"), "host's own network namespace"),
    ],
)
def test_a_crash_cleans_up_this_net_only(mn: Run, arguments: tuple[str, ...], message: str) -> None:
    _, output, called = mn("--custom", "topologies/three_nodes.py", *arguments)
    assert message in output
    assert "Caught exception" in output
    assert called == ""
    assert not list(Path("/run/testbed").glob("mn-*"))


def test_the_decoys_would_notice_mininet_s_clean_up(mn: Run) -> None:
    _, _, called = mn("--topo", "no_such_topo")
    assert "pkill -9 -f" in called
