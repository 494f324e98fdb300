"""The topologies as typed data."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.emu.load import load_topology, topology_names
from testbed.emu.spec import TopologySpec, host_addresses
from testbed.errors import UsageError
from testbed.fabric.specs import faults


def spec_of(words: str) -> TopologySpec:
    spec = load_topology(words).spec()
    assert isinstance(spec, TopologySpec)
    return spec


def test_three_nodes_have_the_documented_addresses() -> None:
    spec = spec_of("three_nodes")
    assert spec.name == "three_nodes"
    assert {m.name: m.addresses for m in spec.machines if m.role != "switch"} == {
        "w1": ("172.18.0.11", "fd00:172:18::11"),
        "w2": ("172.18.0.12", "fd00:172:18::12"),
        "w3": ("172.18.0.13", "fd00:172:18::13"),
        "client": ("203.0.113.10", "2001:db8:113::10"),
        "lb": ("192.0.2.2", "2001:db8:2::2"),
        "router": (
            *("172.18.0.1", "fd00:172:18::1"),
            *("203.0.113.1", "2001:db8:113::1"),
            *("192.0.2.1", "2001:db8:2::1"),
        ),
    }
    assert spec.machine("w2").gateways == ("172.18.0.1", "fd00:172:18::1")


def test_the_router_sends_the_vips_to_the_balancer() -> None:
    routes = spec_of("three_nodes").machine("router").routes
    assert {(r.destination, r.via) for r in routes} == {
        ("198.51.100.0/24", "192.0.2.2"),
        ("2001:db8:100::/64", "2001:db8:2::2"),
    }


def test_two_zones_name_their_nodes_zones() -> None:
    zones = {m.name: m.zone for m in spec_of("two_zones").nodes}
    assert zones == {"w1": "zone-a", "w2": "zone-a", "w3": "zone-b", "w4": "zone-b"}


@pytest.mark.parametrize("name", topology_names())
def test_every_topology_can_be_deployed_and_shows_its_picture(name: str) -> None:
    topo = load_topology(name)
    plan = topo.spec().plan()
    assert faults(plan) == []
    names = {spec.name for spec in plan.namespaces}
    assert {"client", "router", "lb", "w1"} <= names
    source = (Path(__file__).parents[3] / "topologies" / f"{name}.py").read_text()
    picture = source.split('"""')[1]
    assert all(name in picture for name in names)


@pytest.mark.parametrize(("families", "mark"), [("ipv4", "."), ("ipv6", ":")])
def test_a_topology_of_one_family_has_no_address_of_the_other(families: str, mark: str) -> None:
    spec = spec_of(f"three_nodes,families={families}")
    addresses = [a for machine in spec.machines for a in (*machine.addresses, *machine.gateways)]
    assert addresses
    assert all(mark in address for address in addresses)


def test_networks_are_options() -> None:
    spec = spec_of("single_node,nodes=10.9.0.0/16+fd09::/64")
    assert spec.machine("w1").addresses == ("10.9.0.11", "fd09::11")
    assert spec.machine("w1").gateways == ("10.9.0.1", "fd09::1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "four_nodes",
            "'four_nodes' is unknown; there are: internet, single_node, three_nodes, two_zones",
        ),
        ("three_nodes,zones=3", "option 'zones' is unknown; there are: families, balancer"),
        ("three_nodes,families=v4", "families 'v4': use dual, ipv4 or ipv6"),
        ("three_nodes,nodes=10.0.0.0/29", "10.0.0.0/29 has no address number 11"),
        ("three_nodes,nodes=10.0.0.0/8/", "three_nodes.py: ValueError"),
        ("nowhere/x.py", "'nowhere/x.py' is unknown"),
    ],
)
def test_what_is_wrong_with_a_topology_is_told_in_one_line(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_topology(words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topos = {", "bad.py: line 1: SyntaxError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("x = 1", "no `topos = {name: class}` in it"),
    ],
)
def test_a_broken_file_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_topology(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_host_numbers_read_alike_in_both_families() -> None:
    assert host_addresses(("172.18.0.0/24", "fd00:172:18::/64"), 11) == (
        "172.18.0.11/24",
        "fd00:172:18::11/64",
    )
