"""Which addresses take NodePorts, by mode and --nodeport-addresses.

Source: TestNodePorts in pkg/proxy/{iptables,nftables}/proxier_test.go.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.oracle.builders import SETTINGS, Case, endpoint, port, said, service, slice_of

V4 = ("172.30.0.41", "192.168.0.2", "192.168.1.2", "127.0.0.1", "10.0.0.2", "203.0.113.2")
V6 = ("fd00:172:30::41", "2001:db8::1", "2001:db8:1::2", "::1", "fd00:10::2", "2600:5200::1")
ALL, KEPT, NO = "M", "", "no match"

#: mode, family, localhost NodePorts, nodeport-addresses → Pod to ClusterIP, external to node,
#: node to itself, external to the second address, localhost
CONFIGURATIONS = [
    ("iptables", V4, True, (), (KEPT, ALL, ALL, ALL, ALL)),
    ("iptables", V4, False, (), (KEPT, ALL, ALL, ALL, NO)),
    ("iptables", V4, False, ("192.168.0.0/24", "127.0.0.1/32"), (KEPT, ALL, ALL, NO, NO)),
    ("iptables", V4, True, ("192.168.0.0/24", "127.0.0.1/32"), (KEPT, ALL, ALL, NO, ALL)),
    ("iptables", V4, True, ("192.168.0.0/24", "192.168.1.0/24"), (KEPT, ALL, ALL, ALL, NO)),
    ("iptables", V4, True, ("primary",), (KEPT, ALL, ALL, NO, NO)),
    ("iptables", V4, True, ("0.0.0.0/0",), (KEPT, ALL, ALL, ALL, ALL)),
    ("iptables", V6, True, (), (KEPT, ALL, ALL, ALL, NO)),
    ("iptables", V6, False, (), (KEPT, ALL, ALL, ALL, NO)),
    ("iptables", V6, False, ("2001:db8::/64",), (KEPT, ALL, ALL, NO, NO)),
    ("nftables", V4, True, (), (KEPT, ALL, ALL, NO, NO)),
    ("nftables", V6, True, (), (KEPT, ALL, ALL, NO, NO)),
    ("nftables", V4, True, ("192.168.0.0/24", "192.168.1.0/24"), (KEPT, ALL, ALL, ALL, NO)),
    ("nftables", V4, True, ("0.0.0.0/0",), (KEPT, ALL, ALL, ALL, NO)),
    # a list without a CIDR of the family leaves that family open
    ("iptables", V6, True, ("192.168.0.0/24",), (KEPT, ALL, ALL, ALL, NO)),
    ("nftables", V6, True, ("192.168.0.0/24",), (KEPT, ALL, ALL, ALL, NO)),
    ("nftables", V6, True, ("2001:db8::/64", "2001:db8:1::/64"), (KEPT, ALL, ALL, ALL, NO)),
]


def world(family: tuple[str, ...], localhost: bool, addresses: tuple[str, ...]) -> Case:
    ends = ["10.180.0.1", "10.180.2.1"] if family is V4 else ["fd00:10:180::1", "fd00:10:180::2:1"]
    return Case(
        [service(ip=family[0], type="NodePort", ports=[port("p80", 80, node_port=3001)])],
        [slice_of("ns1/svc1", [endpoint(ends[0], "other"), endpoint(ends[1])])],
        replace(SETTINGS, localhost_nodeports=localhost, nodeport_addresses=addresses),
    )


@pytest.mark.parametrize(("mode", "family", "localhost", "addresses", "results"), CONFIGURATIONS)
def test_node_port_answers_where_configured(
    mode: str,
    family: tuple[str, ...],
    localhost: bool,
    addresses: tuple[str, ...],
    results: tuple[str, ...],
) -> None:
    vip, first, second, loop, pod, out = (f"[{a}]" if ":" in a else a for a in family)
    case = world(family, localhost, addresses)
    both = "10.180.0.1:80, 10.180.2.1:80"
    if family is V6:
        both = "[fd00:10:180::1]:80, [fd00:10:180::2:1]:80"
    packets = (
        f"tcp {pod} -> {vip}:80",
        f"tcp {out} -> {first}:3001",
        f"tcp {first} -> {first}:3001",
        f"tcp {out} -> {second}:3001",
        f"tcp {loop} -> {loop}:3001",
    )
    for packet, result in zip(packets, results, strict=True):
        expected = result if result == NO else f"{both} {result}".strip()
        assert said(case.ask(mode, packet)) == expected, packet


def test_iptables_refuses_an_unserved_node_port_on_every_address() -> None:
    case = world(V4, True, ("192.168.0.0/24",))
    case.slices = []
    assert said(case.ask("iptables", "tcp 203.0.113.2 -> 192.168.1.2:3001")) == "REJECT"
    assert said(case.ask("nftables", "tcp 203.0.113.2 -> 192.168.1.2:3001")) == "no match"
