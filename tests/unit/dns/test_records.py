"""The Kubernetes DNS specification 1.1, section by section, with its own examples' shapes."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.objects import EndpointSlice, NamespacedName, Service
from testbed.dns.records import ClusterRecords
from testbed.dns.zone import Answer, Code, Type


def service(name: str = "web", namespace: str = "default", **spec: Any) -> Service:
    return Service.from_document({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def endpoint_slice(
    endpoints: list[dict[str, Any]],
    *,
    service: str = "web",
    name: str = "web-1",
    family: str = "IPv4",
    ports: list[dict[str, Any]] | None = None,
) -> EndpointSlice:
    return EndpointSlice.from_document(
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": family,
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080}] if ports is None else ports,
        }
    )


def endpoint(address: str, **fields: Any) -> dict[str, Any]:
    return {"addresses": [address], "conditions": {"ready": True}, **fields}


CLUSTER = {"clusterIPs": ["10.96.0.7", "fd00:10:96::7"], "ports": [{"name": "http", "port": 80}]}
HEADLESS = {"clusterIPs": ["None"], "ports": [{"name": "http", "port": 80}]}


@pytest.fixture
def records() -> ClusterRecords:
    made = ClusterRecords()
    made.set_namespace("default")
    return made


def ask(records: ClusterRecords, name: str, kind: Type) -> Answer:
    found = records.lookup(name, kind)
    assert found is not None
    return found


def data(records: ClusterRecords, name: str, kind: Type) -> list[str]:
    return [r.data for r in ask(records, name, kind).records]


def test_schema_version_is_published(records: ClusterRecords) -> None:
    assert data(records, "dns-version.cluster.local", Type.TXT) == ["1.1.0"]


def test_cluster_ip_has_addresses_srv_and_ptr(records: ClusterRecords) -> None:
    records.set_service(service(**CLUSTER))
    name = "web.default.svc.cluster.local"
    assert data(records, name, Type.A) == ["10.96.0.7"]
    assert data(records, name, Type.AAAA) == ["fd00:10:96::7"]
    found = ask(records, f"_http._tcp.{name}", Type.SRV)
    assert [r.data for r in found.records] == [f"0 100 80 {name}."]
    assert [r.data for r in found.additional] == ["10.96.0.7", "fd00:10:96::7"]
    assert data(records, "7.0.96.10.in-addr.arpa", Type.PTR) == [f"{name}."]
    six = "7" + ".0" * 19 + ".6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa"
    assert data(records, six, Type.PTR) == [f"{name}."]


def test_unnamed_port_has_no_srv_name_of_its_own(records: ClusterRecords) -> None:
    records.set_service(service(clusterIPs=["10.96.0.7"], ports=[{"port": 80}]))
    assert ask(records, "_._tcp.web.default.svc.cluster.local", Type.SRV).code is Code.NXDOMAIN
    assert data(records, "web.default.svc.cluster.local", Type.SRV) == [
        "0 100 80 web.default.svc.cluster.local."
    ]


def test_protocol_is_part_of_the_srv_name(records: ClusterRecords) -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    records.set_service(service(clusterIPs=["10.96.0.7"], ports=ports))
    base = "web.default.svc.cluster.local"
    assert data(records, f"_dns._udp.{base}", Type.SRV) == [f"0 100 53 {base}."]
    assert ask(records, f"_dns._tcp.{base}", Type.SRV).code is Code.NXDOMAIN


def test_headless_publishes_its_ready_endpoints(records: ClusterRecords) -> None:
    records.set_service(service(**HEADLESS))
    records.set_slice(
        endpoint_slice(
            [
                endpoint("10.244.1.5", hostname="my-pet"),
                endpoint("10.244.2.6"),
                {"addresses": ["10.244.3.7"], "conditions": {"ready": False}},
                {"addresses": ["10.244.3.8"]},
            ]
        )
    )
    base = "web.default.svc.cluster.local"
    assert data(records, base, Type.A) == ["10.244.1.5", "10.244.2.6", "10.244.3.8"]
    assert data(records, f"my-pet.{base}", Type.A) == ["10.244.1.5"]
    assert data(records, f"10-244-2-6.{base}", Type.A) == ["10.244.2.6"]
    assert data(records, f"_http._tcp.{base}", Type.SRV) == [
        f"0 33 8080 my-pet.{base}.",
        f"0 33 8080 10-244-2-6.{base}.",
        f"0 33 8080 10-244-3-8.{base}.",
    ]
    assert data(records, "5.1.244.10.in-addr.arpa", Type.PTR) == [f"my-pet.{base}."]
    assert data(records, "6.2.244.10.in-addr.arpa", Type.PTR) == [f"10-244-2-6.{base}."]
    assert records.lookup("7.3.244.10.in-addr.arpa", Type.PTR) is None


def test_headless_without_ready_endpoints_does_not_exist(records: ClusterRecords) -> None:
    records.set_service(service(**HEADLESS))
    found = ask(records, "web.default.svc.cluster.local", Type.A)
    assert found.code is Code.NXDOMAIN
    assert found.authority[0].type is Type.SOA


def test_publish_not_ready_addresses_publishes_all(records: ClusterRecords) -> None:
    records.set_service(service(**HEADLESS, publishNotReadyAddresses=True))
    unready = {"addresses": ["10.244.1.5"], "conditions": {"ready": False}}
    records.set_slice(endpoint_slice([unready]))
    assert data(records, "web.default.svc.cluster.local", Type.A) == ["10.244.1.5"]


def test_one_hostname_may_have_several_addresses_of_both_families(records: ClusterRecords) -> None:
    records.set_service(service(**HEADLESS))
    records.set_slice(endpoint_slice([endpoint("10.244.1.5", hostname="db")]))
    six = [endpoint("fd00:10:244::5", hostname="db")]
    records.set_slice(endpoint_slice(six, name="web-2", family="IPv6"))
    name = "db.web.default.svc.cluster.local"
    assert data(records, name, Type.A) == ["10.244.1.5"]
    assert data(records, name, Type.AAAA) == ["fd00:10:244::5"]
    assert len(data(records, "_http._tcp.web.default.svc.cluster.local", Type.SRV)) == 1


def test_fqdn_slices_and_slices_without_a_service_have_no_records(records: ClusterRecords) -> None:
    records.set_service(service(**HEADLESS))
    records.set_slice(endpoint_slice([endpoint("db.example.com")], family="FQDN"))
    assert ask(records, "web.default.svc.cluster.local", Type.A).code is Code.NXDOMAIN


def test_slice_may_come_before_its_service_and_move_to_another(records: ClusterRecords) -> None:
    records.set_slice(endpoint_slice([endpoint("10.244.1.5")]))
    records.set_service(service(**HEADLESS))
    records.set_service(service("other", **HEADLESS))
    assert data(records, "web.default.svc.cluster.local", Type.A) == ["10.244.1.5"]
    records.set_slice(endpoint_slice([endpoint("10.244.1.5")], service="other"))
    assert ask(records, "web.default.svc.cluster.local", Type.A).code is Code.NXDOMAIN
    assert data(records, "other.default.svc.cluster.local", Type.A) == ["10.244.1.5"]


def test_external_name_is_an_alias_for_every_type(records: ClusterRecords) -> None:
    records.set_service(service(type="ExternalName", externalName="WWW.example.com."))
    for kind in (Type.A, Type.AAAA, Type.SRV):
        found = ask(records, "web.default.svc.cluster.local", kind)
        assert [(r.type, r.data) for r in found.records] == [(Type.CNAME, "www.example.com.")]
        assert found.pending == "www.example.com"
    assert ask(records, "web.default.svc.cluster.local", Type.CNAME).pending is None


def test_external_name_that_is_an_address_does_not_exist(records: ClusterRecords) -> None:
    records.set_service(service(type="ExternalName", externalName="192.0.2.1"))
    assert ask(records, "web.default.svc.cluster.local", Type.A).code is Code.NXDOMAIN


def test_external_name_inside_the_cluster_is_followed(records: ClusterRecords) -> None:
    records.set_service(service("db", **CLUSTER))
    target = "db.default.svc.cluster.local"
    records.set_service(service(type="ExternalName", externalName=target))
    found = ask(records, "web.default.svc.cluster.local", Type.A)
    assert [r.data for r in found.records] == [f"{target}.", "10.96.0.7"]


def test_aliases_in_a_circle_fail(records: ClusterRecords) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        target = f"{other}.default.svc.cluster.local"
        records.set_service(service(one, type="ExternalName", externalName=target))
    assert ask(records, "a.default.svc.cluster.local", Type.A).code is Code.SERVFAIL


@pytest.mark.parametrize(
    ("label", "kind", "address"),
    [
        ("10-244-1-5", Type.A, "10.244.1.5"),
        ("fd00-10-244--5", Type.AAAA, "fd00:10:244::5"),
        ("--1", Type.AAAA, "::1"),
    ],
)
def test_pod_records_hold_the_address_in_their_name(
    records: ClusterRecords, label: str, kind: Type, address: str
) -> None:
    assert data(records, f"{label}.default.pod.cluster.local", kind) == [address]


@pytest.mark.parametrize(
    "name",
    ["10-244-1.default.pod.cluster.local", "10-244-1-5.nowhere.pod.cluster.local"],
)
def test_other_pod_names_do_not_exist(records: ClusterRecords, name: str) -> None:
    assert ask(records, name, Type.A).code is Code.NXDOMAIN


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cluster.local", Code.NOERROR),
        ("svc.cluster.local", Code.NOERROR),
        ("pod.cluster.local", Code.NOERROR),
        ("default.svc.cluster.local", Code.NOERROR),
        ("_tcp.web.default.svc.cluster.local", Code.NOERROR),
        ("nowhere.svc.cluster.local", Code.NXDOMAIN),
        ("no.default.svc.cluster.local", Code.NXDOMAIN),
        ("a.web.default.svc.cluster.local", Code.NXDOMAIN),
    ],
)
def test_negative_answers_carry_the_soa(records: ClusterRecords, name: str, code: Code) -> None:
    records.set_service(service(**CLUSTER))
    found = ask(records, name, Type.A)
    assert found.code is code
    assert found.records == ()
    assert [(r.name, r.type) for r in found.authority] == [("cluster.local", Type.SOA)]


def test_name_with_another_type_is_no_data(records: ClusterRecords) -> None:
    records.set_service(service(clusterIPs=["10.96.0.7"], ports=[]))
    found = ask(records, "web.default.svc.cluster.local", Type.AAAA)
    assert (found.code, found.records) == (Code.NOERROR, ())
    assert found.authority[0].type is Type.SOA


def test_names_elsewhere_and_unknown_reverse_names_are_not_ours(records: ClusterRecords) -> None:
    assert records.lookup("www.example.com", Type.A) is None
    assert records.lookup("notcluster.local", Type.A) is None
    assert records.lookup("8.8.8.8.in-addr.arpa", Type.PTR) is None


def test_deleted_service_leaves_no_name_behind(records: ClusterRecords) -> None:
    records.set_service(service(namespace="other", **CLUSTER))
    records.delete_service(NamespacedName("other", "web"))
    for name in ("web.other.svc.cluster.local", "other.svc.cluster.local"):
        assert ask(records, name, Type.A).code is Code.NXDOMAIN
    assert records.lookup("7.0.96.10.in-addr.arpa", Type.PTR) is None


def test_deleted_slice_takes_its_endpoints_and_unknown_ones_are_no_error(
    records: ClusterRecords,
) -> None:
    records.set_service(service(**HEADLESS))
    records.set_slice(endpoint_slice([endpoint("10.244.1.5")]))
    records.delete_slice(NamespacedName("default", "web-1"))
    records.delete_slice(NamespacedName("default", "web-1"))
    assert ask(records, "web.default.svc.cluster.local", Type.A).code is Code.NXDOMAIN


def test_version_grows_only_with_what_is_published(records: ClusterRecords) -> None:
    records.set_service(service(**CLUSTER))
    before = records.version
    records.set_service(service(**CLUSTER, selector={"app": "other"}))
    assert records.version == before
    records.set_service(service(clusterIPs=["10.96.0.8"], ports=[]))
    assert records.version > before


def test_pod_hostname_below_a_cluster_ip_service(records: ClusterRecords) -> None:
    records.set_service(service(**CLUSTER))
    records.set_slice(endpoint_slice([endpoint("10.244.1.5", hostname="db-0")]))
    assert data(records, "db-0.web.default.svc.cluster.local", Type.A) == ["10.244.1.5"]


def test_zone_names_its_server(records: ClusterRecords) -> None:
    records.set_server(["10.96.0.10"])
    found = ask(records, "cluster.local", Type.NS)
    assert [r.data for r in found.records] == ["ns.dns.cluster.local."]
    assert [r.data for r in found.additional] == ["10.96.0.10"]


def test_other_cluster_domains_work() -> None:
    records = ClusterRecords("Example.org.")
    records.set_service(service(**CLUSTER))
    assert data(records, "web.default.svc.example.org", Type.A) == ["10.96.0.7"]
