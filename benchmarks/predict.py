"""How many flows a second the oracle answers: 1,000 Services × 3 endpoints, 20 nodes, both modes.

The floor is the least that any answer costs in this run: making its values. Exit code 1 below
5,000 flows/s. Run: `python -m benchmarks.predict`.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from testbed.api.objects import EndpointSlice, Node, Service
from testbed.flow.tuples import Flow
from testbed.oracle.expect import expect
from testbed.oracle.expectation import (
    Backend,
    Expectation,
    Origin,
    Place,
    Source,
    SourceKind,
    Verdict,
)
from testbed.oracle.world import Mode, Settings, World

NODES, SERVICES, FLOWS, TARGET = 20, 1000, 20_000, 5000


def make_world(mode: Mode) -> World:
    nodes = [
        Node.from_document(
            {
                "metadata": {
                    "name": f"w{i}",
                    "labels": {"topology.kubernetes.io/zone": "abc"[i % 3]},
                },
                "spec": {"podCIDR": f"10.244.{i}.0/24"},
                "status": {"addresses": [{"type": "InternalIP", "address": f"172.18.0.{10 + i}"}]},
            }
        )
        for i in range(NODES)
    ]
    settings = Settings(
        mode=mode, cluster_cidrs=("10.244.0.0/16",), service_cidrs=("10.96.0.0/16",)
    )
    return World(
        [make_service(i) for i in range(SERVICES)],
        [make_slice(i) for i in range(SERVICES)],
        nodes,
        (),
        settings,
    )


def make_service(i: int) -> Service:
    return Service.from_document(
        {
            "metadata": {"name": f"s{i}"},
            "spec": {
                "type": "NodePort",
                "clusterIPs": [cluster_ip(i)],
                "externalTrafficPolicy": "Local" if i % 2 else "Cluster",
                "ports": [{"name": "http", "port": 80, "nodePort": 30000 + i}],
            },
        }
    )


def make_slice(i: int) -> EndpointSlice:
    return EndpointSlice.from_document(
        {
            "metadata": {"name": f"s{i}", "labels": {"kubernetes.io/service-name": f"s{i}"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [
                {
                    "addresses": [f"10.244.{(i + n) % NODES}.{2 + i % 250}"],
                    "nodeName": f"w{(i + n) % NODES}",
                    "conditions": {"ready": True},
                }
                for n in range(3)
            ],
        }
    )


def cluster_ip(i: int) -> str:
    return f"10.96.{1 + i // 250}.{1 + i % 250}"


def make_flows(seed: int = 1) -> list[tuple[Origin, Flow]]:
    chance = random.Random(seed)
    flows: list[tuple[Origin, Flow]] = []
    for _ in range(FLOWS):
        i, node = chance.randrange(SERVICES), chance.randrange(NODES)
        pod = f"10.244.{node}.{chance.randrange(2, 250)}"
        if chance.random() < 0.5:
            flow = Flow("tcp", pod, 0, cluster_ip(i), chance.choice((80, 80, 80, 81)))
            flows.append((Origin(Place.POD, f"w{node}"), flow))
        else:
            target = Flow("tcp", "203.0.113.2", 0, f"172.18.0.{10 + node}", 30000 + i)
            flows.append((Origin(Place.OUTSIDE), target))
    return flows


def make_values(origin: Origin, flow: Flow) -> Expectation:
    source = Source(SourceKind.UNCHANGED, flow.source)
    backends = tuple(Backend(flow.destination, n, "w1", None, 1 / 3, source) for n in range(3))
    return Expectation(Verdict.DELIVERED, "", origin.node, backends=backends)


def rate(call: Callable[[Origin, Flow], Expectation], flows: list[tuple[Origin, Flow]]) -> float:
    """Flows per second of CPU time, which other work on the machine doesn't distort."""
    start = time.process_time()
    for origin, flow in flows:
        call(origin, flow)
    return len(flows) / (time.process_time() - start)


def main() -> int:
    flows = make_flows()
    floor = rate(make_values, flows)
    slowest = floor
    print(f"{'floor (values only)':22} {floor:9,.0f} flows/s")
    for mode in (Mode.IPTABLES, Mode.NFTABLES):
        start = time.process_time()
        world = make_world(mode)
        built = time.process_time() - start
        found = rate(lambda origin, flow, world=world: expect(world, origin, flow), flows)
        slowest = min(slowest, found)
        print(
            f"{mode:22} {found:9,.0f} flows/s  {floor / found:4.1f} × floor  "
            f"(world of {SERVICES} Services in {built:.2f} s)"
        )
    return 0 if slowest >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
