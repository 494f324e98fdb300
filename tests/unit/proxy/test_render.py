"""What the recordings don't hold: large clusters, ranges that overlap, elements with two owners."""

from __future__ import annotations

import pytest

from testbed.api.objects import IPV4, Service
from testbed.proxy.config import KubeProxyConfiguration
from testbed.proxy.instance import Instance
from testbed.proxy.iptables import render as iptables
from testbed.proxy.nftables import names
from testbed.proxy.nftables import render as nftables
from testbed.proxy.nftables.ranges import address_set
from testbed.proxy.nftables.ruleset import ElementKey, duration
from testbed.proxy.node import LocalNode
from tests.unit.proxy.test_flows import endpoints, service
from tests.unit.proxy.worlds import make_state

NODE = LocalNode("w1", IPV4, "172.18.0.11", ("127.0.0.1", "172.18.0.11"))
INSTANCE = Instance(NODE, KubeProxyConfiguration(), ())


def many(count: int) -> str:
    return " ".join(f"10.244.{n >> 8}.{n & 255}" for n in range(count))


@pytest.mark.parametrize(("count", "comments"), [(1000, True), (1001, False)])
def test_a_large_cluster_has_no_comments_on_endpoints(count: int, comments: bool) -> None:
    docs = [service("s", "10.96.0.1"), endpoints("s", many(count))]
    text = iptables.Renderer(INSTANCE).render(make_state(docs, IPV4, "w1")).text()
    assert ('"ns/s:p -> 10.244.0.0:80"' in text) is comments
    assert ('-s 10.244.0.0/32 -m comment --comment "ns/s:p" -j' in text) is comments
    assert '--comment "ns/s:p cluster IP"' in text


def test_endpoints_of_no_service_do_not_make_a_cluster_large() -> None:
    docs = [service("s", "10.96.0.1"), endpoints("other", many(1500)), endpoints("s", "10.0.0.1")]
    assert not iptables.Renderer(INSTANCE).render(make_state(docs, IPV4, "w1")).large


def test_crossing_the_limit_renders_every_service_anew() -> None:
    docs = [
        *(service("s", "10.96.0.1"), endpoints("s", "10.0.0.1")),
        *(service("t", "10.96.0.2"), endpoints("t", many(1001))),
    ]
    state = make_state(docs[:3], IPV4, "w1")
    renderer = iptables.Renderer(INSTANCE)
    before = renderer.render(state)
    state.checkout()
    large = make_state(docs, IPV4, "w1")
    after = renderer.update(before, large, [name for name in large.services if name.name == "t"])
    assert after == renderer.render(large)
    assert '"ns/s:p -> 10.0.0.1:80"' in before.text()
    assert '"ns/s:p -> 10.0.0.1:80"' not in after.text()


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (["203.0.113.0/24"], "203.0.113.0/24"),
        (["203.0.113.5/32"], "203.0.113.5"),
        (["203.0.113.0/24", "10.0.0.0/8"], "{ 10.0.0.0/8, 203.0.113.0/24 }"),
        (["10.0.0.0/8", "10.1.0.0/16"], "{ 10.0.0.0/8 }"),
        (["10.0.0.0/24", "10.0.1.0/24"], "{ 10.0.0.0/23 }"),
        (["10.0.1.0/24", "10.0.2.0/24"], "{ 10.0.1.0-10.0.2.255 }"),
        (["10.0.1.0/24", "10.0.2.0"], "{ 10.0.1.0-10.0.2.0 }"),
        (["2001:db8::/32", "2001:db8::1", "fd00::1/128"], "{ 2001:db8::/32, fd00::1 }"),
    ],
)
def test_ranges_are_listed_as_nft_lists_them(members: list[str], text: str) -> None:
    assert address_set(members) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1s"), (60, "1m"), (10800, "3h"), (86400, "1d"), (3661, "1h1m1s")]
)
def test_a_timeout_is_printed_as_nft_prints_it(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_an_element_with_two_owners_stays_until_the_last_one_goes() -> None:
    docs = [
        *(service("a", "10.96.0.1", externalIPs=["192.0.2.1"]), endpoints("a", "10.0.0.1/l")),
        *(service("b", "10.96.0.2", externalIPs=["192.0.2.1"]), endpoints("b", "10.0.0.1/l")),
    ]
    state = make_state(docs, IPV4, "w1")
    renderer = nftables.Renderer(INSTANCE)
    both = renderer.render(state)
    state.checkout()
    shared = ElementKey(names.SERVICE_IPS, "192.0.2.1 . tcp . 80")
    hairpin = ElementKey(names.HAIRPIN_CONNECTIONS, "10.0.0.1 . 10.0.0.1 . tcp . 80")
    assert "ns/a/tcp/p" in both.contents()[shared.container][shared.key].verdict

    state.delete_service(Service.from_document(docs[0]).key)
    one = renderer.update(both, state, state.checkout().ports)
    difference = one.difference(both)
    before, after = difference.elements[shared]
    assert before is not None
    assert after is not None
    assert "ns/b/tcp/p" in after.verdict
    assert hairpin not in difference.elements
    assert difference.elements[ElementKey(names.CLUSTER_IPS, "10.96.0.1")][1] is None

    state.delete_service(Service.from_document(docs[2]).key)
    none = renderer.update(one, state, state.checkout().ports)
    assert none.difference(one).elements[hairpin][1] is None
    assert none == renderer.render(state)


def test_a_service_behind_source_ranges_has_its_firewall_without_endpoints_in_nftables_only() -> (
    None
):
    docs = [
        service(
            *("s", "10.96.0.1"),
            type="LoadBalancer",
            vips=["198.51.100.1"],
            loadBalancerSourceRanges=["203.0.113.0/24"],
        )
    ]
    state = make_state(docs, IPV4, "w1")
    table = nftables.Renderer(INSTANCE).render(state).text()
    assert "198.51.100.1 . tcp . 80 : goto firewall-" in table
    assert "ip saddr != 203.0.113.0/24 drop" in table
    assert "KUBE-FW-" not in iptables.Renderer(INSTANCE).render(state).text()
