"""The rules for changed Services and their status, V-090 to V-117, and the type transitions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from testbed.api.admission import Admission
from testbed.api.documents import Document
from testbed.api.status import StatusError

from .rules import admission, create, full, svc, trimmed

Change: TypeAlias = Callable[[Document], object]

LB: dict[str, Any] = {"type": "LoadBalancer"}
LOCAL: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
DUAL: dict[str, Any] = {"ipFamilyPolicy": "PreferDualStack"}
FIXED = "may not change once set"


class Stored:
    """A stored Service that can be changed."""

    def __init__(self, **spec: Any) -> None:
        self.admission: Admission = admission()
        self.document, _ = create(svc("d1", **spec), admission=self.admission)

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.document["spec"]
        return found

    def change(self, change: Change, subresource: str = "") -> str:
        """What is wrong with the change; "" where it is made."""
        new = copy.deepcopy(self.document)
        change(new)
        try:
            admitted = self.admission.update(
                "services", new, self.document, subresource=subresource
            )
        except StatusError as error:
            return trimmed(error)
        self.document = admitted.document
        return ""


def put(**spec: Any) -> Change:
    """Set fields of spec; None takes one away."""

    def change(document: Document) -> None:
        for name, value in spec.items():
            if value is None:
                document["spec"].pop(name, None)
            else:
                document["spec"][name] = value

    return change


def ingress(**entry: Any) -> Change:
    return lambda document: document.update(status={"loadBalancer": {"ingress": [entry]}})


REFUSED: list[tuple[str, dict[str, Any], Change, str]] = [
    (
        "V-090",
        {},
        put(clusterIP="10.96.0.77", clusterIPs=["10.96.0.77"]),
        f'spec.clusterIPs[0]: Invalid value: ["10.96.0.77"]: {FIXED}',
    ),
    (
        "V-091",
        {},
        put(clusterIP="None", clusterIPs=["None"]),
        f'spec.clusterIPs[0]: Invalid value: ["None"]: {FIXED}',
    ),
    (
        "V-092",
        {"clusterIP": "None", "selector": {"a": "b"}},
        put(type="LoadBalancer"),
        'spec.clusterIPs[0]: Invalid value: "None": '
        "may not be set to 'None' for LoadBalancer services",
    ),
    (
        "V-093",
        {"clusterIP": "None", "selector": {"a": "b"}},
        put(clusterIP="10.96.0.99", clusterIPs=["10.96.0.99"]),
        f'spec.clusterIPs[0]: Invalid value: ["10.96.0.99"]: {FIXED}',
    ),
    (
        "V-095",
        {"clusterIP": "10.96.184.228"},
        put(ipFamilies=["IPv6"]),
        'spec.clusterIPs[0]: Invalid value: "10.96.184.228": '
        "expected an IPv6 value as indicated by `ipFamilies[0]`",
    ),
    (
        "V-096",
        {"clusterIP": "10.96.0.50", **DUAL},
        put(clusterIPs=["10.96.0.50"], ipFamilies=["IPv4"]),
        "[spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' "
        "to release the secondary cluster IP, "
        'spec.ipFamilyPolicy: Invalid value: "PreferDualStack": '
        "must be 'SingleStack' to release the secondary IP family]",
    ),
    (
        "V-097",
        {"clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50", "fd00:10:96::50"], **DUAL},
        put(
            clusterIP="fd00:10:96::50",
            clusterIPs=["fd00:10:96::50", "10.96.0.50"],
            ipFamilies=["IPv6", "IPv4"],
        ),
        f'[spec.clusterIPs[0]: Invalid value: ["fd00:10:96::50","10.96.0.50"]: {FIXED}, '
        f'spec.clusterIPs[1]: Invalid value: ["fd00:10:96::50","10.96.0.50"]: {FIXED}, '
        f'spec.ipFamilies[0]: Invalid value: ["IPv6","IPv4"]: {FIXED}]',
    ),
    (
        "V-100",
        LOCAL,
        put(healthCheckNodePort=30555),
        "spec.healthCheckNodePort: Forbidden: field is immutable",
    ),
    (
        "V-104",
        LB,
        put(loadBalancerClass="x/y"),
        f'spec.loadBalancerClass: Invalid value: "x/y": {FIXED}',
    ),
    (
        "V-105",
        {**LB, "loadBalancerClass": "x/y"},
        put(loadBalancerClass="x/z"),
        f'spec.loadBalancerClass: Invalid value: "x/z": {FIXED}',
    ),
    (
        "V-106",
        {**LB, "loadBalancerClass": "x/y"},
        put(loadBalancerClass=None),
        f"spec.loadBalancerClass: Invalid value: null: {FIXED}",
    ),
    ("V-108", {}, put(type="ExternalName"), "spec.externalName: Required value"),
    (
        "V-109",
        {},
        put(ports=[{"port": 80, "nodePort": 30500}]),
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
    ),
    (
        "V-110",
        {"type": "NodePort"},
        put(ports=[{"port": 80, "nodePort": 29999}]),
        "spec.ports[0].nodePort: Invalid value: 29999: provided port is not in the valid range. "
        "The range of valid ports is 30000-32767",
    ),
]


@pytest.mark.parametrize(
    ("rule", "spec", "change", "expected"), REFUSED, ids=[row[0] for row in REFUSED]
)
def test_change_is_refused_and_takes_nothing(
    rule: str, spec: dict[str, Any], change: Change, expected: str
) -> None:
    stored = Stored(**spec)
    held = stored.admission.addresses.held(), stored.admission.ports.held()
    assert stored.change(change) == full(expected)
    assert (stored.admission.addresses.held(), stored.admission.ports.held()) == held


STATUS_REFUSED: list[tuple[str, dict[str, Any], Change, str]] = [
    ("V-112", LB, ingress(ip="foo"), 'ip: Invalid value: "foo": <IP>'),
    (
        "V-113",
        LB,
        ingress(hostname="a.b", ipMode="VIP"),
        "ipMode: Forbidden: may not be specified when `ip` is not set",
    ),
    (
        "V-114",
        LB,
        ingress(ip="192.0.2.1", ipMode="Foo"),
        'ipMode: Unsupported value: "Foo": supported values: "Proxy", "VIP"',
    ),
    (
        "V-115",
        LB,
        ingress(hostname="1.2.3.4"),
        'hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address',
    ),
    ("V-116", LB, ingress(hostname="A_b"), 'hostname: Invalid value: "A_b": <SD>'),
]


@pytest.mark.parametrize(
    ("rule", "spec", "change", "expected"), STATUS_REFUSED, ids=[row[0] for row in STATUS_REFUSED]
)
def test_status_is_refused(rule: str, spec: dict[str, Any], change: Change, expected: str) -> None:
    answer = Stored(**spec).change(change, "status")
    assert answer == full(f"status.loadBalancer.ingress[0].{expected}")


def test_v117_only_a_load_balancer_has_ingress_status() -> None:
    words = (
        "status.loadBalancer.ingress: Forbidden: "
        "may only be used when `spec.type` is 'LoadBalancer'"
    )
    assert Stored(type="NodePort").change(ingress(ip="192.0.2.1"), "status") == words


def test_v094_left_out_allocations_are_patched_back() -> None:
    stored = Stored(**LOCAL)
    before = copy.deepcopy(stored.spec)
    change = put(clusterIP=None, clusterIPs=None, healthCheckNodePort=None, ports=[{"port": 80}])
    assert stored.change(change) == ""
    assert stored.spec == before


def test_v098_second_address_comes_and_goes_with_the_policy() -> None:
    stored = Stored()
    first = stored.spec["clusterIP"]
    assert stored.change(put(ipFamilyPolicy="PreferDualStack")) == ""
    assert (len(stored.spec["clusterIPs"]), stored.spec["clusterIP"]) == (2, first)
    assert len(stored.admission.addresses.held()) == 3
    assert stored.change(put(ipFamilyPolicy="SingleStack")) == ""
    assert (stored.spec["clusterIPs"], stored.spec["ipFamilies"]) == ([first], ["IPv4"])
    assert len(stored.admission.addresses.held()) == 2


def test_v099_headless_service_may_change_family() -> None:
    stored = Stored(clusterIP="None", selector={"a": "b"})
    assert stored.change(put(ipFamilies=["IPv6"])) == ""
    assert stored.spec["ipFamilies"] == ["IPv6"]


def test_v101_health_check_port_zero_is_patched_back() -> None:
    stored = Stored(**LOCAL)
    port = stored.spec["healthCheckNodePort"]
    assert stored.change(put(healthCheckNodePort=0)) == ""
    assert stored.spec["healthCheckNodePort"] == port


def test_v102_v103_health_check_port_goes_and_comes_with_the_policy() -> None:
    stored = Stored(**LOCAL)
    port = stored.spec["healthCheckNodePort"]
    assert stored.change(put(externalTrafficPolicy="Cluster")) == ""
    assert "healthCheckNodePort" not in stored.spec
    assert port not in stored.admission.ports.held()
    assert stored.change(put(externalTrafficPolicy="Local", healthCheckNodePort=31234)) == ""
    assert stored.spec["healthCheckNodePort"] == 31234


def test_v107_class_goes_with_the_type() -> None:
    stored = Stored(loadBalancerClass="x/y", **LB)
    assert stored.change(put(type="ClusterIP")) == ""
    left = {"loadBalancerClass", "allocateLoadBalancerNodePorts", "externalTrafficPolicy"}
    assert not left & stored.spec.keys()
    assert "nodePort" not in stored.spec["ports"][0]
    assert len(stored.admission.ports.held()) == 1


def test_v111_node_port_stays_when_allocation_is_turned_off() -> None:
    stored = Stored(**LB)
    port = stored.spec["ports"][0]["nodePort"]
    assert stored.change(put(allocateLoadBalancerNodePorts=False)) == ""
    assert stored.spec["ports"][0]["nodePort"] == port
    assert stored.change(put(ports=[{"port": 80}])) == ""
    assert "nodePort" not in stored.spec["ports"][0]
    assert port not in stored.admission.ports.held()


def test_cluster_ip_to_node_port_keeps_the_address_and_takes_a_port() -> None:
    stored = Stored()
    address = stored.spec["clusterIP"]
    assert stored.change(put(type="NodePort")) == ""
    assert stored.spec["clusterIP"] == address
    assert stored.spec["externalTrafficPolicy"] == "Cluster"
    assert stored.spec["ports"][0]["nodePort"] in stored.admission.ports.held()


def test_entries_that_share_a_node_port_keep_it_together() -> None:
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]
    stored = Stored(type="NodePort", ports=ports)
    before = [port["nodePort"] for port in stored.spec["ports"]]
    assert before[0] == before[1]
    assert stored.change(put(type="NodePort", ports=ports)) == ""
    assert [port["nodePort"] for port in stored.spec["ports"]] == before


def test_node_port_to_load_balancer_keeps_the_port() -> None:
    stored = Stored(type="NodePort")
    port = stored.spec["ports"][0]["nodePort"]
    assert stored.change(put(type="LoadBalancer")) == ""
    assert stored.spec["ports"][0]["nodePort"] == port
    assert stored.spec["allocateLoadBalancerNodePorts"] is True


def test_external_name_gives_everything_back_and_gets_a_new_address() -> None:
    stored = Stored(type="NodePort")
    assert stored.change(put(type="ExternalName", externalName="a.b")) == ""
    gone = {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalTrafficPolicy"}
    assert not gone & stored.spec.keys()
    assert len(stored.admission.addresses.held()) == 1
    assert stored.change(put(type="ClusterIP")) == ""
    assert stored.spec["clusterIPs"] == [stored.spec["clusterIP"]]
    assert len(stored.admission.addresses.held()) == 2


def test_status_is_emptied_when_the_type_leaves_load_balancer() -> None:
    stored = Stored(**LB)
    assert stored.change(ingress(ip="192.0.2.1"), "status") == ""
    entry = stored.document["status"]["loadBalancer"]["ingress"][0]
    assert entry == {"ip": "192.0.2.1", "ipMode": "VIP"}
    assert stored.change(put(type="NodePort")) == ""
    assert stored.document["status"] == {"loadBalancer": {}}


def test_external_policy_goes_with_the_last_external_address() -> None:
    stored = Stored(externalIPs=["192.0.2.1"])
    assert stored.spec["externalTrafficPolicy"] == "Cluster"
    assert stored.change(put(externalIPs=None)) == ""
    assert "externalTrafficPolicy" not in stored.spec


def test_external_policy_stays_with_an_external_address() -> None:
    stored = Stored(type="NodePort", externalIPs=["192.0.2.1"], externalTrafficPolicy="Local")
    assert stored.change(put(type="ClusterIP")) == ""
    assert stored.spec["externalTrafficPolicy"] == "Local"


def test_status_warns_of_an_address_in_another_form() -> None:
    stored = Stored(**LB)
    new = copy.deepcopy(stored.document)
    ingress(ip="FD00::1")(new)
    admitted = stored.admission.update("services", new, stored.document, subresource="status")
    assert admitted.warnings == (
        'status.loadBalancer.ingress[0]: IPv6 address "FD00::1" '
        'should be in RFC 5952 canonical format ("fd00::1")',
    )


def test_main_resource_ignores_status_and_status_ignores_spec() -> None:
    stored = Stored(**LB)

    def both(document: Document) -> None:
        ingress(ip="192.0.2.9")(document)
        document["spec"]["sessionAffinity"] = "ClientIP"

    assert stored.change(both) == ""
    assert stored.document["status"] == {"loadBalancer": {}}
    assert stored.spec["sessionAffinity"] == "ClientIP"
    stored = Stored(**LB)
    assert stored.change(both, "status") == ""
    assert stored.spec["sessionAffinity"] == "None"
    assert stored.document["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.9"


def test_dry_run_of_a_change_takes_and_gives_nothing() -> None:
    stored = Stored(type="NodePort")
    pools = stored.admission.addresses, stored.admission.ports
    held = pools[0].held(), pools[1].held()
    for new_type in ("ClusterIP", "LoadBalancer", "ExternalName"):
        new = copy.deepcopy(stored.document)
        new["spec"].update(type=new_type, externalName="a.b")
        stored.admission.update("services", new, stored.document, dry_run=True)
        assert (pools[0].held(), pools[1].held()) == held


def test_a_change_can_be_undone_when_storing_fails() -> None:
    stored = Stored(type="NodePort")
    pools = stored.admission.addresses, stored.admission.ports
    held = pools[0].held(), pools[1].held()
    new = copy.deepcopy(stored.document)
    new["spec"].update(type="ExternalName", externalName="a.b")
    admitted = stored.admission.update("services", new, stored.document)
    assert (pools[0].held(), pools[1].held()) != held
    admitted.undo()
    assert (pools[0].held(), pools[1].held()) == held


def test_a_changed_uid_is_refused_twice() -> None:
    stored = Stored()
    stored.document["metadata"]["uid"] = "one"
    new = copy.deepcopy(stored.document)
    new["metadata"]["uid"] = "two"
    with pytest.raises(StatusError) as refused:
        stored.admission.update("services", new, stored.document)
    causes = [cause["message"] for cause in refused.value.details["causes"]]
    assert causes == ['Invalid value: "two": field is immutable'] * 2


RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def test_stored_source_ranges_of_an_annotation_count_only_while_all_of_it_stays() -> None:
    old = Stored(**LB)
    old.document["metadata"]["annotations"] = {RANGES: "010.0.0.0/8"}
    assert old.change(put(externalName="unused")) == ""

    def longer(document: Document) -> None:
        document["metadata"]["annotations"][RANGES] = "010.0.0.0/8,10.0.0.0/8"

    assert "must not have leading 0s" in old.change(longer)


def test_an_annotations_source_ranges_are_no_excuse_for_the_fields() -> None:
    old = Stored(**LB)
    old.document["metadata"]["annotations"] = {RANGES: "010.0.0.0/8"}
    assert "must not have leading 0s" in old.change(put(loadBalancerSourceRanges=["010.0.0.0/8"]))
