"""The source matrix says what packets showed; a few rows that everybody should know."""

from __future__ import annotations

import pytest

from testbed.lab.sources import PLACES, Row, measure

pytestmark = pytest.mark.kernel


def row(rows: list[Row], client: str, door: str, policy: str) -> Row:
    (found,) = [r for r in rows if (r.client, r.door, r.policy) == (client, door, policy)]
    return found


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_the_matrix_holds_what_services_promise(mode: str) -> None:
    rows = measure([mode], ["dsr"])
    assert {r.client for r in rows} == set(PLACES)
    inside = row(rows, "Pod on another node", "ClusterIP", "")
    assert (inside.who, inside.snat) == ("the client's own", ())
    assert row(rows, "the Pod itself", "ClusterIP", "").who == "w1's"
    near, far = "NodePort of the Pod's node", "NodePort of a node without Pod"
    assert row(rows, "client outside", near, "Cluster").snat == ("w1",)
    assert row(rows, "client outside", far, "Cluster").who == "w3's"
    assert row(rows, "client outside", near, "Local").seen == "203.0.113.10"
    lost = row(rows, "client outside", far, "Local")
    assert (lost.seen, lost.verdict) == ("", "dropped")
    through = row(rows, "client outside", "load balancer", "Local")
    assert through.who == "the client's own"
    assert "lb" in through.hops


def test_a_pod_that_asks_itself_through_a_proxy_ends_the_path() -> None:
    rows = measure(["iptables"], ["proxy"])
    itself = row(rows, "the Pod itself", "load balancer", "Local")
    assert itself.who == "lb's"
    assert "lb" in itself.snat
