"""How long a followed TCP flow takes over 6 namespaces, what a capture keeps up with, predictions.

The floor of the first is the same request without anybody watching, in the same run. The second
sends 10,000 packets a second for 2 seconds over 8 interfaces, with 200 namespaces watched, and
counts what is missing. The third asks the oracle about every flow of a recorded world.
Exit code 1 where a target is missed. Run as root:
`python -m benchmarks.explain`.
"""

from __future__ import annotations

import itertools
import os
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from testbed.api.documents import load_file
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace
from testbed.fabric.specs import End, NamespaceSpec, Plan, Route, Veth
from testbed.flow import DELIVERED, Frame
from testbed.lab.volley import every_target, inside
from testbed.oracle.dump import world_from
from testbed.oracle.prediction import predict
from testbed.oracle.world import Settings
from testbed.probe import Observer, Request, exchange
from testbed.probe.bpf import protocols_filter
from testbed.probe.capture import Capture
from testbed.report import html

EXPLAIN_TARGET = 0.15
HTML_TARGET = 300_000
PREDICT_TARGET = 5_000
RATE, SECONDS, INTERFACES, WATCHED = 10_000, 2, 8, 200

RULES = """*nat
:SVC - [0:0]
:SEP - [0:0]
-A PREROUTING -j SVC
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A SVC -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j SEP
-A SEP -j MARK --set-xmark 0x4000/0x4000
-A SEP -p tcp -m tcp -j DNAT --to-destination {target}
COMMIT
"""


def chain_plan(names: list[str], bystanders: int) -> Plan:
    """Namespaces in a row, 10.0.n.1 – 10.0.n.2 between neighbours, and some that stand by."""
    specs = [NamespaceSpec(name, forwarding=True) for name in names]
    specs += [NamespaceSpec(f"by{number}") for number in range(bystanders)]
    veths, routes = [], []
    for place, (one, other) in enumerate(itertools.pairwise(names)):
        left = End(one, "right", addresses=(f"10.0.{place}.1/24",))
        veths.append(Veth(left, End(other, "left", addresses=(f"10.0.{place}.2/24",))))
    for place, name in enumerate(names[:-1]):
        routes.append(Route(name, "0.0.0.0/0", via=f"10.0.{place}.2"))
    for place, name in enumerate(names[1:]):
        routes += [Route(name, f"10.0.{net}.0/24", via=f"10.0.{place}.1") for net in range(place)]
    return Plan(namespaces=tuple(specs), veths=tuple(veths), routes=tuple(routes))


def serve(namespace: Namespace) -> socket.socket:
    """A server on port 8080 that answers a line with a line."""
    server = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("0.0.0.0", 8080))
    server.listen(16)

    def work() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"{}\n")

    threading.Thread(target=work, daemon=True).start()
    return server


def explain() -> bool:
    names = ["client", "router", "lb", "w1", "w2", "pod"]
    with Fabric(f"bench-explain-{os.getpid()}") as fabric:
        fabric.deploy(chain_plan(names, 0))
        rules = RULES.format(target="10.0.4.2:8080")
        fabric.namespace("w1").run(["iptables-nft-restore"], input=rules)
        server = serve(fabric.namespace("pod"))
        origin, request = fabric.namespace("client"), Request("10.96.0.1", 80)
        observer = Observer(fabric.namespaces())
        cold = timed(lambda: observer.follow(origin, request))
        warm = [timed(lambda: observer.follow(origin, request)) for _ in range(15)]
        bare = statistics.median(timed(lambda: exchange(origin, request)) for _ in range(15))
        path = observer.follow(origin, request).path
        server.close()
    assert path.verdict.kind == DELIVERED, path.verdict
    assert path.masqueraded_at() == ("w1",)
    median, size = statistics.median(warm), len(html.render(path).encode())
    print(
        f"explained TCP flow, 6 namespaces: cold {cold * 1000:.0f} ms, warm {median * 1000:.1f} ms"
    )
    print(f"  the bare request {bare * 1000:.2f} ms; target {EXPLAIN_TARGET * 1000:.0f} ms")
    print(f"HTML page: {size / 1000:.0f} kB; target {HTML_TARGET // 1000} kB")
    return median <= EXPLAIN_TARGET and size <= HTML_TARGET


def predictions() -> bool:
    """Flows a second that the oracle answers, from every place to every address of a world."""
    file = Path(__file__).parents[1] / "tests/golden/rules/dual-stack/objects.yaml"
    world = world_from(load_file(file), Settings())
    starts, targets = [start for _, start in inside(world)], every_target(world)
    flows = [(s, t) for s in starts for t in targets if s.address(t.family)]

    def ask() -> None:
        for start, target in flows:
            predict(world, start, [target])

    ask()
    rounds = 5000 // len(flows) + 1
    took = timed(lambda: [ask() for _ in range(rounds)])
    rate = rounds * len(flows) / took
    print(f"predict: {rate:,.0f} flows/s; target {PREDICT_TARGET:,}")
    return rate >= PREDICT_TARGET


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def send_at_rate(namespace: Namespace, destination: str) -> int:
    """Datagrams at RATE for SECONDS; return how many."""
    sock = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((destination, 9))
    sent, start = 0, time.monotonic()
    while sent < RATE * SECONDS:
        due = min(int((time.monotonic() - start) * RATE) + 1, RATE * SECONDS)
        for _ in range(due - sent):
            try:
                sock.send(b"x" * 64)
            except ConnectionRefusedError:  # an earlier one's ICMP answer
                sock.send(b"x" * 64)
        sent = due
        time.sleep(0.001)
    sock.close()
    return sent


def capture() -> bool:
    names = ["client", "router", "lb", "w1", "pod"]
    with Fabric(f"bench-capture-{os.getpid()}") as fabric:
        fabric.deploy(chain_plan(names, WATCHED - len(names)))
        sink = fabric.namespace("pod").socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind(("0.0.0.0", 9))
        seen: Counter[tuple[str, str]] = Counter()

        def take(frame: Frame) -> None:
            seen[frame.namespace, frame.interface] += 1

        program = protocols_filter(4, [17])
        with Capture(fabric.namespaces(), program=program) as watching:
            watching.run_in_thread(take)
            start, cpu = time.monotonic(), time.process_time()
            sent = send_at_rate(fabric.namespace("client"), "10.0.3.2")
            took = time.monotonic() - start
            dropped = watching.stop()
            used = time.process_time() - cpu
            waiting = watching.close()
            closing = timed(waiting)
        sink.close()
    missing = sum(sent - count for count in seen.values()) + (INTERFACES - len(seen)) * sent
    print(
        f"capture: {sent} packets in {took:.2f} s on {len(seen)} interfaces, {WATCHED} namespaces "
        f"watched: {missing} missing, {sum(dropped.values())} dropped by the kernel, "
        f"{used / took:.0%} of a CPU; closing {closing * 1000:.0f} ms"
    )
    return missing == 0 and not dropped


if __name__ == "__main__":
    results = [explain(), capture(), predictions()]
    sys.exit(0 if all(results) else 1)
