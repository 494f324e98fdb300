"""Every Pod network driver carries packets between Pods, nodes and the world outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testbed.api.objects import Node
from testbed.control.podnet import DRIVERS, node_end, pod_network
from testbed.emu.load import load_topology
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace
from testbed.fabric.specs import Plan

from .conftest import Exchange

pytestmark = pytest.mark.kernel


@dataclass
class Cluster:
    """Two Pods on w1, one on w2; addresses by namespace, IPv4 first."""

    fabric: Fabric
    addresses: dict[str, tuple[str, ...]]

    def __getitem__(self, name: str) -> Namespace:
        return self.fabric.namespace(name)

    def address(self, name: str, version: int) -> str:
        return next(a for a in self.addresses[name] if (":" in a) == (version == 6))


@pytest.fixture(scope="module", params=DRIVERS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
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
    network = pod_network(request.param)
    pods = {
        "pod-a": (nodes[0], ("10.244.1.5", "fd00:10:244:1::5")),
        "pod-b": (nodes[0], ("10.244.1.6", "fd00:10:244:1::6")),
        "pod-c": (nodes[1], ("10.244.2.5", "fd00:10:244:2::5")),
    }
    with Fabric(f"net{os.getpid()}-{request.param}") as fabric:
        plans = [network.pod_plan(name, node, a) for name, (node, a) in pods.items()]
        fabric.deploy(spec.plan() + network.node_plan(nodes[:2]) + Plan.total(plans))
        fabric.deploy(network.node_plan(nodes[2:], known=nodes[:2]))
        addresses = {machine.name: machine.addresses for machine in spec.machines}
        yield Cluster(fabric, addresses | {name: pod[1] for name, pod in pods.items()})


VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


@VERSIONS
@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("pod-a", "pod-b"),
        ("pod-a", "pod-c"),
        ("pod-c", "pod-a"),
        ("w1", "pod-a"),
        ("w1", "pod-c"),
        ("w3", "pod-c"),
        ("pod-a", "w1"),
        ("pod-a", "w2"),
        ("client", "w3"),
        ("client", "lb"),
    ],
)
def test_an_address_arrives_unchanged(
    cluster: Cluster, exchange: Exchange, client: str, server: str, version: int
) -> None:
    source = exchange(cluster[client], cluster[server], cluster.address(server, version))
    expected = {cluster.address(client, version)}
    if client.startswith("w") and "cni0" in cluster[client].run(["ip", "-br", "link"]):
        # As on such nodes: towards its own Pods a node speaks from the bridge.
        number = client[1:]
        expected.add(f"10.244.{number}.1" if version == 4 else f"fd00:10:244:{number}::1")
    assert source in expected


@VERSIONS
def test_pods_leave_the_cluster_with_their_node_s_address(
    cluster: Cluster, exchange: Exchange, version: int
) -> None:
    source = exchange(cluster["pod-c"], cluster["client"], cluster.address("client", version))
    assert source == cluster.address("w2", version)


@VERSIONS
def test_pods_can_t_be_reached_from_outside(
    cluster: Cluster, exchange: Exchange, version: int
) -> None:
    with pytest.raises(OSError, match=r"unreachable|timed out"):
        exchange(cluster["client"], cluster["pod-a"], cluster.address("pod-a", version))


@VERSIONS
def test_full_frames_pass_between_nodes(cluster: Cluster, version: int) -> None:
    words = cluster["pod-a"].run(["ip", "-o", "link", "show", "eth0"]).split()
    link = words[words.index("mtu") + 1]
    headers = {4: 28, 6: 48}[version]
    target = cluster.address("pod-c", version)
    size = int(link) - headers
    argv = ["ping", "-M", "do", "-c", "1", "-W", "2", "-s", str(size), target]
    assert "1 received" in cluster["pod-a"].run(argv)


def test_a_bridge_port_lets_frames_turn_round(cluster: Cluster) -> None:
    detail = cluster["w1"].run(["ip", "-d", "link", "show", node_end("pod-a")])
    assert ("bridge_slave" in detail) == ("hairpin on" in detail)
