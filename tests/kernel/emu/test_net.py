"""Mininet's own API on the fabric."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mininet.topo import LinearTopo
from mininet.util import dumpNodeConnections

from testbed.emu.load import load_topology
from testbed.emu.net import Net
from testbed.errors import UsageError
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import Plan
from testbed.naming import LAB_VARIABLE

pytestmark = pytest.mark.kernel

_numbers = itertools.count(1)


@pytest.fixture
def lab_name() -> str:
    return f"emu{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def net(lab_name: str) -> Iterator[Net]:
    with Net(load_topology("three_nodes"), lab=lab_name) as made:
        yield made


def test_everybody_reaches_everybody(net: Net) -> None:
    assert net.pingAll(timeout="2") == 0


def test_everybody_reaches_everybody_by_ipv6_alone(lab_name: str) -> None:
    with Net(load_topology("single_node,families=ipv6"), lab=lab_name) as net:
        assert net["w1"].IP() == "fd00:172:18::11"
        assert net.pingAll(timeout="2") == 0


def test_cmd_runs_in_the_node(net: Net) -> None:
    assert "172.18.0.11/24" in net["w1"].cmd("ip -br addr show w1-eth0")
    assert net["w1"].cmd("echo $((6 * 7))").strip() == "42"
    out, _, status = net["client"].pexec("ping", "-c1", "-W2", "fd00:172:18::12")
    assert (status, "1 received" in out) == (0, True)


def test_a_shell_starts_only_when_asked_for(net: Net) -> None:
    repr(net["w1"])
    dumpNodeConnections(net.hosts)
    process = net["w1"].popen("sleep 100")
    assert all(node.shell is None for node in net.values())
    assert net["w1"].pid > 0
    assert [node.name for node in net.values() if node.shell is not None] == ["w1"]
    process.kill()
    process.wait()


def environment_of(pid: int) -> list[str]:
    """A process's environment; between its fork and its exec it has none to show."""
    path = Path(f"/proc/{pid}/environ")
    while not (text := path.read_text()):
        time.sleep(0.001)
    return text.split("\0")


def test_processes_carry_the_lab_s_mark_and_end_with_it(net: Net) -> None:
    process = net["w1"].popen("sleep 100")
    background = int(net["w1"].cmd("sleep 100 & echo $!").split()[-1])
    for pid in (process.pid, background):
        environment = environment_of(pid)
        assert f"{LAB_VARIABLE}={net.lab}" in environment
    net.stop()
    assert process.wait() != 0
    assert not Path(f"/proc/{background}/ns/net").exists()


def test_interrupting_a_command_frees_the_shell(net: Net) -> None:
    node = net["w1"]
    node.sendCmd("sleep 100")
    node.sendInt()
    node.waitOutput()
    assert node.cmd("echo again").strip() == "again"


def test_hosts_come_and_go_at_run_time(net: Net) -> None:
    guest = net.addHost("guest", ip="172.18.0.99/24")
    net.addLink(guest, net["cluster"])
    guest.configDefault()
    assert "1 received" in guest.cmd("ping -c1 -W2", net["w1"].IP())
    guest.setIP("172.18.0.98", 24)
    assert "1 received" in net["w1"].cmd("ping -c1 -W2 172.18.0.98")
    net.delHost(guest)
    assert "guest" not in net
    ports = net["cluster"].cmd("ip -br link")
    assert len(ports.splitlines()) == 1 + 1 + 4  # lo, the bridge, router and three nodes
    again = net.addHost("guest", ip="172.18.0.99/24")
    net.addLink(again, net["cluster"])
    again.configDefault()
    assert "1 received" in net["w1"].cmd("ping -c1 -W2 172.18.0.99")


def test_a_link_can_be_taken_away(net: Net) -> None:
    net.delLinkBetween(net["w1"], net["cluster"])
    assert "w1-eth0" not in net["w1"].cmd("ip -br link")
    assert net["w1"].intfs == {}


@pytest.mark.parametrize("name", ["three_nodes", "two_zones"])
def test_a_topology_is_one_plan_the_same_as_its_spec_s(
    monkeypatch: pytest.MonkeyPatch, lab_name: str, name: str
) -> None:
    deployed: list[Plan] = []
    deploy = Fabric.deploy

    def record(self: Fabric, plan: Plan) -> None:
        deployed.append(plan)
        deploy(self, plan)

    monkeypatch.setattr(Fabric, "deploy", record)
    topo = load_topology(name)
    with Net(topo, lab=lab_name):
        (plan,) = deployed
    expected = topo.spec().plan()
    for kind in ("namespaces", "bridges", "routes", "veths"):
        assert set(getattr(plan, kind)) == set(getattr(expected, kind))


def test_mininet_s_own_topologies_work(lab_name: str) -> None:
    with Net(LinearTopo(k=3), lab=lab_name) as net:
        assert net["h1"].IP() == "10.0.0.1"
        assert net.pingAll(timeout="2") == 0


def test_a_net_can_be_built_by_hand(lab_name: str) -> None:
    with Net(lab=lab_name) as net:
        one, two = net.addHost("one"), net.addHost("two")
        net.addLink(one, two)
        net.start()
        assert net.pingAll(timeout="2") == 0
        two.setDefaultRoute("via 10.0.0.1")
        assert "default via 10.0.0.1 dev two-eth0" in two.cmd("ip route")


def test_nothing_may_work_in_the_host_s_namespace(net: Net) -> None:
    with pytest.raises(UsageError, match="host's own network namespace"):
        net.addNAT()
    with pytest.raises(UsageError, match="never works in the host's namespace"):
        net.addHost("root", inNamespace=False)


def test_a_topology_that_fails_half_way_leaves_nothing(lab_name: str) -> None:
    topo = load_topology("three_nodes")
    topo.addHost("twin", ip="172.18.0.11/24", gateways=("10.99.0.1",))
    with pytest.raises(Exception, match=r"route 0\.0\.0\.0/0 via 10\.99\.0\.1 in twin"):
        Net(topo, lab=lab_name)
    assert not list(Path("/run/netns").glob(f"{lab_name}-*"))
