from __future__ import annotations

import pytest

from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.iptables import names as iptables
from testbed.proxy.iptables.render import probability
from testbed.proxy.nftables import names as nftables
from testbed.proxy.service_port import ServicePortName

WEB = ServicePortName("default", "web", "", "TCP")
P80 = ServicePortName("ns1", "svc1", "p80", "TCP")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        (P80, "XPGD46QRK7WJZT7O"),
        (ServicePortName("ns2", "svc2", "p80", "TCP"), "GNZBNJ2PO5MGZ6GT"),
        (ServicePortName("default", "kubernetes", "https", "TCP"), "NPX46M4PTMTKRN6Y"),
        (ServicePortName("kube-system", "kube-dns", "dns", "UDP"), "TCOU7JCQXEZGVUNU"),
        (ServicePortName("kube-system", "kube-dns", "dns-tcp", "TCP"), "ERIFXISQEP7F7OF4"),
        (WEB, "LOLE4ISW44XBNF3G"),
        (WEB._replace(protocol="UDP"), "OITG2N52AJRCLORJ"),
    ],
)
def test_a_service_ports_hash_is_kube_proxys(name: ServicePortName, digest: str) -> None:
    assert iptables.port_hash(name) == digest


@pytest.mark.parametrize(
    ("name", "endpoint", "chain"),
    [
        (P80, "10.180.0.1:80", "KUBE-SEP-SXIVWICOYRO3J4NJ"),
        (WEB, "10.1.0.1:8080", "KUBE-SEP-LAE4CYYNBDVVQRFA"),
        (WEB, "[fd01::1]:8080", "KUBE-SEP-2YZW2ZZQUL5CPXH3"),
    ],
)
def test_an_endpoints_chain_is_kube_proxys(
    name: ServicePortName, endpoint: str, chain: str
) -> None:
    assert iptables.endpoint_chain(name, endpoint) == chain


@pytest.mark.parametrize(
    ("name", "base"),
    [
        (P80, "ULMVA6XW-ns1/svc1/tcp/p80"),
        (WEB, "PFISGYVC-default/web/tcp/"),
        (
            ServicePortName("default", "kubernetes", "https", "TCP"),
            "2QRHZV4L-default/kubernetes/tcp/https",
        ),
    ],
)
def test_an_nftables_base_name_is_kube_proxys(name: ServicePortName, base: str) -> None:
    assert nftables.port_base(name) == base


@pytest.mark.parametrize(
    ("name", "ip", "port", "base"),
    [
        (P80, "10.180.0.1", 80, "5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80"),
        (WEB, "10.1.0.1", 8080, "BEYXDO6U-default/web/tcp/__10.1.0.1/8080"),
        (WEB, "fd01::1", 8080, "MJZTPOU7-default/web/tcp/__fd01..1/8080"),
    ],
)
def test_an_nftables_endpoint_name_is_kube_proxys(
    name: ServicePortName, ip: str, port: int, base: str
) -> None:
    assert nftables.endpoint_base(name, EndpointInfo("", ip, port)) == base


def test_a_long_nftables_name_is_cut_and_still_unique() -> None:
    long = ServicePortName("n" * 63, "s" * 63, "p" * 63, "SCTP")
    ip = "1111:2222:3333:4444:5555:6666:7777:{}"
    first, second = (
        nftables.endpoint_base(long, EndpointInfo("", ip.format(n), 65535)) for n in (8888, 9999)
    )
    assert len(first) == len(second) == 240
    assert first.endswith("...")
    assert first != second


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (2, "0.50000000000"),
        (3, "0.33333333349"),
        (4, "0.25000000000"),
        (5, "0.20000000019"),
        (6, "0.16666666651"),
        (7, "0.14285714272"),
    ],
)
def test_a_probability_is_in_the_kernels_31_bits(left: int, text: str) -> None:
    assert probability(left) == text


def test_a_service_port_name_prints_as_kube_proxys() -> None:
    assert (str(P80), str(WEB)) == ("ns1/svc1:p80", "default/web")
