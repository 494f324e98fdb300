"""Which addresses serve NodePorts, by setting; and what a node is. Catalogue K-33, K-46, 7.3."""

from __future__ import annotations

import pytest

from testbed.api.objects import IPV4, IPV6, Node
from testbed.proxy.node import LocalNode, local_node
from testbed.proxy.node_port_addresses import NodePortAddresses, node_port_addresses

FOUR = LocalNode("w1", IPV4, "192.168.0.2", ("127.0.0.1", "192.168.0.2", "192.168.1.2"))
SIX = LocalNode("w1", IPV6, "fd00::2", ("::1", "fd00::2", "fd00:1::2"))
BARE = LocalNode("w1", IPV6, "::1", ("::1",))
BOTH = ("192.168.0.0/16", "fd00::/8")


@pytest.mark.parametrize(
    ("given", "node", "allowed", "expected"),
    [
        ((), FOUR, True, NodePortAddresses(True, (), True)),
        ((), FOUR, False, NodePortAddresses(True, (), False)),
        ((), SIX, True, NodePortAddresses(True, (), False)),
        (("0.0.0.0/0",), FOUR, True, NodePortAddresses(True, (), True)),
        (("::/0",), FOUR, True, NodePortAddresses(True, (), True)),
        (("primary",), FOUR, True, NodePortAddresses(False, ("192.168.0.2",), False)),
        (("primary",), SIX, True, NodePortAddresses(False, ("fd00::2",), False)),
        (("primary",), BARE, True, NodePortAddresses(True, (), False)),
        (BOTH, FOUR, True, NodePortAddresses(False, ("192.168.0.2", "192.168.1.2"), False)),
        (BOTH, SIX, True, NodePortAddresses(False, ("fd00:1::2", "fd00::2"), False)),
        (("127.0.0.0/8",), FOUR, True, NodePortAddresses(False, ("127.0.0.1",), True)),
        (("127.0.0.0/8",), FOUR, False, NodePortAddresses(False, (), False)),
        (("::1/128",), SIX, True, NodePortAddresses(False, (), False)),
        (("10.0.0.0/8",), FOUR, True, NodePortAddresses(False, (), False)),
    ],
)
def test_the_setting_decides_where_node_ports_listen(
    given: tuple[str, ...], node: LocalNode, allowed: bool, expected: NodePortAddresses
) -> None:
    assert node_port_addresses(given, node, allow_localhost=allowed) == expected


def node(*addresses: tuple[str, str]) -> Node:
    return Node("w1", {"topology.kubernetes.io/zone": "a"}, addresses, ("10.1.0.0/24", "fd01::/64"))


def test_the_primary_address_is_the_first_internal_one_of_the_family() -> None:
    view = node(
        ("Hostname", "w1"),
        ("ExternalIP", "203.0.113.1"),
        ("InternalIP", "fd00::1"),
        ("InternalIP", "172.18.0.11"),
        ("InternalIP", "172.18.0.12"),
    )
    four = local_node(view, IPV4)
    assert (four.ip, four.zone, four.pod_cidr) == ("172.18.0.11", "a", "10.1.0.0/24")
    assert four.addresses == ("127.0.0.1", "172.18.0.11", "172.18.0.12", "203.0.113.1")
    assert local_node(view, IPV6).ip == "fd00::1"


def test_a_node_without_the_family_has_the_loopback_address() -> None:
    six = local_node(node(("InternalIP", "172.18.0.11")), IPV6)
    assert (six.ip, six.has_primary) == ("::1", False)


def test_known_interface_addresses_take_the_place_of_the_objects() -> None:
    view = node(("InternalIP", "172.18.0.11"))
    four = local_node(view, IPV4, ["127.0.0.1", "192.0.2.9", "fe80::1"])
    assert four.addresses == ("127.0.0.1", "192.0.2.9")
