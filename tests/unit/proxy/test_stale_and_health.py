"""Stale UDP entries (K-64…K-67) and the answers of health check node ports (K-55…K-59)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbed.api.objects import IPV4, EndpointSlice, NamespacedName, Service
from testbed.proxy.changes import ProxyState
from testbed.proxy.health_status import ServiceHealth, service_healths
from testbed.proxy.stale import Flow, stale_filter

SERVING = "10.244.1.1"
TERMINATING = "10.244.1.2"
UNREADY = "10.244.1.3"


def state(protocol: str = "UDP", **spec: Any) -> ProxyState:
    service = {
        "metadata": {"name": "dns", "namespace": "kube-system"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIPs": ["10.96.0.10"],
            "externalIPs": ["192.0.2.1"],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 32000,
            "ports": [{"name": "dns", "port": 53, "nodePort": 30053, "protocol": protocol}],
            **spec,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}},
    }
    conditions = {
        SERVING: {},
        TERMINATING: {"ready": False, "serving": True, "terminating": True},
        UNREADY: {"ready": False, "serving": False},
    }
    piece = {
        "metadata": {
            "name": "dns-1",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "dns"},
        },
        "addressType": IPV4,
        "ports": [{"name": "dns", "protocol": protocol, "port": 5353}],
        "endpoints": [
            {"addresses": [address], "conditions": given, "nodeName": "w1"}
            for address, given in conditions.items()
        ],
    }
    made = ProxyState(IPV4, "w1")
    made.update_service(Service.from_document(service))
    made.update_slice(EndpointSlice.from_document(piece))
    return made


@pytest.mark.parametrize(
    ("flow", "stale"),
    [
        (Flow("10.96.0.10", 53, SERVING, 5353), False),
        (Flow("10.96.0.10", 53, TERMINATING, 5353), False),
        (Flow("10.96.0.10", 53, UNREADY, 5353), True),
        (Flow("10.96.0.10", 53, "10.244.9.9", 5353), True),
        (Flow("10.96.0.10", 53, SERVING, 9999), True),
        (Flow("10.96.0.10", 53, "10.96.0.10", 53), True),
        (Flow("192.0.2.1", 53, "10.244.9.9", 5353), True),
        (Flow("198.51.100.1", 53, "10.244.9.9", 5353), True),
        (Flow("172.18.0.11", 30053, "10.244.9.9", 5353), True),
        (Flow("172.18.0.11", 30053, SERVING, 5353), False),
        (Flow("10.96.0.10", 54, "10.244.9.9", 5353), False),
        (Flow("203.0.113.1", 53, "203.0.113.1", 53), False),
    ],
)
def test_an_entry_is_stale_when_no_serving_endpoint_answers_it(flow: Flow, stale: bool) -> None:
    assert stale_filter(state()).is_stale(flow) is stale


def test_a_service_port_on_the_number_of_another_node_port_is_held_against_both() -> None:
    filter_ = stale_filter(state(ports=[{"name": "dns", "port": 30053, "nodePort": 30053}]))
    assert not filter_
    udp = {"name": "dns", "port": 30053, "nodePort": 30053, "protocol": "UDP"}
    assert stale_filter(state(ports=[udp])).is_stale(Flow("1.2.3.4", 30053, "1.2.3.4", 30053))


def test_tcp_and_sctp_entries_are_never_stale() -> None:
    assert not stale_filter(state("TCP"))
    assert not stale_filter(state("SCTP"))


def test_a_service_without_serving_endpoints_is_left_alone() -> None:
    bare = state()
    bare.delete_slice(NamespacedName("kube-system", "dns-1"))
    assert not stale_filter(bare).is_stale(Flow("10.96.0.10", 53, "10.244.9.9", 5353))


def test_health_counts_ready_local_addresses_and_not_terminating_ones() -> None:
    key = NamespacedName("kube-system", "dns")
    assert service_healths(state()) == {key: ServiceHealth(key, 32000, 1)}


def test_a_service_without_local_endpoints_is_unhealthy() -> None:
    bare = state()
    bare.delete_slice(NamespacedName("kube-system", "dns-1"))
    (health,) = service_healths(bare).values()
    assert health.local_endpoints == 0
    assert not health.is_healthy(proxy_healthy=True)


def test_a_service_with_policy_cluster_has_no_health_check() -> None:
    assert service_healths(state(externalTrafficPolicy="Cluster")) == {}


def test_the_body_is_upstreams_to_the_byte() -> None:
    health = ServiceHealth(NamespacedName("ns", "svc"), 32000, 2)
    assert health.body(proxy_healthy=True) == (
        '{\n\t"service": {\n\t\t"namespace": "ns",\n\t\t"name": "svc"\n\t},\n'
        '\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )
    assert json.loads(health.body(proxy_healthy=False))["serviceProxyHealthy"] is False
    assert health.headers()["X-Load-Balancing-Endpoint-Weight"] == "2"
    assert health.is_healthy(proxy_healthy=True)
    assert not health.is_healthy(proxy_healthy=False)
