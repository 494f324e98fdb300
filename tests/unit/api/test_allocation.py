"""ClusterIPs and node ports: bands, and no leak under any sequence of changes."""

from __future__ import annotations

import copy
import ipaddress
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.api.admission import Admission, Settings
from testbed.api.allocate import (
    AddressPool,
    AllocationError,
    PortPool,
    Transaction,
    address_band,
    find_free,
    port_band,
    usable,
)
from testbed.api.documents import Document
from testbed.api.objects import IPV4
from testbed.api.service_strategy import held_addresses, held_ports, ip_addresses
from testbed.api.status import StatusError

from .rules import obj, svc

BANDS = [
    ("10.0.0.0/28", 14, 0),
    ("10.0.0.0/27", 30, 16),
    ("10.0.0.0/24", 254, 16),
    ("10.0.0.0/20", 4094, 256),
    ("10.96.0.0/16", 65534, 256),
    ("fd00:10:96::/112", 65535, 256),
]


@pytest.mark.parametrize(("cidr", "size", "band"), BANDS)
def test_static_band_of_a_range(cidr: str, size: int, band: int) -> None:
    network = ipaddress.ip_network(cidr)
    assert usable(network) == (int(network.network_address) + 1, size)
    assert address_band(network.num_addresses) == band


def test_static_band_of_the_default_node_ports() -> None:
    assert port_band(2768) == 86


@given(st.integers(1, 60), st.data())
def test_dynamic_allocation_leaves_the_static_band_for_last(size: int, data: Any) -> None:
    band = address_band(size)
    taken = data.draw(st.sets(st.integers(100, 100 + size - 1)))
    found = find_free(100, size, band, taken, random.Random(1))
    upper = set(range(100 + band, 100 + size)) - taken
    lower = set(range(100, 100 + band)) - taken
    assert (found in upper) if upper else (found in lower) if lower else found is None


def test_pools_give_everything_and_then_say_that_they_are_full() -> None:
    addresses = AddressPool(random.Random(1))
    addresses.set_range("a", [ipaddress.ip_network("10.0.0.0/28")])
    assert len({addresses.take_next(IPV4) for _ in range(14)}) == 14
    with pytest.raises(AllocationError, match="range is full"):
        addresses.take_next(IPV4)
    ports = PortPool(30000, 30019, random.Random(1))
    given_out = [ports.take_next() for _ in range(20)]
    assert set(given_out) == set(range(30000, 30020))
    assert set(given_out[:4]) == set(range(30016, 30020))


def test_a_second_service_cidr_adds_addresses_and_can_go_again() -> None:
    made = Admission(Settings(service_cidrs=("10.0.0.0/30",)), rng=random.Random(1))
    for name in ("a", "b"):
        made.create("services", svc(name), namespace="default")
    with pytest.raises(StatusError, match="range is full"):
        made.create("services", svc("c"), namespace="default")
    more = made.create(
        "servicecidrs", obj("ServiceCIDR", "more", {"cidrs": ["10.9.0.0/28"]}), namespace=""
    )
    stored = made.create("services", svc("c"), namespace="default").document
    assert stored["spec"]["clusterIP"].startswith("10.9.0.")
    made.released("servicecidrs", more.document)
    with pytest.raises(StatusError, match="range is full"):
        made.create("services", svc("d"), namespace="default")


def test_an_ip_address_object_takes_its_address() -> None:
    made = Admission(rng=random.Random(1))
    parent = {"parentRef": {"resource": "services", "namespace": "default", "name": "x"}}
    stored = made.create("ipaddresses", obj("IPAddress", "10.96.0.50", parent), namespace="")
    with pytest.raises(StatusError, match="already allocated"):
        made.create("services", svc(clusterIP="10.96.0.50"), namespace="default")
    made.released("ipaddresses", stored.document)
    made.create("services", svc(clusterIP="10.96.0.50"), namespace="default")


def test_a_service_implies_an_ip_address_object_for_each_address() -> None:
    made = Admission(rng=random.Random(1))
    given = svc(clusterIP="10.96.0.50", ipFamilyPolicy="PreferDualStack")
    stored = made.create("services", given, namespace="default").document
    first, second = ip_addresses(stored)
    assert first["metadata"] == {
        "name": "10.96.0.50",
        "labels": {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        },
    }
    assert first["spec"]["parentRef"]["name"] == "s"
    assert second["metadata"]["name"].startswith("fd00:10:96::")


class World:
    """A few Services under change, and what their allocations must be."""

    def __init__(self, seed: int) -> None:
        self.admission = Admission(
            Settings(service_cidrs=("10.0.0.0/27", "fd00::/123"), node_ports=(30000, 30015)),
            rng=random.Random(seed),
        )
        self.stored: dict[str, Document] = {}

    def create(self, name: str, spec: dict[str, Any], dry_run: bool) -> None:
        admitted = self.admission.create(
            "services", svc(name, **copy.deepcopy(spec)), namespace="default", dry_run=dry_run
        )
        if dry_run:
            return
        if name in self.stored:
            admitted.undo()  # the store has one of that name already
        else:
            self.stored[name] = admitted.document

    def update(self, name: str, spec: dict[str, Any], dry_run: bool) -> None:
        old = self.stored[name]
        new = copy.deepcopy(old)
        new["spec"].update(copy.deepcopy(spec))
        admitted = self.admission.update("services", new, old, dry_run=dry_run)
        if not dry_run:
            self.stored[name] = admitted.document

    def delete(self, name: str) -> None:
        self.admission.released("services", self.stored.pop(name))

    def restart(self) -> None:
        before = self.admission
        self.admission = Admission(before.settings, rng=random.Random(1))
        self.admission.restore(self.stored.values())

    def check(self) -> None:
        addresses = [a for s in self.stored.values() for a in held_addresses(s)]
        ports = [p for s in self.stored.values() for p in held_ports(s)]
        assert len(addresses) == len(set(addresses))
        assert len(ports) == len(set(ports))
        assert self.admission.addresses.held() == set(addresses)
        assert self.admission.ports.held() == set(ports)


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
        "externalName": st.just("a.b"),
        "externalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "ipFamilyPolicy": st.sampled_from(["SingleStack", "PreferDualStack", "RequireDualStack"]),
        "clusterIP": st.sampled_from(["", "None", "10.0.0.3", "fd00::3"]),
        "allocateLoadBalancerNodePorts": st.booleans(),
        "healthCheckNodePort": st.sampled_from([0, 30001, 30002]),
        "ports": st.sampled_from(
            [
                [{"port": 80}],
                [{"port": 80, "nodePort": 30001}],
                [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}],
                [{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}],
                [{"port": 80, "name": "b", "nodePort": 30002}],
            ]
        ),
    },
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "update", "update", "delete", "restart"]),
        st.sampled_from("abc"),
        SPECS,
        st.booleans(),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(0, 5))
def test_allocations_are_what_the_stored_services_have(steps: list[Any], seed: int) -> None:
    world = World(seed)
    for action, name, spec, dry_run in steps:
        try:
            if action == "create":
                world.create(name, spec, dry_run)
            elif action == "restart":
                world.restart()
            elif name in world.stored and action == "update":
                world.update(name, spec, dry_run)
            elif name in world.stored:
                world.delete(name)
        except StatusError:
            pass  # a refusal must leave the pools alone, too
        world.check()


def test_a_dry_run_sees_taken_ports_and_counts_its_own_up() -> None:
    pool = AddressPool(random.Random(1))
    ports = PortPool(30000, 32767, random.Random(1))
    ports.take(30100)
    tried = Transaction(pool, ports, dry_run=True)
    with pytest.raises(AllocationError, match="provided port is already allocated"):
        tried.take_port(30100)
    tried.take_port(80)
    assert (tried.take_next_port(), tried.take_next_port()) == (81, 82)
    fresh = Transaction(pool, ports, dry_run=True)
    assert (fresh.take_next_port(), fresh.take_next_port()) == (32769, 32770)
    assert ports.held() == {30100}
