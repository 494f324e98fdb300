"""A second Fabric takes over what the first one made and let go of."""

from __future__ import annotations

import socket

import pytest

from testbed.errors import TestbedError
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import End, NamespaceSpec, Plan, Veth
from tests.kernel.fabric.conftest import Exchange

pytestmark = pytest.mark.kernel


def pair(left: str, right: str, subnet: int = 1) -> Plan:
    return Plan(
        namespaces=(NamespaceSpec(left), NamespaceSpec(right)),
        veths=(
            Veth(
                End(left, f"eth-{right}", addresses=(f"10.9.{subnet}.1/24",)),
                End(right, f"eth-{left}", addresses=(f"10.9.{subnet}.2/24",)),
            ),
        ),
    )


def test_namespaces_cables_and_packets_go_on(lab_name: str, exchange: Exchange) -> None:
    first = Fabric(lab_name)
    first.deploy(pair("a", "b"))
    inodes = {n.name: n.inode for n in first.namespaces()}
    first.let_go()
    with Fabric(lab_name, resume=True) as second:
        second.take_over(pair("a", "b"))
        assert {n.name: n.inode for n in second.namespaces()} == inodes
        assert exchange(second.namespace("a"), second.namespace("b"), "10.9.1.2") == "10.9.1.1"
        more = Plan(
            namespaces=(NamespaceSpec("c"),),
            veths=(
                Veth(
                    End("a", "eth-c", addresses=("10.9.2.1/24",)),
                    End("c", "eth-a", addresses=("10.9.2.2/24",)),
                ),
            ),
        )
        second.deploy(more)
        assert exchange(second.namespace("a"), second.namespace("c"), "10.9.2.2") == "10.9.2.1"
        second.remove(["b"])
        with pytest.raises(TestbedError, match="no interface"):
            second.namespace("a").index("eth-b")


def test_what_nobody_takes_over_is_removed(lab_name: str) -> None:
    first = Fabric(lab_name)
    first.deploy(pair("a", "b"))
    first.deploy(pair("c", "d", 2))
    first.let_go()
    with Fabric(lab_name, resume=True) as second:
        second.take_over(pair("a", "b"))
        assert second.standing() == {"a", "b", "c", "d"}
        assert second.remove_unknown() == ["c", "d"]
        assert second.standing() == {"a", "b"}


def test_a_cable_goes_even_where_somebody_holds_the_namespace(lab_name: str) -> None:
    first = Fabric(lab_name)
    first.deploy(pair("a", "b"))
    with first.namespace("b").socket(socket.AF_INET, socket.SOCK_DGRAM):
        first.let_go()
        with Fabric(lab_name, resume=True) as second:
            second.take_over(Plan(namespaces=(NamespaceSpec("a"),)))
            second.remove_unknown()
            assert [name for _, name in second.namespace("a").call(socket.if_nameindex)] == ["lo"]


def test_a_missing_namespace_is_named_and_the_rest_stays(lab_name: str) -> None:
    first = Fabric(lab_name)
    first.deploy(pair("a", "b"))
    first.let_go()
    second = Fabric(lab_name, resume=True)
    with pytest.raises(TestbedError, match="without z"):
        second.take_over(pair("a", "z"))
    second.let_go()
    with Fabric(lab_name, resume=True) as third:
        assert third.standing() == {"a", "b"}
