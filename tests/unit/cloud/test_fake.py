"""A cloud whose namespaces refuse everything."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.api.objects import Service
from testbed.clock import ManualClock
from testbed.cloud.dataplane import Site
from testbed.cloud.fake import FakeCloud
from testbed.cloud.interface import CloudError
from testbed.netlink import NetlinkSocket
from testbed.shell import CommandError


class Refusing:
    name = "refusing"

    def run(self, argv: Sequence[str], *, input: str | None = None) -> str:
        raise CommandError(argv, None, 1, "refused")

    def socket(self, family: int, type: int, proto: int = 0, /) -> socket.socket:
        raise OSError

    def netlink(self, protocol: int, /) -> NetlinkSocket:
        raise OSError

    def sysctl(self, key: str, value: str, /) -> str:
        raise OSError


def test_what_the_data_plane_refuses_is_the_clouds_error_each_time(tmp_path: Path) -> None:
    ranges = ("198.51.100.0/24",)
    site = Site(Refusing(), "eth0", (), Refusing(), "eth1", ranges, tmp_path)
    cloud = FakeCloud(site, ManualClock())
    service = Service.from_document(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.5",
                "ipFamilies": ["IPv4"],
                "ports": [{"port": 80, "nodePort": 30080}],
            },
        }
    )
    for _ in range(2):
        with pytest.raises(CloudError, match="refused"):
            cloud.ensure(service, [])
    cloud.delete(service.key)
    assert not cloud.exists(service.key)
