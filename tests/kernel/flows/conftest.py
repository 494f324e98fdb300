"""Worlds for the flow tables: one for each setting of the proxy, made when it is first needed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from testbed.proxy.config import KubeProxyConfiguration
from tests.kernel.flows.world import FlowWorld

WorldOf = Callable[[KubeProxyConfiguration], FlowWorld]


@pytest.fixture(scope="session")
def world_of() -> Iterator[WorldOf]:
    """The world whose proxy has these settings."""
    made: dict[KubeProxyConfiguration, FlowWorld] = {}
    numbers = itertools.count(1)

    def get(config: KubeProxyConfiguration) -> FlowWorld:
        if config not in made:
            made[config] = FlowWorld(f"flows{os.getpid()}-{next(numbers)}", config)
        return made[config]

    yield get
    for world in made.values():
        world.close()
