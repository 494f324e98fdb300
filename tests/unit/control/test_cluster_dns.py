from __future__ import annotations

from testbed.clock import ManualClock
from testbed.control.cluster_dns import feed
from testbed.control.store import Store
from testbed.dns.records import ClusterRecords
from testbed.dns.zone import Code, Type

NAME = "web.ns.svc.cluster.local"


def service(**spec: object) -> dict[str, object]:
    return {"metadata": {"name": "web", "namespace": "ns"}, "spec": spec}


def addresses(records: ClusterRecords, name: str = NAME) -> list[str]:
    found = records.lookup(name, Type.A)
    assert found is not None
    return [record.data for record in found.records]


def test_what_is_there_and_what_comes_is_in_the_records_at_once() -> None:
    store, records = Store(ManualClock()), ClusterRecords()
    store.create("services", service(clusterIPs=["10.96.0.7"]))
    feed(store, records)
    assert addresses(records) == ["10.96.0.7"]
    store.update("services", service(clusterIPs=["10.96.0.8"]))
    assert addresses(records) == ["10.96.0.8"]
    store.delete("services", "ns", "web")
    assert addresses(records) == []


def test_slices_and_namespaces_are_followed() -> None:
    store, records = Store(ManualClock()), ClusterRecords()
    feed(store, records)
    store.create("namespaces", {"metadata": {"name": "ns"}})
    store.create("services", service(clusterIPs=["None"]))
    labels = {"kubernetes.io/service-name": "web"}
    part = {
        "metadata": {"name": "web-1", "namespace": "ns", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.5"]}],
    }
    store.create("endpointslices", part)
    assert addresses(records) == ["10.244.1.5"]
    assert addresses(records, "10-244-1-5.ns.pod.cluster.local") == ["10.244.1.5"]
    store.delete("endpointslices", "ns", "web-1")
    store.delete("namespaces", "", "ns")
    assert addresses(records) == []
    found = records.lookup("10-244-1-5.ns.pod.cluster.local", Type.A)
    assert found is not None
    assert found.code is Code.NXDOMAIN


def test_feed_ends_when_told() -> None:
    store, records = Store(ManualClock()), ClusterRecords()
    feed(store, records)()
    store.create("services", service(clusterIPs=["10.96.0.7"]))
    assert addresses(records) == []
