"""Leases of nodes have the times of kubelet's renewals, and cost nothing while nobody looks."""

from __future__ import annotations

from tests.unit.control.world import World

NAMESPACE = "kube-node-lease"


def world() -> World:
    made = World()
    meta = {"name": NAMESPACE}
    made.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    return made


def times(world: World) -> dict[str, str]:
    found = world.store.list("leases", NAMESPACE)
    return {each["metadata"]["name"]: each["spec"]["renewTime"] for each in found}


def test_every_node_has_a_lease_as_kubelet_writes_it() -> None:
    made = world()
    made.kubelet.leases.look()
    (lease, _, _) = made.store.list("leases", NAMESPACE)
    assert lease["spec"] == {
        "holderIdentity": "w1",
        "leaseDurationSeconds": 40,
        "renewTime": "2027-01-15T08:00:00.000000Z",
    }
    owner = made.store.get("nodes", "", "w1")["metadata"]["uid"]
    assert lease["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": "w1", "uid": owner}
    ]


def test_who_looks_sees_the_last_renewal_of_ten_seconds() -> None:
    made = world()
    made.kubelet.leases.look()
    made.advance(37)
    made.kubelet.leases.look()
    assert set(times(made).values()) == {"2027-01-15T08:00:30.000000Z"}


def test_nothing_is_written_while_nobody_looks() -> None:
    made = world()
    made.kubelet.leases.look()
    before = made.store.version
    made.advance(3600)
    assert made.store.version == before


def test_who_watches_is_told_every_ten_seconds() -> None:
    made = world()
    made.kubelet.leases.is_watched = lambda: True
    made.kubelet.leases.look()
    told: list[str] = []
    made.store.watch("leases", lambda event: told.append(event.object["spec"]["renewTime"]))
    made.advance(30.5)
    assert len(told) == 9
    assert told[-1] == "2027-01-15T08:00:30.000000Z"


def test_a_silent_node_renews_nothing_until_it_is_heard_again() -> None:
    made = world()
    made.kubelet.leases.look()
    made.advance(25)
    made.kubelet.leases.renew()
    made.stop_node("w1")
    made.advance(100)
    made.kubelet.leases.look()
    assert times(made)["w1"] == "2027-01-15T08:00:20.000000Z"
    assert times(made)["w2"] == "2027-01-15T08:02:00.000000Z"
    made.start_node("w1")
    made.kubelet.leases.look()
    assert times(made)["w1"] == "2027-01-15T08:02:00.000000Z"


def test_a_lost_lease_comes_back() -> None:
    made = world()
    made.kubelet.leases.look()
    made.store.delete("leases", NAMESPACE, "w1")
    made.kubelet.leases.look()
    assert "w1" in times(made)
