"""A lab for each test and proxy mode."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster

_numbers = itertools.count(1)


@pytest.fixture(params=["iptables", "nftables"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three nodes, in the proxy mode of the test's parameter."""
    with Cluster("three_nodes", name=f"sc{os.getpid()}-{next(_numbers)}", proxy=request.param) as c:
        yield c
