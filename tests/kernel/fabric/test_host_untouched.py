"""The host's own network namespace is the same before, during and after a lab."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.api.objects import Node
from testbed.control.podnet import pod_network
from testbed.emu.load import load_topology
from testbed.emu.net import Net
from testbed.fabric.fabric import Fabric

pytestmark = pytest.mark.kernel

COMMANDS = (
    ["ip", "-d", "link"],
    ["ip", "address"],
    ["ip", "rule"],
    ["ip", "-6", "rule"],
    ["ip", "route", "show", "table", "all"],
    ["ip", "-6", "route", "show", "table", "all"],
    ["iptables-save"],
    ["ip6tables-save"],
    ["nft", "list", "ruleset"],
)
#: What moves by itself: address lifetimes, packet counters, iptables-save's dates.
VOLATILE = re.compile(r"(valid|preferred)_lft \d+sec|expires \d+sec|\[\d+:\d+\]|# .*")


def host_state() -> dict[str, str]:
    state = {
        " ".join(argv): VOLATILE.sub("", subprocess.check_output(argv, text=True))
        for argv in COMMANDS
    }
    for path in sorted(Path("/proc/sys/net").rglob("*")):
        if path.is_file() and path.name != "nf_conntrack_count":
            try:
                state[str(path)] = path.read_text()
            except OSError:
                state[str(path)] = "not readable"
    return state


def deploy_a_cluster(lab: str) -> Callable[[], None]:
    fabric = Fabric(lab)
    spec = load_topology("three_nodes").spec()
    nodes = [
        Node(
            machine.name,
            {},
            tuple(("InternalIP", address) for address in machine.addresses),
            (f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"),
        )
        for number, machine in enumerate(spec.nodes, 1)
    ]
    network = pod_network("routes")
    fabric.deploy(spec.plan() + network.node_plan(nodes))
    fabric.deploy(network.pod_plan("pod", nodes[0], ["10.244.1.5", "fd00:10:244:1::5"]))
    return fabric.close


def build_a_net(lab: str) -> Callable[[], None]:
    net = Net(load_topology("two_zones"), lab=lab)
    net["w1"].cmd("ip addr")
    stop: Callable[[], None] = net.stop
    return stop


@pytest.mark.parametrize("start", [deploy_a_cluster, build_a_net])
def test_the_host_is_untouched(lab_name: str, start: Callable[[str], Callable[[], None]]) -> None:
    before = host_state()
    stop = start(lab_name)
    during = host_state()
    stop()
    assert during == before
    assert host_state() == before
