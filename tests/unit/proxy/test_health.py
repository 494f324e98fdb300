"""The health ports on loopback: health check node ports per family, and the proxy's own."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from testbed.api.objects import NamespacedName, Node
from testbed.clock import ManualClock
from testbed.proxy import health
from testbed.proxy.health import NodeHealth
from testbed.proxy.health_status import ServiceHealth

WEB = NamespacedName("default", "web")


def free_port() -> int:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """The proxy's own port, free in the test's namespace."""
    found = free_port()
    monkeypatch.setattr(health, "PROXY_PORT", found)
    return found


def play(story: Callable[[NodeHealth], Awaitable[None]]) -> None:
    async def run() -> None:
        made = NodeHealth(socket.socket, asyncio.get_running_loop(), ManualClock(0))
        try:
            await story(made)
        finally:
            made.close()

    asyncio.run(run())


async def get(port: int, path: str = "/healthz", host: str = "127.0.0.1") -> tuple[int, str, str]:
    """Status, head and body."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), head, body


def test_port_answers_by_local_endpoints(port: int) -> None:
    async def story(made: NodeHealth) -> None:
        number = free_port()
        made.synced("IPv4", {WEB: ServiceHealth(WEB, number, 2)})
        status, head, body = await get(number, "/any/path")
        assert status == 200
        assert "X-Load-Balancing-Endpoint-Weight: 2" in head
        assert json.loads(body)["localEndpoints"] == 2
        made.synced("IPv4", {WEB: ServiceHealth(WEB, number, 0)})
        assert (await get(number))[0] == 503
        made.synced("IPv4", {})
        with pytest.raises(ConnectionRefusedError):
            await get(number)

    play(story)


def test_families_have_ports_of_their_own(port: int) -> None:
    async def story(made: NodeHealth) -> None:
        number = free_port()
        made.synced("IPv4", {WEB: ServiceHealth(WEB, number, 1)})
        made.synced("IPv6", {WEB: ServiceHealth(WEB, number, 0)})
        assert (await get(number))[0] == 200
        assert (await get(number, host="::1"))[0] == 503

    play(story)


def test_changed_port_moves(port: int) -> None:
    async def story(made: NodeHealth) -> None:
        first, second = free_port(), free_port()
        made.synced("IPv4", {WEB: ServiceHealth(WEB, first, 1)})
        made.synced("IPv4", {WEB: ServiceHealth(WEB, second, 1)})
        assert (await get(second))[0] == 200
        with pytest.raises(ConnectionRefusedError):
            await get(first)

    play(story)


def test_taken_port_is_a_problem_and_the_others_are_served(port: int) -> None:
    async def story(made: NodeHealth) -> None:
        other, number = NamespacedName("default", "other"), free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
            taken.bind(("", 0))
            taken.listen()
            used = taken.getsockname()[1]
            services = {WEB: ServiceHealth(WEB, used, 1), other: ServiceHealth(other, number, 1)}
            made.synced("IPv4", services)
            assert list(made.problems.values()) == [
                f"default/web: health check port {used}: Address already in use"
            ]
            assert (await get(number))[0] == 200

    play(story)


@pytest.mark.parametrize(
    "leaving", [{"deleting": True}, {"taints": ("ToBeDeletedByClusterAutoscaler",)}]
)
def test_leaving_node_takes_no_traffic_but_its_proxy_lives(
    port: int, leaving: dict[str, Any]
) -> None:
    async def story(made: NodeHealth) -> None:
        made.synced("IPv4", {})
        status, _, body = await get(port)
        assert (status, json.loads(body)["nodeEligible"]) == (200, True)
        assert json.loads(body)["status"]["IPv4"]["healthy"] is True
        made.set_node(Node("w1", {}, (), (), **leaving))
        assert (await get(port))[0] == 503
        status, _, body = await get(port, "/livez", host="::1")
        assert status == 200
        assert "nodeEligible" not in json.loads(body)
        assert (await get(port, "/other"))[0] == 404

    play(story)
