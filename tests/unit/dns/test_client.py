"""The stub resolver: which names it tries, in which order, and when it stops."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from testbed.dns import client
from testbed.dns.client import candidates, resolve
from testbed.dns.public import PublicZone
from testbed.dns.resolv import ResolvConf
from testbed.dns.server import DnsServer, Responder
from testbed.dns.zone import Type

SEARCH = ("a.svc.cluster.local", "svc.cluster.local")
POD = ResolvConf(("127.0.0.1",), SEARCH, ("ndots:5",))


@pytest.mark.parametrize(
    ("name", "conf", "tried"),
    [
        ("web", POD, ["web.a.svc.cluster.local", "web.svc.cluster.local", "web"]),
        ("web.", POD, ["web"]),
        ("a.b.c.d.e.f", POD, ["a.b.c.d.e.f", *(f"a.b.c.d.e.f.{s}" for s in SEARCH)]),
        ("x.org", ResolvConf(("127.0.0.1",), ("lan",)), ["x.org", "x.org.lan"]),
        ("x", ResolvConf(("127.0.0.1",)), ["x"]),
    ],
)
def test_dots_and_the_search_list_decide_what_is_tried(
    name: str, conf: ResolvConf, tried: list[str]
) -> None:
    assert candidates(name, conf) == tried


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A public DNS on loopback, served by a loop in a thread of its own."""
    zone = PublicZone()
    zone.set_addresses("web.svc.cluster.local", ["10.0.0.1"])
    for number in range(200):
        zone.add("many.example.org", "TXT", f"text number {number}")
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(tcp.getsockname())
    monkeypatch.setattr(client, "_PORT", tcp.getsockname()[1])
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> DnsServer:
        return DnsServer(Responder(zone), [udp], [tcp])

    async def stop() -> None:
        server.close()
        await asyncio.sleep(0)  # what was cancelled ends

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield udp.getsockname()[1]
    asyncio.run_coroutine_threadsafe(stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_the_first_name_that_exists_wins(port: int) -> None:
    found = resolve(socket.socket, POD, "web", (Type.A, Type.AAAA))
    assert found.addresses == ("10.0.0.1",)
    assert found.full_name == "web.svc.cluster.local"
    assert [(e.name, e.kind.name) for e in found.exchanges] == [
        ("web.a.svc.cluster.local", "A"),
        ("web.a.svc.cluster.local", "AAAA"),
        ("web.svc.cluster.local", "A"),
        ("web.svc.cluster.local", "AAAA"),
    ]


def test_a_name_without_this_type_is_not_a_name_that_does_not_exist(port: int) -> None:
    assert resolve(socket.socket, POD, "web", (Type.SRV,)).problem == "no record of this type"
    assert resolve(socket.socket, POD, "nobody").problem == "no such name"


def test_what_is_cut_off_is_asked_again_over_tcp(port: int) -> None:
    found = resolve(socket.socket, POD, "many.example.org.", (Type.TXT,))
    assert {r.data for r in found.answers} == {f"text number {n}" for n in range(200)}


def test_a_server_that_is_not_there_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        free = unused.getsockname()[1]
    monkeypatch.setattr(client, "_PORT", free)
    found = resolve(socket.socket, POD, "web")
    assert found.problem == "no answer: connection refused"
    assert len(found.exchanges) == client.ATTEMPTS
    assert resolve(socket.socket, ResolvConf(()), "web").problem == "resolv.conf names no server"
