from __future__ import annotations

import pytest

from testbed.dns.public import PublicZone
from testbed.dns.zone import Code, Type
from testbed.errors import UsageError


def data(zone: PublicZone, name: str, kind: Type) -> list[str]:
    found = zone.lookup(name, kind)
    assert found is not None
    return [r.data for r in found.records]


def test_load_balancers_name_has_its_addresses_and_they_its_name() -> None:
    zone = PublicZone()
    zone.set_addresses("abc.lb.example.net", ["198.51.100.1", "2001:db8:100::1"])
    assert data(zone, "abc.lb.example.net", Type.A) == ["198.51.100.1"]
    assert data(zone, "abc.lb.example.net", Type.AAAA) == ["2001:db8:100::1"]
    assert data(zone, "1.100.51.198.in-addr.arpa", Type.PTR) == ["abc.lb.example.net."]
    zone.set_addresses("abc.lb.example.net", [])
    found = zone.lookup("abc.lb.example.net", Type.A)
    assert found is not None
    assert found.code is Code.NXDOMAIN


def test_users_alias_leads_to_the_load_balancer() -> None:
    zone = PublicZone()
    zone.set_addresses("abc.lb.example.net", ["198.51.100.1"])
    zone.add("App.Example.com", "CNAME", "abc.lb.example.net")
    assert data(zone, "app.example.com", Type.A) == ["abc.lb.example.net.", "198.51.100.1"]
    zone.remove("app.example.com")
    assert data(zone, "app.example.com", Type.A) == []


def test_wildcard_answers_for_names_that_are_not_there() -> None:
    zone = PublicZone()
    zone.add("*.example.com", "A", "198.51.100.1")
    zone.add("own.example.com", "A", "198.51.100.2")
    assert data(zone, "any.example.com", Type.A) == ["198.51.100.1"]
    assert data(zone, "a.b.example.com", Type.A) == ["198.51.100.1"]
    assert data(zone, "own.example.com", Type.A) == ["198.51.100.2"]
    assert data(zone, "sub.own.example.com", Type.A) == []
    assert data(zone, "example.com", Type.A) == []


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("A", "2001:db8::1", "isn't an address for type A"),
        ("AAAA", "nonsense", "isn't an address"),
        ("MX", "mail", "isn't a type"),
        ("SOA", "x", "can't be added"),
    ],
)
def test_bad_records_are_refused(kind: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PublicZone().add("www.example.com", kind, value)


def test_alias_stands_alone() -> None:
    zone = PublicZone()
    zone.add("www.example.com", "A", "198.51.100.1")
    with pytest.raises(UsageError, match="stands alone"):
        zone.add("www.example.com", "CNAME", "other.example.com")
    assert data(zone, "www.example.com", Type.A) == ["198.51.100.1"]


def test_what_another_owner_sets_at_a_name_stays() -> None:
    zone = PublicZone()
    zone.set_addresses("abc.lb.example.net", ["198.51.100.1"])
    zone.set_addresses("abc.lb.example.net", ["198.51.100.1"], "ingress")
    assert data(zone, "abc.lb.example.net", Type.A) == ["198.51.100.1"]
    zone.set_addresses("abc.lb.example.net", [], "ingress")
    assert data(zone, "abc.lb.example.net", Type.A) == ["198.51.100.1"]


def test_the_zone_tells_its_soa() -> None:
    found = PublicZone().lookup("", Type.SOA)
    assert found is not None
    assert [record.type for record in found.records] == [Type.SOA]
    assert found.authority == ()
