from __future__ import annotations

import pytest

from testbed.api.objects import NamespacedName
from testbed.cloud.addresses import AddressPool
from testbed.cloud.interface import CloudError

A, B = NamespacedName("default", "a"), NamespacedName("default", "b")
BOTH = ("IPv4", "IPv6")


def test_first_addresses_come_first_and_in_the_order_of_the_families() -> None:
    pool = AddressPool()
    assert pool.ensure(A, BOTH) == ("198.51.100.1", "2001:db8:100::1")
    assert pool.ensure(B, ("IPv6", "IPv4")) == ("2001:db8:100::2", "198.51.100.2")


def test_owner_keeps_its_addresses_and_loses_a_family_it_no_longer_asks_for() -> None:
    pool = AddressPool()
    pool.ensure(A, BOTH)
    assert pool.ensure(A, ("IPv6",)) == ("2001:db8:100::1",)
    assert pool.ensure(B, ("IPv4",)) == ("198.51.100.1",)


def test_released_addresses_are_used_again() -> None:
    pool = AddressPool()
    pool.ensure(A, BOTH)
    pool.release(A)
    assert pool.held(A) == ()
    assert pool.ensure(B, BOTH) == ("198.51.100.1", "2001:db8:100::1")


def test_requested_address_is_given_and_replaces_the_one_held() -> None:
    pool = AddressPool()
    pool.ensure(A, BOTH)
    assert pool.ensure(A, BOTH, "198.51.100.77") == ("198.51.100.77", "2001:db8:100::1")
    assert pool.ensure(B, BOTH) == ("198.51.100.1", "2001:db8:100::2")


def test_requested_ipv6_address_may_be_written_in_any_form() -> None:
    assert AddressPool().ensure(A, ("IPv6",), "2001:DB8:100:0::00ff") == ("2001:db8:100::ff",)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ("198.51.100.5", "belongs to Service default/a"),
        ("192.0.2.1", "isn't in the cloud's ranges"),
        ("nonsense", "isn't an IP address"),
    ],
)
def test_request_that_cannot_be_met_changes_nothing(requested: str, message: str) -> None:
    pool = AddressPool()
    pool.ensure(A, BOTH, "198.51.100.5")
    pool.ensure(B, BOTH)
    held = pool.held(B)
    with pytest.raises(CloudError, match=message):
        pool.ensure(B, BOTH, requested)
    assert pool.held(B) == held


def test_used_up_range_is_an_error_and_recovers() -> None:
    pool = AddressPool(["198.51.100.0/30"])
    pool.ensure(A, ("IPv4",))
    pool.ensure(B, ("IPv4",))
    with pytest.raises(CloudError, match="used up"):
        pool.ensure(NamespacedName("default", "c"), ("IPv4",))
    pool.release(A)
    assert pool.ensure(NamespacedName("default", "c"), ("IPv4",)) == ("198.51.100.1",)


def test_restored_addresses_stay_with_their_owner() -> None:
    pool = AddressPool()
    pool.restore(A, ["198.51.100.9", "203.0.113.1"])
    pool.restore(B, ["198.51.100.9"])
    assert pool.ensure(A, ("IPv4",)) == ("198.51.100.9",)
    assert pool.ensure(B, ("IPv4",)) == ("198.51.100.1",)


@pytest.mark.parametrize("address", ["198.51.100.0", "198.51.100.255", "2001:db8:100::"])
def test_an_address_of_the_network_itself_cannot_be_asked_for(address: str) -> None:
    with pytest.raises(CloudError, match="no host's address"):
        AddressPool().ensure(A, BOTH, address)
