"""FROM and TO words: what they read as, what they find, and the line a wrong one gets."""

from __future__ import annotations

import pytest

from testbed.api.objects import Pod
from testbed.errors import UsageError
from testbed.oracle.expectation import Place
from testbed.oracle.targets import (
    Word,
    flow_to,
    parse,
    resolve_start,
    resolve_targets,
)
from testbed.oracle.world import Settings, World
from tests.unit.oracle.builders import endpoint, node, port, service, slice_of


def pod(name: str, ip: str, *, phase: str = "Running", host: bool = False) -> Pod:
    namespace, _, short = name.partition("/")
    return Pod.from_document(
        {
            "metadata": {"namespace": namespace, "name": short},
            "spec": {
                "nodeName": "w1",
                "hostNetwork": host,
                "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}],
            },
            "status": {"podIP": ip, "phase": phase} if ip else {"phase": phase},
        }
    )


HTTP, DNS = port("http", 80, node_port=30080), port("dns", 53, "UDP", 30053)
WORLD = World(
    [
        service(
            "default/web",
            "10.96.0.20",
            type="LoadBalancer",
            vips=["198.51.100.10"],
            externalIPs=["192.0.2.7"],
            ports=[HTTP],
        ),
        service("default/many", "10.96.0.21,fd00:10:96::21", ports=[HTTP, DNS]),
        service("default/both", "10.96.0.22", ports=[port("t", 53), port("u", 53, "UDP")]),
        service("shop/cart", "10.96.0.23"),
        service("default/empty", "10.96.0.24", ports=[]),
        service("default/db", "None"),
        service("default/nodb", "None"),
        service("default/bare", ""),
        service("default/alias", "", type="ExternalName", externalName="db.example.com"),
    ],
    [slice_of("default/db", [endpoint("10.244.1.5"), endpoint("10.244.1.6", ready=False)])],
    [node("w1", "172.18.0.11", "fd00:172:18::11"), node("w2", "172.18.0.12")],
    [
        pod("default/web-0", "10.244.1.5"),
        pod("shop/cart-0", "10.244.1.7"),
        pod("default/host", "172.18.0.11", host=True),
        pod("default/slow", "", phase="Pending"),
        pod("default/done", "10.244.1.9", phase="Succeeded"),
    ],
    Settings(),
)


@pytest.mark.parametrize(
    ("text", "kind", "namespace", "name", "port"),
    [
        ("pod/web-0", "pod", "", "web-0", ""),
        ("pod/shop/cart-0:8080", "pod", "shop", "cart-0", "8080"),
        ("po/web-0", "pod", "", "web-0", ""),
        ("node/w1:30080", "node", "", "w1", "30080"),
        ("node/w1.example.com", "node", "", "w1.example.com", ""),
        ("svc/web", "svc", "", "web", ""),
        ("svc/web:http", "svc", "", "web", "http"),
        ("service/shop/cart", "svc", "shop", "cart", ""),
        ("svc/cart.shop:80", "svc", "shop", "cart", "80"),
        ("cart.shop", "svc", "shop", "cart", ""),
        ("cart.shop.svc.cluster.local:80", "svc", "shop", "cart", "80"),
        ("web", "", "", "web", ""),
        ("client", "client", "", "client", ""),
        ("client/c2", "client", "", "c2", ""),
        ("198.51.100.10:80", "address", "", "198.51.100.10", "80"),
        ("10.0.0.1", "address", "", "10.0.0.1", ""),
        ("[2001:DB8::1]:443", "address", "", "2001:db8::1", "443"),
        ("2001:db8::1", "address", "", "2001:db8::1", ""),
        ("localhost:30080", "address", "", "127.0.0.1", "30080"),
        ("app.example.com:443", "dns", "", "app.example.com", "443"),
    ],
)
def test_word_reads_as(text: str, kind: str, namespace: str, name: str, port: str) -> None:
    assert parse(text) == Word(text, kind, name, namespace, port)


@pytest.mark.parametrize(
    "text", ["", "deploy/web", "pod/", "pod/a/b/c", "[nonsense]:80", "a.", ".b"]
)
def test_word_that_means_nothing_is_one_line(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "place", "where", "addresses"),
    [
        ("pod/web-0", Place.POD, "w1", ("10.244.1.5",)),
        ("web-0", Place.POD, "w1", ("10.244.1.5",)),
        ("pod/shop/cart-0", Place.POD, "w1", ("10.244.1.7",)),
        ("pod/host", Place.NODE, "w1", ("172.18.0.11",)),
        ("node/w2", Place.NODE, "w2", ("172.18.0.12",)),
        ("w2", Place.NODE, "w2", ("172.18.0.12",)),
        ("client", Place.OUTSIDE, "", ("203.0.113.2", "2001:db8:113::2")),
        ("10.244.1.7", Place.POD, "w1", ("10.244.1.7",)),
        ("172.18.0.12", Place.NODE, "w2", ("172.18.0.12",)),
        ("192.0.2.1", Place.OUTSIDE, "", ("192.0.2.1",)),
    ],
)
def test_from_starts_at(text: str, place: Place, where: str, addresses: tuple[str, ...]) -> None:
    start = resolve_start(WORLD, parse(text))
    assert (start.origin.place, start.origin.node) == (place, where)
    assert start.addresses == addresses


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pod/web-1", "no Pod 'web-1' in namespace default; did you mean pod/web-0?"),
        ("pod/cart-0", "no Pod 'cart-0' in namespace default; did you mean pod/shop/cart-0?"),
        ("pod/slow", "pod/slow in default isn't running (it is Pending)"),
        ("pod/done", "pod/done in default isn't running (it is Succeeded)"),
        ("node/w9", "no node 'w9'; did you mean w2 or w1?"),
        ("client/c2", "no client 'c2'; known are client"),
        ("wep-0", "nothing is called 'wep-0'; did you mean pod/web-0?"),
        ("svc/web", "'svc/web': packets start at a Pod, a node, a client or an address"),
        ("localhost", "127.0.0.1: say on which node, or write node/NAME"),
    ],
)
def test_wrong_from_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve_start(WORLD, parse(text))
    assert str(error.value) == message


def targets(text: str, **options: object) -> list[str]:
    found = resolve_targets(WORLD, parse(text), **options)
    return [f"{t.what} {t}/{t.protocol}" for t in found]


@pytest.mark.parametrize(
    ("text", "options", "found"),
    [
        ("svc/web", {}, ["ClusterIP 10.96.0.20:80/TCP"]),
        ("web:http", {}, ["ClusterIP 10.96.0.20:80/TCP"]),
        ("web", {"port": "30080"}, ["ClusterIP 10.96.0.20:80/TCP"]),
        (
            "web",
            {"outside": True},
            [
                "load balancer IP 198.51.100.10:80/TCP",
                "externalIP 192.0.2.7:80/TCP",
                "NodePort 172.18.0.11:30080/TCP",
                "NodePort 172.18.0.12:30080/TCP",
            ],
        ),
        ("many:dns", {}, ["ClusterIP 10.96.0.21:53/UDP", "ClusterIP [fd00:10:96::21]:53/UDP"]),
        ("many", {"protocol": "udp", "namespace": "default"}, None),
        ("both", {"protocol": "udp"}, ["ClusterIP 10.96.0.22:53/UDP"]),
        ("cart.shop", {"outside": True}, ["ClusterIP 10.96.0.23:80/TCP"]),
        ("cart", {"namespace": "shop"}, ["ClusterIP 10.96.0.23:80/TCP"]),
        ("web", {"protocol": "icmp"}, ["ClusterIP 10.96.0.20/ICMP"]),
        ("pod/web-0", {}, ["pod/web-0 10.244.1.5:8080/TCP"]),
        ("pod/web-0:web", {}, ["pod/web-0 10.244.1.5:8080/TCP"]),
        ("pod/web-0:9", {"protocol": "udp"}, ["pod/web-0 10.244.1.5:9/UDP"]),
        ("10.96.0.20:80", {}, ["ClusterIP 10.96.0.20:80/TCP"]),
        ("172.18.0.12:30080", {}, ["NodePort 172.18.0.12:30080/TCP"]),
        ("192.0.2.200:1", {}, ["address 192.0.2.200:1/TCP"]),
    ],
)
def test_to_stands_for(text: str, options: dict[str, object], found: list[str] | None) -> None:
    expected = found or ["ClusterIP 10.96.0.21:53/UDP", "ClusterIP [fd00:10:96::21]:53/UDP"]
    assert targets(text, **options) == expected


def test_headless_service_is_its_ready_pods() -> None:
    world = World(
        [service("default/db", "None")],
        [slice_of("default/db", [endpoint("10.244.1.5"), endpoint("10.244.1.6", ready=False)])],
        [node("w1", "172.18.0.11")],
    )
    assert [str(t) for t in resolve_targets(world, parse("db"))] == ["10.244.1.5:80"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("wbe", {}, "nothing is called 'wbe'; did you mean svc/web"),
        ("svc/cart", {}, "no Service 'cart' in namespace default; did you mean svc/shop/cart?"),
        ("svc/empty", {}, "svc/empty has no ports"),
        ("svc/many", {}, "svc/many has several ports (http 80/TCP, dns 53/UDP): say which"),
        (
            "svc/both:53",
            {},
            "svc/both has several ports (t 53/TCP, u 53/UDP): say which with --pro",
        ),
        ("svc/web:81", {}, "svc/web has no port 81; it has http 80/TCP"),
        ("svc/web", {"protocol": "sctp"}, "svc/web has no port/SCTP; it has http 80/TCP"),
        ("svc/web:http", {"port": "80"}, "'svc/web:http' says port http, --port says 80"),
        ("svc/alias", {}, "svc/alias is an ExternalName: only a DNS alias of db.example.com"),
        ("svc/bare", {}, "svc/bare has no ClusterIP: give the objects as the API server"),
        ("svc/nodb", {}, "svc/nodb is headless and has no ready endpoint"),
        ("node/w1", {}, "node/w1: to which port? Write node/w1:PORT or --port"),
        ("node/w1:http", {}, "node/w1:http: 'http' isn't a port number (1 to 65535)"),
        ("pod/web-0:dns", {}, "pod/web-0:dns: 'dns' isn't a port number (1 to 65535)"),
        ("10.0.0.1:70000", {}, "10.0.0.1:70000: '70000' isn't a port number (1 to 65535)"),
        ("app.example.com:443", {}, "'app.example.com:443': no Service's name; resolve it"),
        ("client", {}, "'client': a packet goes to a Service, a Pod, a node, an address"),
    ],
)
def test_wrong_to_is_one_line(text: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        targets(text, **options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_node_sends_from_the_address_it_sends_to() -> None:
    start = resolve_start(WORLD, parse("node/w1"))
    for text, src in (("localhost:30080", "127.0.0.1"), ("172.18.0.12:30080", "172.18.0.11")):
        (target,) = resolve_targets(WORLD, parse(text))
        assert flow_to(WORLD, start, target).source == src


def test_family_that_the_start_lacks_is_said() -> None:
    start = resolve_start(WORLD, parse("node/w2"))
    six = resolve_targets(WORLD, parse("many:http"))[1]
    with pytest.raises(UsageError, match="node/w2 has no IPv6 address"):
        flow_to(WORLD, start, six)


def test_clients_go_by_the_names_they_are_given() -> None:
    clients = {"lb": ("198.51.100.1",), "client": ("203.0.113.2",)}
    for text in ("lb", "client/lb"):
        start = resolve_start(WORLD, parse(text), clients=clients, entry="w2")
        assert (start.origin.place, start.origin.node) == (Place.OUTSIDE, "w2")
        assert start.addresses == ("198.51.100.1",)
