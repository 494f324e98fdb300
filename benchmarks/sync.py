#!/usr/bin/env python3
"""How fast the proxy's rules reach the kernel, each figure beside its floor of the same run.

    sudo python benchmarks/sync.py [--services 10000] [--growth 1000,3000,10000,30000] [--runs 3]

The floors are the system's own tools with the same rules: `iptables-restore` (flushing) for a full
sync in iptables mode, `iptables-restore --noflush` for one Service; `nft -f` with everything in one
transaction, and with one Service; for the look for lost rules, listing them. Ends with status 1
where a "must" is missed; the musts are for 10,000 Services and more: with few, starting Python's
encoders weighs more than the kernel's work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from testbed import shell
from testbed.api.objects import IPV4, EndpointSlice, Service
from testbed.fabric.namespace import in_thread
from testbed.fabric.syscalls import enter_network, unshare_network
from testbed.netlink import NetlinkSocket
from testbed.proxy.changes import ProxyState
from testbed.proxy.config import DEFAULT_SERVICE_CIDRS, KubeProxyConfiguration
from testbed.proxy.instance import Instance
from testbed.proxy.iptables.apply import IptablesApplier
from testbed.proxy.iptables.counters import make_counter
from testbed.proxy.iptables.render import Renderer as IptablesRenderer
from testbed.proxy.kernel.applier import SyncReport
from testbed.proxy.kernel.transaction import Transactions
from testbed.proxy.nftables.apply import NftablesApplier
from testbed.proxy.nftables.render import Renderer as NftablesRenderer
from testbed.proxy.node import LocalNode

COUNTERS = ("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts")
NODE = LocalNode("w1", IPV4, "172.18.0.11", ("127.0.0.1", "172.18.0.11"))


class BenchNamespace:
    """A namespace of its own for every figure."""

    name = "bench"

    def __init__(self) -> None:
        def enter() -> int:
            unshare_network()
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.fd = in_thread(enter)

    def call(self, fn: Callable[[], Any]) -> Any:
        def inside() -> Any:
            enter_network(self.fd)
            return fn()

        return in_thread(inside)

    def netlink(self, protocol: int) -> NetlinkSocket:
        import socket

        return NetlinkSocket(
            self.call(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))
        )

    def run(self, argv: list[str], *, input: str | bytes | None = None) -> str:
        return shell.run(argv, input=input, netns_fd=self.fd, netns=self.name)

    def close(self) -> None:
        os.close(self.fd)


def service(index: int) -> Service:
    address = f"10.{96 + (index >> 16)}.{(index >> 8) & 255}.{index & 255}"
    return Service.from_document(
        {
            "metadata": {"name": f"svc{index:05d}", "namespace": "default"},
            "spec": {"clusterIPs": [address], "ipFamilies": [IPV4], "ports": [{"port": 80}]},
        }
    )


def endpoints(index: int, shift: int = 0) -> EndpointSlice:
    """Two endpoints; another `shift` gives other ones."""
    numbers = [2 * index + offset + shift for offset in range(2)]
    return EndpointSlice.from_document(
        {
            "metadata": {
                "name": f"svc{index:05d}-a",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": f"svc{index:05d}"},
            },
            "addressType": IPV4,
            "endpoints": [
                {
                    "addresses": [f"10.{244 + (n >> 16)}.{(n >> 8) & 255}.{n & 255}"],
                    "conditions": {"ready": True},
                    "nodeName": "w2",
                }
                for n in numbers
            ],
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        }
    )


class World:
    """N Services with two endpoints each, rendered in one mode."""

    def __init__(self, mode: str, count: int) -> None:
        self.mode = mode
        self.count = count
        instance = Instance(NODE, KubeProxyConfiguration(), DEFAULT_SERVICE_CIDRS)
        self.renderer: Any = (IptablesRenderer if mode == "iptables" else NftablesRenderer)(
            instance
        )
        self.state = ProxyState(IPV4, "w1")
        services = [service(index) for index in range(count)]
        slices = [endpoints(index) for index in range(count)]
        started = perf_counter()
        self.state.replace(services, slices)
        self.rules = self.renderer.render(self.state)
        self.render_seconds = perf_counter() - started
        self.state.checkout()
        self.shift = 65536

    def change(self) -> float:
        """Give one Service other endpoints; seconds for decision and render."""
        self.shift += 2
        piece = endpoints(self.count // 2, self.shift)
        started = perf_counter()
        self.state.update_slice(piece)
        self.rules = self.renderer.update(self.rules, self.state, self.state.checkout().ports)
        return perf_counter() - started

    def applier(self, namespace: BenchNamespace) -> Any:
        return (IptablesApplier if self.mode == "iptables" else NftablesApplier)(namespace, IPV4)


class Table:
    """Prints lines and remembers whether every must was met."""

    def __init__(self, enforced: bool) -> None:
        self.enforced = enforced
        self.missed = 0

    def line(self, what: str, seconds: float, must: float, floor: float | None = None) -> None:
        met = seconds <= must
        self.missed += self.enforced and not met
        beside = f"floor {floor:8.3f} s  ratio {seconds / floor:5.2f}" if floor else " " * 28
        word = "ok" if met else "MISSED"
        print(f"{what:42} {seconds:9.4f} s  {beside}  must ≤ {must:.3f} s  {word}", flush=True)


def timed(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def changes(world: World, applier: Any, runs: int) -> tuple[float, float]:
    """Median seconds of one Service's change: decision and render, and the sync."""
    renders, syncs = [], []
    for _ in range(runs):
        renders.append(world.change())
        report: SyncReport = applier.sync(world.rules)
        assert report.kind == "partial", report
        syncs.append(report.seconds)
    return statistics.median(renders), statistics.median(syncs)


def iptables_floors(world: World, runs: int) -> tuple[float, float, float]:
    """iptables-restore into an empty and a populated namespace, and --noflush of one Service."""
    namespace = BenchNamespace()
    door = Transactions(namespace)
    for counter in COUNTERS:
        make_counter(door, counter)
    text = world.rules.text()
    empty = timed(lambda: namespace.run(["iptables-restore"], input=text))
    populated = timed(lambda: namespace.run(["iptables-restore"], input=text))
    singles = []
    for number in range(runs):
        chains = [f"KUBE-SVC-FLOOR{number}", f"KUBE-SEP-FLOOR{number}A", f"KUBE-SEP-FLOOR{number}B"]
        lines = ["*nat", *(f":{chain} - [0:0]" for chain in chains)]
        lines += [f"-A {chains[0]} -j {chains[1]}", f"-A {chains[0]} -j {chains[2]}"]
        for chain in chains[1:]:
            lines += [
                f"-A {chain} -s 10.244.9.9/32 -j KUBE-MARK-MASQ",
                f"-A {chain} -p tcp -m tcp -j DNAT --to-destination 10.244.9.9:8080",
            ]
        lines += [f"-I KUBE-SERVICES -d 10.96.9.9/32 -j {chains[0]}", "COMMIT", ""]
        change = "\n".join(lines)
        singles.append(
            timed(lambda c=change: namespace.run(["iptables-restore", "--noflush"], input=c))  # type: ignore[misc]
        )
    door.close()
    namespace.close()
    return empty, populated, statistics.median(singles)


def nftables_floors(world: World, runs: int) -> tuple[float, float]:
    """nft -f of everything in one transaction, and of one Service."""
    namespace = BenchNamespace()
    text = world.rules.text()
    full = timed(lambda: namespace.run(["nft", "-f", "-"], input=text))
    singles = []
    for number in range(runs):
        change = (
            f"add chain ip kube-proxy floor-{number}\n"
            f"add rule ip kube-proxy floor-{number} meta l4proto tcp "
            f"dnat ip to numgen random mod 2 map {{ 0 : 10.244.9.9 . 80, 1 : 10.244.9.8 . 80 }}\n"
            f"add element ip kube-proxy service-ips {{ 10.255.9.{number} . tcp . 80 : "
            f"goto floor-{number} }}\n"
        )
        singles.append(timed(lambda c=change: namespace.run(["nft", "-f", "-"], input=c)))  # type: ignore[misc]
    namespace.close()
    return full, statistics.median(singles)


def full_syncs(world: World) -> tuple[BenchNamespace, Any, float, float]:
    """Seconds of a full sync into an empty and, by another proxy, into the populated namespace."""
    namespace = BenchNamespace()
    first = world.applier(namespace)
    empty = first.sync(world.rules).seconds
    first.close()
    second = world.applier(namespace)
    populated = second.sync(world.rules).seconds
    return namespace, second, empty, populated


def measure(mode: str, count: int, runs: int, table: Table) -> None:
    world = World(mode, count)
    table.line(
        f"{mode}: decision and render, all", world.render_seconds, 1.0 * max(1.0, count / 10000)
    )
    namespace, applier, empty, populated = full_syncs(world)
    if mode == "iptables":
        floor_empty, floor_populated, floor_one = iptables_floors(world, runs)
        table.line(f"{mode}: full, empty", empty, 1.5 * floor_empty, floor_empty)
        table.line(f"{mode}: full, populated", populated, 1.5 * floor_populated, floor_populated)
        must_one = 0.15
    else:
        floor_full, floor_one = nftables_floors(world, runs)
        table.line(f"{mode}: full, empty", empty, floor_full, floor_full)
        table.line(f"{mode}: full, populated", populated, floor_full, floor_full)
        must_one = 0.08
    render, sync = changes(world, applier, runs)
    table.line(f"{mode}: one Service, decision and render", render, 0.005)
    table.line(f"{mode}: one Service, sync", sync, must_one, floor_one)
    seconds, floor = look(mode, namespace, applier, runs)
    table.line(f"{mode}: look after a stranger's commit", seconds, 4 * floor, floor)
    applier.close()
    namespace.close()


def look(mode: str, namespace: BenchNamespace, applier: Any, runs: int) -> tuple[float, float]:
    """Seconds of the look for lost rules after a stranger's commit, and of listing all rules."""
    listing = ["iptables-save"] if mode == "iptables" else ["nft", "list", "ruleset"]
    floor = timed(lambda: namespace.run(listing))
    looks = []
    for number in range(runs):
        namespace.run(["nft", "add", "table", "inet", f"stranger{number}"])
        started = perf_counter()
        assert applier.rules_present()
        looks.append(perf_counter() - started)
    return statistics.median(looks), floor


def growth(mode: str, counts: list[int], runs: int) -> None:
    """One change at several sizes, for the eye: the cost must be the kernel's."""
    for count in counts:
        world = World(mode, count)
        namespace = BenchNamespace()
        applier = world.applier(namespace)
        applier.sync(world.rules)
        render, sync = changes(world, applier, runs)
        print(
            f"{mode}: one Service of {count:6}: render {1000 * render:7.3f} ms"
            f"  sync {1000 * sync:8.3f} ms",
            flush=True,
        )
        applier.close()
        namespace.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--growth", default="1000,3000,10000,30000", help="sizes, or '' for none")
    parser.add_argument("--runs", type=int, default=5, help="changes to take the median of")
    parser.add_argument("--mode", choices=["iptables", "nftables", "all"], default="all")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root: it makes network namespaces", file=sys.stderr)
        return 3
    modes = ["iptables", "nftables"] if options.mode == "all" else [options.mode]
    table = Table(enforced=options.services >= 10_000)
    for mode in modes:
        measure(mode, options.services, options.runs, table)
    counts = [int(count) for count in options.growth.split(",") if count]
    for mode in modes:
        growth(mode, counts, options.runs)
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
