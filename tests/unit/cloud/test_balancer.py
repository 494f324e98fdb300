from __future__ import annotations

from typing import Any

import pytest

from testbed.api.objects import LABEL_EXCLUDE_BALANCER, Node, Service
from testbed.cloud.balancer import (
    ANNOTATION_DATA_PLANE,
    ANNOTATION_SOURCE_RANGES,
    DataPlane,
    data_plane_of,
    is_target,
    load_balancer,
    targets,
)
from testbed.cloud.interface import CloudError


def node(name: str = "w1", labels: dict[str, str] | None = None, **fields: Any) -> Node:
    addresses = (
        ("InternalIP", "172.18.0.11"),
        ("InternalIP", "fd00:172:18::11"),
        ("Hostname", name),
    )
    return Node(name, labels or {}, addresses, (), **fields)


def service(annotations: dict[str, str] | None = None, **spec: Any) -> Service:
    meta = {"name": "web", "namespace": "default", "annotations": annotations or {}}
    return Service.from_document({"metadata": meta, "spec": {"type": "LoadBalancer", **spec}})


@pytest.mark.parametrize(
    ("value", "included"),
    [("", False), ("true", False), ("anything", False), ("false", True), ("0", True), ("F", True)],
)
def test_exclude_label_is_read_as_a_truth_value(value: str, included: bool) -> None:
    assert is_target(node(labels={LABEL_EXCLUDE_BALANCER: value})) == included


def test_leaving_nodes_are_no_targets_but_unready_ones_are() -> None:
    assert not is_target(node(deleting=True))
    assert not is_target(node(taints=("ToBeDeletedByClusterAutoscaler",)))
    assert is_target(node(ready=False))


def test_targets_have_one_internal_address_per_family() -> None:
    (target,) = targets([node()])
    assert target.addresses == ("172.18.0.11", "fd00:172:18::11")
    assert target.address("IPv6") == "fd00:172:18::11"


def test_local_policy_is_probed_at_its_own_port_and_cluster_at_the_proxys() -> None:
    local = service(externalTrafficPolicy="Local", healthCheckNodePort=32000)
    assert load_balancer(local, [], (), DataPlane.NAT).health_port == 32000
    cluster = service(externalTrafficPolicy="Cluster")
    assert load_balancer(cluster, [], (), DataPlane.NAT).health_port == 10256


def test_annotation_chooses_the_data_plane() -> None:
    made = load_balancer(service({ANNOTATION_DATA_PLANE: "dsr"}), [], (), DataPlane.NAT)
    assert made.data_plane is DataPlane.DSR
    with pytest.raises(CloudError, match="one of nat, nat-masquerade, dsr, proxy"):
        load_balancer(service({ANNOTATION_DATA_PLANE: "x"}), [], (), DataPlane.NAT)


@pytest.mark.parametrize(
    ("ranges", "v4", "v6"),
    [
        ([], (), ()),
        (["10.0.0.0/8", " 10.1.0.0/16 "], ("10.0.0.0/8",), ()),
        (["10.0.0.0/8", "0.0.0.0/0"], (), ()),
        (["10.0.0.9/8", "2001:db8::/32"], ("10.0.0.0/8",), ("2001:db8::/32",)),
        (["::/0", "10.0.0.0/8"], ("10.0.0.0/8",), ()),
    ],
)
def test_source_ranges_filter_per_family(
    ranges: list[str], v4: tuple[str, ...], v6: tuple[str, ...]
) -> None:
    made = load_balancer(service(loadBalancerSourceRanges=ranges), [], (), DataPlane.NAT)
    assert (made.ranges("IPv4"), made.ranges("IPv6")) == (v4, v6)


def test_annotated_source_ranges_count_where_the_spec_has_none() -> None:
    old = {ANNOTATION_SOURCE_RANGES: "10.0.0.0/8, 192.0.2.0/24"}
    made = load_balancer(service(old), [], (), DataPlane.NAT)
    assert made.ranges("IPv4") == ("10.0.0.0/8", "192.0.2.0/24")
    both = service(old, loadBalancerSourceRanges=["172.16.0.0/12"])
    assert load_balancer(both, [], (), DataPlane.NAT).ranges("IPv4") == ("172.16.0.0/12",)
    with pytest.raises(CloudError, match="isn't a CIDR"):
        load_balancer(service({ANNOTATION_SOURCE_RANGES: "x"}), [], (), DataPlane.NAT)


@pytest.mark.parametrize(
    ("asked", "default", "given"),
    [
        (None, DataPlane.NAT, DataPlane.DSR),
        (None, DataPlane.PROXY, DataPlane.DSR),
        ("dsr", DataPlane.NAT, DataPlane.DSR),
    ],
)
def test_port_without_a_node_port_is_served_directly(
    asked: str | None, default: DataPlane, given: DataPlane
) -> None:
    annotations = {ANNOTATION_DATA_PLANE: asked} if asked else {}
    assert data_plane_of(service(annotations, ports=[{"port": 80}]), default) is given


@pytest.mark.parametrize(
    ("asked", "port", "message"),
    [
        ("nat", {"port": 80}, "port 80 has no node port, which nat sends to"),
        ("proxy", {"port": 53, "nodePort": 30053, "protocol": "UDP"}, "proxy serves TCP only"),
    ],
)
def test_what_a_data_plane_cannot_serve_is_refused(
    asked: str, port: dict[str, Any], message: str
) -> None:
    with pytest.raises(CloudError, match=message):
        data_plane_of(service({ANNOTATION_DATA_PLANE: asked}, ports=[port]), DataPlane.NAT)
