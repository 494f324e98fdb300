from __future__ import annotations

from dataclasses import replace

from testbed.api.objects import NamespacedName
from testbed.cloud.balancer import DataPlane, Listener, LoadBalancer, Target
from testbed.cloud.proxy import configuration

WEB = LoadBalancer(
    key=NamespacedName("default", "web"),
    addresses=("198.51.100.1", "2001:db8:100::1"),
    listeners=(Listener("TCP", 80, 30080),),
    targets=(Target("w1", ("172.18.0.11", "fd00:172:18::11")), Target("w2", ("172.18.0.12",))),
    source_ranges=(),
    affinity=False,
    health_port=10256,
    data_plane=DataPlane.PROXY,
)
HEALTHY = frozenset({"w1", "w2"})


def test_every_address_and_port_is_a_section_with_its_healthy_nodes() -> None:
    text = configuration([(WEB, HEALTHY)], "/run/x")
    assert text.endswith(
        "listen default.web.80.ipv4\n"
        "    bind 198.51.100.1:80\n"
        "    balance roundrobin\n"
        "    server w1 172.18.0.11:30080 send-proxy-v2\n"
        "    server w2 172.18.0.12:30080 send-proxy-v2\n"
        "listen default.web.80.ipv6\n"
        "    bind [2001:db8:100::1]:80\n"
        "    balance roundrobin\n"
        "    server w1 [fd00:172:18::11]:30080 send-proxy-v2\n"
    )
    assert "w2" not in configuration([(WEB, frozenset({"w1"}))], "/run/x")


def test_affinity_is_by_source_and_the_header_can_be_left_out() -> None:
    sticky = replace(WEB, affinity=True, proxy_protocol=False)
    text = configuration([(sticky, HEALTHY)], "/run/x")
    assert "balance source\n    hash-type consistent\n" in text
    assert "send-proxy" not in text


def test_order_of_services_makes_no_difference() -> None:
    other = replace(WEB, key=NamespacedName("default", "api"))
    pairs = [(WEB, HEALTHY), (other, HEALTHY)]
    assert configuration(pairs, "/run/x") == configuration(pairs[::-1], "/run/x")
