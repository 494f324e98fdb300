"""A cloud whose namespaces refuse what they are asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.api.objects import NamespacedName, Node, Service
from testbed.clock import ManualClock
from testbed.cloud.dataplane import Site
from testbed.cloud.fake import FakeCloud
from testbed.cloud.interface import CloudError
from testbed.netlink import NetlinkSocket
from testbed.shell import CommandError


class Refusing:
    """A namespace that refuses every program while it `refuses`; its sockets are the host's."""

    name = "refusing"

    def __init__(self) -> None:
        self.refuses = True

    def run(self, argv: Sequence[str], *, input: str | None = None) -> str:
        if self.refuses:
            raise CommandError(argv, None, 1, "refused")
        return ""

    def socket(self, family: int, type: int, proto: int = 0, /) -> socket.socket:
        return socket.socket(family, type, proto)

    def netlink(self, protocol: int, /) -> NetlinkSocket:
        raise OSError

    def sysctl(self, key: str, value: str, /) -> str:
        return "0"


def cloud_in(namespace: Refusing, directory: Path, *, resume: bool = False) -> FakeCloud:
    ranges = ("198.51.100.0/24",)
    site = Site(namespace, "eth0", (), namespace, "eth1", ranges, directory)
    return FakeCloud(site, ManualClock(), resume=resume)


def service(health_port: int = 30090) -> Service:
    return Service.from_document(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.5",
                "ipFamilies": ["IPv4"],
                "externalTrafficPolicy": "Local",
                "healthCheckNodePort": health_port,
                "ports": [{"port": 80, "nodePort": 30080}],
            },
        }
    )


def test_what_the_data_plane_refuses_is_the_clouds_error_each_time(tmp_path: Path) -> None:
    cloud = cloud_in(Refusing(), tmp_path)
    web = service()
    for _ in range(2):
        with pytest.raises(CloudError, match="refused"):
            cloud.ensure(web, [])
    cloud.delete(web.key)
    assert not cloud.exists(web.key)


def test_what_can_not_be_deleted_is_the_clouds_error_until_it_can(tmp_path: Path) -> None:
    namespace = Refusing()
    cloud = cloud_in(namespace, tmp_path)
    web = service()
    namespace.refuses = False
    cloud.ensure(web, [])
    namespace.refuses = True
    for _ in range(2):
        with pytest.raises(CloudError, match="refused"):
            cloud.delete(web.key)
        assert cloud.exists(web.key)
    namespace.refuses = False
    cloud.delete(web.key)
    assert not cloud.exists(web.key)


@pytest.mark.parametrize("resume", [False, True], ids=["health", "resume"])
def test_a_change_of_its_own_that_is_refused_is_told_and_can_be_asked_again(
    tmp_path: Path, resume: bool
) -> None:
    """A node's health changes, or a lab goes on, while the data plane refuses."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async def play() -> None:
        unforeseen: list[dict[str, object]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: unforeseen.append(context))
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        namespace = Refusing()
        cloud = cloud_in(namespace, tmp_path, resume=resume)
        told: list[NamespacedName] = []
        cloud.refused = told.append
        web = service(server.sockets[0].getsockname()[1])
        node = Node("w1", {}, (("InternalIP", "127.0.0.1"),), ())
        namespace.refuses = False
        cloud.ensure(web, [node])
        namespace.refuses = True
        await cloud.settled()
        assert set(told) == {web.key}
        assert cloud.healthy(web.key) == ("w1",)
        with pytest.raises(CloudError, match="refused"):
            cloud.update_nodes(web, [node])
        namespace.refuses = False
        cloud.update_nodes(web, [node])
        cloud.close()
        server.close()
        assert unforeseen == []

    asyncio.run(play())
