"""How fast the cluster's DNS answers, next to a server that only echoes (same sockets, same loop).

Run as root: python benchmarks/dns.py. The server is a child process in one namespace, the clients
ask from another. Exit status 1 where a bound of the issue is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import socket
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator

from testbed.api.objects import Service
from testbed.dns.records import ClusterRecords
from testbed.dns.server import DnsServer, Responder
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace
from testbed.fabric.specs import End, NamespaceSpec, Plan, Veth

SERVICES = 10_000
SERVER = "10.0.0.1"
DNS, ECHO, CONTROL = 53, 54, 55
WINDOW = 64
RATE_BOUND, P99_BOUND, FRESH_BOUND = 5_000.0, 0.005, 0.020


def main() -> int:
    plan = Plan(
        namespaces=(NamespaceSpec("server"), NamespaceSpec("client")),
        veths=(
            Veth(
                End("server", "eth0", addresses=(f"{SERVER}/24",)),
                End("client", "eth0", addresses=("10.0.0.2/24",)),
            ),
        ),
    )
    with Fabric(f"bench-{uuid.uuid4().hex[:8]}") as fabric:
        fabric.deploy(plan)
        with serving(fabric.namespace("server")):
            return measure(fabric.namespace("client"))


@contextlib.contextmanager
def serving(namespace: Namespace) -> Iterator[None]:
    """DNS, echo and control sockets of `namespace`, served by a child process."""
    sockets = []
    for port in (DNS, ECHO, CONTROL):
        sockets.append(namespace.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sockets[-1].bind((SERVER, port))
    child = os.fork()
    if not child:
        try:
            asyncio.run(serve(*sockets))
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


async def serve(dns: socket.socket, echo: socket.socket, control: socket.socket) -> None:
    """Answer for ever. A datagram on `control` applies the Service whose number it carries."""
    records = ClusterRecords()
    for number in range(SERVICES):
        records.set_service(service(number))
    DnsServer(Responder(records), [dns])
    loop = asyncio.get_running_loop()

    def bounce() -> None:
        data, client = echo.recvfrom(4096)
        echo.sendto(data, client)

    def apply() -> None:
        data, client = control.recvfrom(4096)
        records.set_service(service(int(data)))
        control.sendto(data, client)

    loop.add_reader(echo, bounce)
    loop.add_reader(control, apply)
    await asyncio.Event().wait()


def service(number: int) -> Service:
    address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return Service.from_document(
        {
            "metadata": {"name": f"s{number}", "namespace": f"ns{number % 10}"},
            "spec": {"clusterIPs": [address], "ports": [{"name": "http", "port": 80}]},
        }
    )


def question(number: int, ident: int) -> bytes:
    labels = (f"s{number}", f"ns{number % 10}", "svc", "cluster", "local")
    name = b"".join(bytes((len(label),)) + label.encode() for label in labels)
    return ident.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + name + b"\0\0\1\0\1"


def measure(namespace: Namespace) -> int:
    def connected(port: int) -> socket.socket:
        sock = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((SERVER, port))
        sock.settimeout(5)
        return sock

    control = connected(CONTROL)
    control.send(b"0")
    control.recv(16)  # the server is up
    echo = throughput(connected(ECHO), lambda n: question(0, n & 0xFFFF))
    dns = throughput(connected(DNS), lambda n: question(random.randrange(SERVICES), n & 0xFFFF))
    print(f"echo floor              {echo:>9,.0f} queries/s")
    print(f"A queries               {dns:>9,.0f} queries/s  ({dns / echo:.0%} of the floor)")
    floor = steady(connected(ECHO))
    delays = steady(connected(DNS))
    p99_floor, p99 = (quantile(values, 0.99) for values in (floor, delays))
    print(f"at 1,000/s, p50 / p99   {statistics.median(delays) * 1e3:.2f} / {p99 * 1e3:.2f} ms")
    print(
        f"  echo floor            {statistics.median(floor) * 1e3:.2f} / {p99_floor * 1e3:.2f} ms"
    )
    fresh = freshness(control, connected(DNS))
    print(f"new Service answers in  {fresh * 1e3:.2f} ms (worst of 50, {SERVICES:,} Services)")
    missed = [
        text
        for text, bad in (
            (f"fewer than {RATE_BOUND:,.0f} queries/s", dns < RATE_BOUND),
            (f"p99 over {P99_BOUND * 1e3:.0f} ms", p99 > P99_BOUND),
            (f"a new Service after {FRESH_BOUND * 1e3:.0f} ms", fresh > FRESH_BOUND),
        )
        if bad
    ]
    for text in missed:
        print(f"missed: {text}")
    return 1 if missed else 0


def throughput(sock: socket.socket, make: Callable[[int], bytes], seconds: float = 3.0) -> float:
    """Answers per second with `WINDOW` queries under way."""
    packets = [make(n) for n in range(65_536)]
    end = time.perf_counter() + seconds
    sent = WINDOW
    for packet in packets[:WINDOW]:
        sock.send(packet)
    received = 0
    start = time.perf_counter()
    while time.perf_counter() < end:
        for _ in range(WINDOW):
            answer = sock.recv(512)
            if answer[3] & 0xF:
                raise SystemExit(f"an answer with code {answer[3] & 0xF}")
            sock.send(packets[sent & 0xFFFF])
            sent += 1
        received += WINDOW
    return received / (time.perf_counter() - start)


def steady(sock: socket.socket, rate: int = 1_000, seconds: float = 3.0) -> list[float]:
    """Seconds from a query to its answer, at a fixed rate, whatever the answers do."""
    begun: dict[int, float] = {}
    delays: list[float] = []
    start = time.perf_counter()
    total = int(rate * seconds)
    ident = 0
    while len(delays) < total:
        now = time.perf_counter()
        while ident < total and now >= start + ident / rate:
            begun[ident] = time.perf_counter()
            sock.send(question(random.randrange(SERVICES), ident))
            ident += 1
        due = start + ident / rate - time.perf_counter() if ident < total else 5.0
        if select.select([sock], [], [], max(due, 0))[0]:
            answer = sock.recv(512)
            delays.append(time.perf_counter() - begun[int.from_bytes(answer[:2], "big")])
    return delays


def freshness(control: socket.socket, dns: socket.socket, times: int = 50) -> float:
    """The longest from handing in a new Service to the first answer that has its address."""
    worst = 0.0
    for number in range(SERVICES, SERVICES + times):
        start = time.perf_counter()
        control.send(str(number).encode())
        while True:
            dns.send(question(number, 1))
            if dns.recv(512)[3] & 0xF == 0:
                break
        worst = max(worst, time.perf_counter() - start)
        control.recv(16)
    return worst


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


if __name__ == "__main__":
    sys.exit(main())
