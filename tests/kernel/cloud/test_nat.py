"""The cloud's `nat` data plane on packets: who gets them, and whom the node sees."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from testbed.cloud.balancer import DataPlane

pytestmark = pytest.mark.kernel

CLIENT = {4: "203.0.113.10", 6: "2001:db8:113::10"}
PORT = 30080
HEALTH = 10256


async def start(world: Any, cloud: Any, service: Any, nodes: Any) -> tuple[str, str]:
    """Both nodes serve and are healthy; the Service's two addresses."""
    for name in ("w1", "w2"):
        await world.serve(name, PORT)
        await world.serve(name, HEALTH)
    v4, v6 = cloud.ensure(service, nodes)
    await cloud.settled()
    return v4.ip, v6.ip


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("keeps", [True, False], ids=["source kept", "masqueraded"])
def test_client_reaches_a_node_through_the_vip(
    world: Any, make_service: Any, nodes: Any, version: int, keeps: bool
) -> None:
    async def main() -> None:
        cloud = world.cloud(DataPlane.NAT if keeps else DataPlane.MASQUERADE)
        vips = await start(world, cloud, make_service(), nodes)
        answer = await world.get(vips[0 if version == 4 else 1], 80)
        balancer = {4: "172.19.0.2", 6: "fd00:172:19::2"}
        assert answer is not None
        assert answer["peer"] == (CLIENT if keeps else balancer)[version]

    world.play(main)


def test_flows_spread_over_the_nodes_and_a_client_stays_with_affinity(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        cloud = world.cloud()
        vip, _ = await start(world, cloud, make_service(), nodes)
        answers = [await world.get(vip, 80) for _ in range(20)]
        assert {a["node"] for a in answers} == {"w1", "w2"}
        cloud.ensure(make_service(sessionAffinity="ClientIP"), nodes)
        answers = [await world.get(vip, 80) for _ in range(20)]
        assert len({a["node"] for a in answers}) == 1

    world.play(main)


def test_source_ranges_admit_only_their_clients(world: Any, make_service: Any, nodes: Any) -> None:
    async def main() -> None:
        cloud = world.cloud()
        vips = await start(world, cloud, make_service(), nodes)
        for ranges, admitted in [
            (["203.0.113.10/32", "2001:db8:113::/64"], True),
            (["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"], True),
            (["255.0.0.0/32", "fd00::/128"], False),
            (["255.0.0.0/32", "0.0.0.0/0", "::/0"], True),
            ([], True),
        ]:
            cloud.ensure(make_service(loadBalancerSourceRanges=ranges), nodes)
            for vip in vips:
                assert (await world.get(vip, 80) is not None) == admitted, (ranges, vip)

    world.play(main)


def test_dead_node_leaves_after_two_failed_checks_and_other_flows_go_on(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        cloud = world.cloud()
        service = make_service()
        vip, _ = await start(world, cloud, service, nodes)
        flows: dict[str, socket.socket] = {}
        for _ in range(20):
            sock = world.ns["client"].socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (vip, 80))
            flows.setdefault((await world.ask(sock))["node"], sock)
        assert set(flows) == {"w1", "w2"}
        world.status["w1", HEALTH] = 503
        await world.pass_time(cloud, 2)
        assert cloud.healthy(service.key) == ("w1", "w2")
        await world.pass_time(cloud, 2)
        assert cloud.healthy(service.key) == ("w2",)
        assert {(await world.get(vip, 80))["node"] for _ in range(8)} == {"w2"}
        # Draining: what is established stays where it is.
        for name, sock in flows.items():
            assert (await world.ask(sock))["node"] == name
            sock.close()
        world.status["w1", HEALTH] = 200
        await world.pass_time(cloud, 4)
        assert cloud.healthy(service.key) == ("w1", "w2")

    world.play(main)


def test_local_policy_asks_the_health_check_node_port(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        cloud = world.cloud()
        await world.serve("w1", 32000, status=503)
        await world.serve("w2", 32000)
        service = make_service(externalTrafficPolicy="Local", healthCheckNodePort=32000)
        vip, _ = await start(world, cloud, service, nodes)
        assert cloud.healthy(service.key) == ("w2",)
        assert {(await world.get(vip, 80))["node"] for _ in range(8)} == {"w2"}
        world.status["w2", 32000] = 503
        await world.pass_time(cloud, 4)
        assert await world.get(vip, 80) is None

    world.play(main)


def test_deleted_load_balancer_answers_no_more_and_leaves_nothing(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        cloud = world.cloud()
        service = make_service()
        vip, _ = await start(world, cloud, service, nodes)
        cloud.delete(service.key)
        assert not cloud.exists(service.key)
        assert await world.get(vip, 80) is None
        rules = world.ns["balancer"].run(["nft", "list", "ruleset"])
        assert "service-" not in rules
        assert vip not in rules
        again, _ = cloud.ensure(make_service("other"), nodes)
        assert again.ip == vip

    world.play(main)


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_of_one_flow_leave_a_node_that_is_out_of_the_rotation(
    world: Any, make_service: Any, nodes: Any, version: int
) -> None:
    async def main() -> None:
        cloud = world.cloud()
        udp = make_service(ports=[{"port": 53, "nodePort": PORT, "protocol": "UDP"}])
        for name in ("w1", "w2"):
            await world.serve(name, HEALTH)
            await world.serve_datagrams(name, PORT)
        vips = [ingress.ip for ingress in cloud.ensure(udp, nodes)]
        await cloud.settled()
        family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
        with world.ns["client"].socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((vips[0 if version == 4 else 1], 53))
            first = (await world.exchange(sock))["node"]
            assert (await world.exchange(sock)) == {"node": first, "peer": CLIENT[version]}
            world.status[first, HEALTH] = 503
            await world.pass_time(cloud, 4)
            assert (await world.exchange(sock))["node"] != first
            cloud.delete(udp.key)
            assert await world.exchange(sock) is None

    world.play(main)


def test_deleting_a_load_balancer_ends_its_established_connections(
    world: Any, make_service: Any, nodes: Any
) -> None:
    async def main() -> None:
        cloud = world.cloud()
        service = make_service()
        vip, _ = await start(world, cloud, service, nodes)
        with world.ns["client"].socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (vip, 80))
            await world.ask(sock)
            cloud.delete(service.key)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.4):
                    await world.ask(sock)

    world.play(main)


@pytest.mark.parametrize("version", [4, 6])
def test_error_of_a_node_reaches_the_client_as_the_vips(
    world: Any, make_service: Any, nodes: Any, version: int
) -> None:
    async def main() -> None:
        cloud = world.cloud()
        await world.serve("w1", HEALTH)
        udp = make_service(ports=[{"port": 53, "nodePort": PORT, "protocol": "UDP"}])
        vips = [ingress.ip for ingress in cloud.ensure(udp, nodes[:1])]
        await cloud.settled()
        family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
        with world.ns["client"].socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((vips[0 if version == 4 else 1], 53))
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"hello")
            with pytest.raises(ConnectionRefusedError):
                async with asyncio.timeout(2):
                    await loop.sock_recv(sock, 512)

    world.play(main)
