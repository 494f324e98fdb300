"""The cloud's `dsr` data plane on packets: the VIP arrives at the node, the reply goes direct.

A node's loopback holds the VIPs here: that stands for kube-proxy's rules.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from testbed.cloud.balancer import DataPlane

pytestmark = pytest.mark.kernel

CLIENT = {4: "203.0.113.10", 6: "2001:db8:113::10"}
HEALTH = 10256


async def start(world: Any, service: Any, nodes: Any) -> tuple[Any, tuple[str, str]]:
    cloud = world.cloud(DataPlane.DSR)
    for name in ("w1", "w2"):
        await world.serve(name, 80)
        await world.serve(name, HEALTH)
        for vip in ("198.51.100.1/32", "2001:db8:100::1/128"):
            world.ns[name].run(["ip", "address", "add", vip, "dev", "lo"])
    v4, v6 = cloud.ensure(service, nodes)
    await cloud.settled()
    return cloud, (v4.ip, v6.ip)


@pytest.mark.parametrize("version", [4, 6])
def test_packet_reaches_a_node_unchanged_and_the_reply_passes_the_balancer_by(
    world: Any, make_service: Any, nodes: Any, version: int
) -> None:
    async def main() -> None:
        _, vips = await start(world, make_service(), nodes)
        vip = vips[0 if version == 4 else 1]
        answers = [await world.get(vip, 80) for _ in range(16)]
        assert {a["node"] for a in answers} == {"w1", "w2"}
        assert {(a["peer"], a["local"]) for a in answers} == {(CLIENT[version], vip)}
        # A reply through the balancer would have made conntrack see both directions.
        flows = world.ns["balancer"].run(["conntrack", "-L", "-d", vip])
        assert flows.count("UNREPLIED") == len(flows.splitlines()) > 0

    world.play(main)


def test_established_connections_keep_their_node_when_the_healthy_set_changes(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        cloud, (vip, _) = await start(world, make_service(), nodes)
        connections: list[tuple[str, socket.socket]] = []
        for _ in range(8):
            sock = world.ns["client"].socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (vip, 80))
            connections.append(((await world.ask(sock))["node"], sock))
        assert {name for name, _ in connections} == {"w1", "w2"}
        world.status["w1", HEALTH] = 503
        await world.pass_time(cloud, 4)
        assert {(await world.get(vip, 80))["node"] for _ in range(8)} == {"w2"}
        for name, sock in connections:
            assert (await world.ask(sock))["node"] == name
            sock.close()

    world.play(main)


def test_port_without_a_node_port_is_served_and_deleting_ends_it(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        service = make_service(ports=[{"port": 80}])
        cloud, vips = await start(world, service, nodes)
        for vip in vips:
            assert await world.get(vip, 80) is not None
        cloud.delete(service.key)
        for vip in vips:
            assert await world.get(vip, 80) is None

    world.play(main)


def test_source_ranges_hold_for_established_flows_too(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        cloud, vips = await start(world, make_service(), nodes)
        cloud.ensure(make_service(loadBalancerSourceRanges=["255.0.0.0/32", "fd00::/128"]), nodes)
        for vip in vips:
            assert await world.get(vip, 80) is None

    world.play(main)
