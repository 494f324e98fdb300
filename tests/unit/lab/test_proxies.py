"""What reaches the nodes' proxies, and that somebody sees to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from testbed.clock import ManualClock
from testbed.control.store import Store
from testbed.lab.proxies import NodeProxies
from testbed.proxy.health import NodeHealth
from testbed.proxy.proxier import Proxier


class Listener:
    """A proxy, or its health ports, that only writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.problems: dict[tuple[str, str], str] = {}

    def healths(self) -> dict[str, Any]:
        return {}

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.told.append(name)


def test_a_change_that_no_controller_sees_to_wakes_the_lab_once_for_each_sync() -> None:
    clock = ManualClock()
    store = Store(clock)
    woken: list[float] = []
    proxies = NodeProxies(store, clock, lambda: woken.append(clock.now()), lambda *told: None)
    proxy = Listener()
    proxies.add("w1", cast(Proxier, proxy), cast(NodeHealth, Listener()))
    for count in (1, 2, 3):
        asyncio.run(proxies.sync())
        assert proxies.idle
        woken.clear()
        for index in range(2):
            meta = {"name": f"mine-{count}-{index}", "namespace": "default", "labels": {}}
            store.create("endpointslices", {"metadata": meta, "addressType": "IPv4"})
        assert len(woken) == 1
    assert proxy.told.count("set_slice") == 6
