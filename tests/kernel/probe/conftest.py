"""The small world, once with iptables rules and once with nftables rules."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_world import IPTABLES, NFT, EchoServer, World


@pytest.fixture(scope="session", params=["iptables", "nftables"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(f"prb{os.getpid()}{request.param[0]}")
    if request.param == "iptables":
        made["w1"].run(["iptables-nft-restore"], input=IPTABLES)
    else:
        made["w1"].run(["nft", "-f", "-"], input=NFT)
    servers = [EchoServer(made[pod], pod) for pod in ("web-0", "web-1")]
    yield made
    for server in servers:
        server.close()
    made.close()
