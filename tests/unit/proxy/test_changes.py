"""What the proxy's state takes from objects, and which changes it reports."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.objects import IPV4, IPV6, EndpointSlice, NamespacedName, Service
from testbed.proxy.changes import ProxyState
from testbed.proxy.service_port import ServicePortName

WEB = NamespacedName("default", "web")
HTTP = ServicePortName("default", "web", "http", "TCP")
DNS = ServicePortName("default", "web", "dns", "UDP")


def service(labels: dict[str, str] | None = None, **spec: Any) -> Service:
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    ingress = spec.pop("ingress", [])
    return Service.from_document(
        {
            "metadata": {"name": "web", "namespace": "default", "labels": labels or {}},
            "spec": {"clusterIPs": ["10.96.0.10"], "ports": ports, **spec},
            "status": {"loadBalancer": {"ingress": ingress}},
        }
    )


def piece(
    *addresses: str, key: str = "web-1", labels: dict[str, str] | None = None, **fields: Any
) -> EndpointSlice:
    endpoints = [
        {"addresses": [address], "nodeName": "w1", "conditions": fields.get("conditions", {})}
        for address in addresses
    ]
    return EndpointSlice.from_document(
        {
            "metadata": {
                "name": key,
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web", **(labels or {})},
            },
            "addressType": fields.get("family", IPV4),
            "endpoints": endpoints,
            "ports": fields.get("ports", [{"name": "http", "protocol": "TCP", "port": 8080}]),
        }
    )


def state_of(*objects: Service | EndpointSlice, family: str = IPV4) -> ProxyState:
    state = ProxyState(family, "w1")
    for item in objects:
        if isinstance(item, Service):
            state.update_service(item)
        else:
            state.update_slice(item)
    return state


def texts(state: ProxyState, name: ServicePortName = HTTP) -> list[str]:
    return [endpoint.text for endpoint in state.endpoints.get(name, ())]


def test_only_changed_ports_are_reported_and_only_once() -> None:
    state = state_of(service())
    assert state.checkout().ports == {HTTP, DNS}
    state.update_service(service())
    state.update_slice(piece("10.244.1.1"))
    assert state.checkout().ports == {HTTP}
    state.update_slice(piece("10.244.1.1"))
    assert not state.checkout()


def test_a_service_that_goes_is_reported_and_its_endpoints_stay_for_its_return() -> None:
    state = state_of(service(), piece("10.244.1.1"))
    state.checkout()
    state.delete_service(WEB)
    assert state.checkout().ports == {HTTP, DNS}
    assert (state.services, state.total_endpoints) == ({}, 0)
    state.update_service(service())
    assert state.total_endpoints == 1
    assert texts(state) == ["10.244.1.1:8080"]


def test_endpoints_are_sorted_as_text() -> None:
    state = state_of(service(), piece("10.0.0.2", "10.0.0.10"), piece("10.0.0.1", key="web-0"))
    assert texts(state) == ["10.0.0.10:8080", "10.0.0.1:8080", "10.0.0.2:8080"]


@pytest.mark.parametrize(("first", "ready"), [("a", False), ("z", True)])
def test_of_one_address_twice_the_later_counts_unless_it_terminates(
    first: str, ready: bool
) -> None:
    terminating = {"ready": False, "serving": True, "terminating": True}
    unready = {"ready": False, "serving": False, "terminating": False}
    state = state_of(
        service(),
        piece("10.0.0.1", key="m", conditions=unready if first == "a" else {}),
        piece("10.0.0.1", key=first, conditions=terminating),
    )
    (endpoint,) = state.endpoints[HTTP]
    assert (endpoint.ready, endpoint.terminating) == (ready, False)


def test_conditions_left_out_mean_ready_serving_and_not_terminating() -> None:
    (endpoint,) = state_of(service(), piece("10.0.0.1")).endpoints[HTTP]
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == (True, True, False)


@pytest.mark.parametrize(
    "other",
    [
        service(labels={"service.kubernetes.io/service-proxy-name": "x"}),
        service(clusterIPs=["None"]),
        service(type="ExternalName"),
        service(clusterIPs=["fd00::1"]),
    ],
    ids=["another proxy's", "headless", "ExternalName", "of the other family"],
)
def test_a_service_that_is_not_for_this_proxy_has_no_ports(other: Service) -> None:
    state = state_of(other)
    assert (state.services, state.problems) == ({}, ())
    state = state_of(service())
    state.update_service(other)
    assert state.services == {}


def test_slices_of_headless_services_and_of_the_other_family_are_left_out() -> None:
    headless = piece("10.0.0.1", labels={"service.kubernetes.io/headless": ""})
    six = piece("fd00::1", family=IPV6, key="web-6")
    assert state_of(service(), headless, six).endpoints == {}


def test_a_slice_that_moves_to_another_service_leaves_the_first() -> None:
    state = state_of(service(), piece("10.0.0.1"))
    state.update_slice(piece("10.0.0.1", labels={"kubernetes.io/service-name": "other"}))
    assert texts(state) == []
    assert texts(state, HTTP._replace(name="other")) == ["10.0.0.1:8080"]


def test_conntrack_is_cleaned_when_endpoints_of_a_service_with_udp_change_and_only_then() -> None:
    ports = [{"name": "dns", "protocol": "UDP", "port": 5353}]
    state = state_of(service(), piece("10.0.0.1"))
    assert not state.checkout().clean_conntrack
    state.update_slice(piece("10.0.0.1", ports=ports, key="web-u"))
    assert state.checkout().clean_conntrack
    state.update_service(service(sessionAffinity="ClientIP"))
    assert not state.checkout().clean_conntrack
    state.update_slice(piece("10.0.0.2"))
    assert state.checkout().clean_conntrack
    state.delete_slice(NamespacedName("default", "web-u"))
    assert state.checkout().clean_conntrack


@pytest.mark.parametrize(
    ("objects", "named"),
    [
        ([service(clusterIPs=["10.96.0.300"])], "clusterIP '10.96.0.300' is not an IP address"),
        ([service(clusterIPs=["10.96.0.1"], ipFamilies=[IPV6])], "clusterIP 10.96.0.1 is not IPv6"),
        ([service(externalIPs=["nonsense"])], "externalIPs 'nonsense' is not an IP address"),
        ([service(externalIPs=["fd00::1"])], "externalIPs fd00::1 is IPv6"),
        ([service(loadBalancerSourceRanges=["10.0.0.0"])], "'10.0.0.0' is not a CIDR"),
        ([service(ingress=[{"ip": "x.y"}])], "ingress 'x.y' is not an IP address"),
        ([service(), piece("fd00::1")], "EndpointSlice default/web-1: fd00::1 is not IPv4"),
        ([service(), piece("10.0.0.1x")], "'10.0.0.1x' is not an IP address"),
        ([service(), piece("10.0.0.1", ports=[{"name": "http"}])], "a port without a number"),
        ([service(), piece("10.0.0.1", ports=[{"name": None, "port": 80}])], "without a name"),
        ([service(), piece("10.0.0.1", ports=[{"name": "http", "port": 70000}])], "no port number"),
        (
            [service(), piece("10.0.0.1", ports=[{"name": "http", "port": 80, "protocol": "FOO"}])],
            "protocol 'FOO'",
        ),
    ],
)
def test_what_is_wrong_is_named_and_the_rest_works(objects: list[Any], named: str) -> None:
    fine = service().ports
    good = Service.from_document(
        {
            "metadata": {"name": "good"},
            "spec": {"clusterIPs": ["10.96.0.2"], "ports": [{"port": 1}]},
        }
    )
    state = state_of(*objects, good, piece("10.9.9.9", key="good-1"))
    (problem,) = state.problems
    assert named in problem
    assert ServicePortName("default", "good", "", "TCP") in state.services
    assert "10.9.9.9:8080" in texts(state)
    assert fine


def test_a_problem_goes_with_its_object() -> None:
    state = state_of(service(externalIPs=["nonsense"]), piece("bad"))
    assert len(state.problems) == 2
    state.update_service(service())
    state.delete_slice(NamespacedName("default", "web-1"))
    assert state.problems == ()


def test_addresses_of_a_dual_stack_service_go_to_their_family() -> None:
    both = service(
        type="LoadBalancer",
        clusterIPs=["10.96.0.1", "fd00:10:96::1"],
        ipFamilies=[IPV4, IPV6],
        externalIPs=["192.0.2.1", "2001:DB8::1"],
        loadBalancerSourceRanges=[" 203.0.113.7/24 ", "2001:db8::/32"],
        ingress=[
            {"ip": "198.51.100.1"},
            {"ip": "2001:db8::2"},
            {"ip": "1.1.1.1", "ipMode": "Proxy"},
        ],
    )
    four = state_of(both).services[HTTP]
    six = state_of(both, family=IPV6).services[HTTP]
    assert (four.cluster_ip, six.cluster_ip) == ("10.96.0.1", "fd00:10:96::1")
    assert (four.external_ips, six.external_ips) == (("192.0.2.1",), ("2001:db8::1",))
    assert (four.source_ranges, six.source_ranges) == (("203.0.113.0/24",), ("2001:db8::/32",))
    assert (four.load_balancer_vips, six.load_balancer_vips) == (
        ("198.51.100.1",),
        ("2001:db8::2",),
    )
    assert state_of(both).problems == ()


def test_a_source_range_of_everything_lets_everybody_in() -> None:
    ranges = ["203.0.113.0/24", "0.0.0.0/0"]
    info = state_of(service(loadBalancerSourceRanges=ranges)).services[HTTP]
    assert info.source_ranges == ()


@pytest.mark.parametrize(
    ("spec", "port"),
    [
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, 32000),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}, 0),
        ({"type": "NodePort", "externalTrafficPolicy": "Local"}, 0),
    ],
)
def test_a_health_check_node_port_needs_a_load_balancer_with_policy_local(
    spec: dict[str, str], port: int
) -> None:
    info = state_of(service(healthCheckNodePort=32000, **spec)).services[HTTP]
    assert info.health_check_node_port == port
