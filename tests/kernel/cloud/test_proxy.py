"""The cloud's `proxy` data plane on packets: HAProxy, and who the client was by PROXY protocol."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from testbed.cloud.balancer import DataPlane

pytestmark = pytest.mark.kernel

CLIENT = {4: "203.0.113.10", 6: "2001:db8:113::10"}
BALANCER = {4: "172.19.0.2", 6: "fd00:172:19::2"}
PORT, HEALTH = 30080, 10256


async def start(world: Any, service: Any, nodes: Any) -> tuple[Any, tuple[str, str]]:
    cloud = world.cloud(DataPlane.PROXY)
    for name in ("w1", "w2"):
        await world.serve(name, PORT)
        await world.serve(name, HEALTH)
    v4, v6 = cloud.ensure(service, nodes)
    assert {v4.ip_mode, v6.ip_mode} == {"Proxy"}
    await cloud.settled()
    return cloud, (v4.ip, v6.ip)


@pytest.mark.parametrize("version", [4, 6])
def test_node_sees_the_balancer_and_is_told_the_client(
    world: Any, make_service: Any, nodes: Any, version: int
) -> None:
    async def main() -> None:
        cloud, vips = await start(world, make_service(), nodes)
        vip = vips[0 if version == 4 else 1]
        answers = [await world.get(vip, 80) for _ in range(4)]
        assert {a["node"] for a in answers} == {"w1", "w2"}
        assert {(a["peer"], a["told"]) for a in answers} == {(BALANCER[version], CLIENT[version])}
        plain = make_service(annotations={"cloud.testbed/proxy-protocol": "none"})
        cloud.ensure(plain, nodes)
        assert (await world.get(vip, 80))["told"] == ""

    world.play(main)


def test_connections_outlive_changes_and_new_ones_go_to_healthy_nodes(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        cloud, (vip, _) = await start(world, make_service(), nodes)
        flows: dict[str, socket.socket] = {}
        while len(flows) < 2:
            sock = world.ns["client"].socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (vip, 80))
            flows[(await world.ask(sock))["node"]] = sock
        world.status["w1", HEALTH] = 503
        await world.pass_time(cloud, 4)
        assert {(await world.get(vip, 80))["node"] for _ in range(4)} == {"w2"}
        for name, sock in flows.items():
            assert (await world.ask(sock))["node"] == name
            sock.close()

    world.play(main)


def test_source_ranges_filter_and_deleting_leaves_neither_process_nor_address(
    world: Any, make_service: Any, nodes: Any, tmp_path: Any
) -> None:
    async def main() -> None:
        cloud, vips = await start(world, make_service(), nodes)
        process = int((tmp_path / "haproxy.pid").read_text())
        limited = make_service(loadBalancerSourceRanges=["255.0.0.0/32", "fd00::/128"])
        cloud.ensure(limited, nodes)
        for vip in vips:
            assert await world.get(vip, 80) is None
        cloud.delete(limited.key)
        for vip in vips:
            assert await world.get(vip, 80) is None
        assert "198.51.100" not in world.ns["balancer"].run(["ip", "address", "show", "lo"])
        for _ in range(100):
            if not os.path.exists(f"/proc/{process}"):
                break
            await asyncio.sleep(0.01)
        assert not os.path.exists(f"/proc/{process}")

    world.play(main)
