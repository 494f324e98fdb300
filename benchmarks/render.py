"""How long deciding and rendering take, without a kernel: all Services, and one change.

    python benchmarks/render.py [SERVICES …]

One node's IPv4 instance; every Service has two endpoints. Medians, in milliseconds. `full` takes in
the views and renders; `one` takes in one changed EndpointSlice, renders, and finds the difference.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable

from testbed.api.objects import (
    IPV4,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    NamespacedName,
    Service,
)
from testbed.proxy.changes import ProxyState
from testbed.proxy.config import DEFAULT_SERVICE_CIDRS, KubeProxyConfiguration
from testbed.proxy.instance import Instance
from testbed.proxy.iptables import render as iptables
from testbed.proxy.nftables import render as nftables
from testbed.proxy.node import LocalNode

NODE = LocalNode("w1", IPV4, "172.18.0.11", ("127.0.0.1", "172.18.0.11"))
RENDERERS: dict[str, type[iptables.Renderer] | type[nftables.Renderer]] = {
    "iptables": iptables.Renderer,
    "nftables": nftables.Renderer,
}


def service(index: int) -> Service:
    spec = {
        "clusterIPs": [f"10.{96 + (index >> 16)}.{index >> 8 & 255}.{index & 255}"],
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }
    return Service.from_document(
        {"metadata": {"name": f"svc-{index}", "namespace": f"ns-{index % 100}"}, "spec": spec}
    )


def endpoint_slice(index: int, shift: int = 0) -> EndpointSlice:
    where = index * 2 + shift
    endpoints = tuple(
        Endpoint(
            (f"10.{128 + (n >> 16)}.{n >> 8 & 255}.{n & 255}",),
            ready=True,
            serving=True,
            terminating=False,
            node_name=f"w{n % 50}",
        )
        for n in (where, where + 1)
    )
    namespace = f"ns-{index % 100}"
    return EndpointSlice(
        NamespacedName(namespace, f"svc-{index}-x"),
        {},
        NamespacedName(namespace, f"svc-{index}"),
        IPV4,
        endpoints,
        (EndpointPort("http", "TCP", 8080),),
    )


def milliseconds(call: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


def measure(mode: str, count: int) -> tuple[float, float, float]:
    services = [service(index) for index in range(count)]
    slices = [endpoint_slice(index) for index in range(count)]
    instance = Instance(NODE, KubeProxyConfiguration(), DEFAULT_SERVICE_CIDRS)
    renderer = RENDERERS[mode](instance)

    def full() -> None:
        state = ProxyState(IPV4, NODE.name)
        state.replace(services, slices)
        renderer.render(state)

    taken = milliseconds(full, 3)
    state = ProxyState(IPV4, NODE.name)
    state.replace(services, slices)
    state.checkout()
    rules = renderer.render(state)
    text = milliseconds(rules.text, 3)
    versions = iter(range(1, 1000))
    gc.collect()

    def one() -> None:
        nonlocal rules
        state.update_slice(endpoint_slice(count // 2, next(versions)))
        after = renderer.update(rules, state, state.checkout().ports)  # type: ignore[arg-type]
        assert after.difference(rules)  # type: ignore[arg-type]
        rules = after

    return taken, milliseconds(one, 50), text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("services", nargs="*", type=int, default=[1000, 3000, 10000, 30000])
    print(f"{'mode':10}{'Services':>9}{'full':>10}{'one':>9}{'as text':>10}   (ms)")
    for mode in RENDERERS:
        for count in parser.parse_args().services:
            full, one, text = measure(mode, count)
            print(f"{mode:10}{count:9}{full:10.1f}{one:9.3f}{text:10.1f}")


if __name__ == "__main__":
    main()
