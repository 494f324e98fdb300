"""IPAddress objects that somebody removes or changes while their Services are there."""

from __future__ import annotations

import copy

from testbed.api.documents import Document
from testbed.control import ip_addresses
from testbed.control.controllers.ip_address_repair import IPAddressRepair
from testbed.control.store import Event
from tests.unit.control.world import Bench, service

ADDRESS = "10.96.0.50"


class Repaired(Bench):
    """Services have their IPAddress objects, as the API server makes them."""

    def __init__(self) -> None:
        super().__init__(IPAddressRepair)
        self.store.watch("services", self._follow)
        self.create("services", service())

    def _follow(self, event: Event) -> None:
        ip_addresses.follow_service(self.store, event)

    def delete(self, resource: str, namespace: str, name: str) -> None:
        self.store.delete(resource, namespace, name)
        self.run()

    def addresses(self) -> dict[str, str]:
        """The Service that each IPAddress names."""
        return {
            document["metadata"]["name"]: document["spec"]["parentRef"]["name"]
            for document in self.store.list("ipaddresses")
        }


def ip_address(address: str, name: str) -> Document:
    return ip_addresses.document(address, service(name))


def test_an_ip_address_that_is_deleted_is_made_again_and_the_service_has_an_event() -> None:
    bench = Repaired()
    before = bench.store.get("ipaddresses", "", ADDRESS)
    bench.delete("ipaddresses", "", ADDRESS)
    after = bench.store.get("ipaddresses", "", ADDRESS)
    assert (after["spec"], after["metadata"]["labels"]) == (
        before["spec"],
        before["metadata"]["labels"],
    )
    message = f"Cluster IP [IPv4]: {ADDRESS} is not allocated; repairing"
    assert bench.api.events == [("Warning", "ClusterIPNotAllocated", message)]


def test_the_ip_address_of_a_deleted_service_stays_away() -> None:
    bench = Repaired()
    bench.delete("services", "default", "web")
    assert bench.addresses() == {}
    assert bench.api.events == []


def test_labels_that_are_changed_are_put_back() -> None:
    bench = Repaired()
    changed = copy.deepcopy(bench.store.get("ipaddresses", "", ADDRESS))
    wanted = changed["metadata"].pop("labels")
    bench.store.update("ipaddresses", changed)
    bench.run()
    assert bench.store.get("ipaddresses", "", ADDRESS)["metadata"]["labels"] == wanted


def test_an_ip_address_that_names_a_service_with_another_address_goes() -> None:
    bench = Repaired()
    bench.create("ipaddresses", ip_address("10.96.0.77", "web"))
    assert bench.addresses() == {ADDRESS: "web"}
    message = "IPAddress: 10.96.0.77 for Service default/web has a wrong reference; cleaning up"
    assert bench.api.events == [("Warning", "IPAddressWrongReference", message)]


def test_an_ip_address_that_names_the_wrong_service_is_given_to_the_one_that_holds_it() -> None:
    bench = Repaired()
    bench.create("services", service("other", clusterIP="10.96.0.51", clusterIPs=["10.96.0.51"]))
    bench.store.delete("ipaddresses", "", ADDRESS)
    bench.store.create("ipaddresses", ip_address(ADDRESS, "other"))
    bench.run()
    assert bench.addresses() == {ADDRESS: "web", "10.96.0.51": "other"}


def test_an_ip_address_of_somebody_else_is_left_alone() -> None:
    bench = Repaired()
    foreign = ip_address("10.96.0.77", "web")
    del foreign["metadata"]["labels"]
    bench.create("ipaddresses", foreign)
    assert set(bench.addresses()) == {ADDRESS, "10.96.0.77"}
    assert bench.api.events == []
