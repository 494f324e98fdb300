"""rtnetlink requests hold what the kernel's headers say."""

from __future__ import annotations

import socket
import struct

import pytest

from testbed.fabric import rtnetlink as rt
from testbed.netlink import NLM_F_CREATE, NLM_F_EXCL, attributes, string

CREATE = NLM_F_CREATE | NLM_F_EXCL


def test_a_route_by_gateway_has_global_scope() -> None:
    kind, flags, payload = rt.new_route("10.244.2.0/24", via="172.18.0.12")
    assert (kind, flags) == (rt.RTM_NEWROUTE, CREATE)
    family, length, *_, scope, route_type, route_flags = struct.unpack_from("=BBBBBBBBI", payload)
    assert (family, length, scope, route_type, route_flags) == (socket.AF_INET, 24, 0, 1, 0)
    values = attributes(payload, 12)
    assert bytes(values[rt.RTA_DST]) == socket.inet_aton("10.244.2.0")
    assert bytes(values[rt.RTA_GATEWAY]) == socket.inet_aton("172.18.0.12")


def test_a_route_to_a_link_has_link_scope_in_ipv4_only() -> None:
    assert rt.new_route("10.0.0.1", index=5)[2][6] == rt.RT_SCOPE_LINK
    assert rt.new_route("fd00::1", index=5)[2][6] == rt.RT_SCOPE_UNIVERSE


def test_a_default_route_names_no_destination() -> None:
    payload = rt.new_route("::/0", via="fe80::1", index=7, onlink=True)[2]
    values = attributes(payload, 12)
    assert rt.RTA_DST not in values
    assert struct.unpack("=I", values[rt.RTA_OIF]) == (7,)
    assert struct.unpack_from("=I", payload, 8) == (rt.RTNH_F_ONLINK,)


@pytest.mark.parametrize(
    ("address", "nodad"), [("10.0.0.1/24", False), ("fd00::1/64", True)], ids=["IPv4", "IPv6"]
)
def test_addresses_are_usable_at_once(address: str, nodad: bool) -> None:
    values = attributes(rt.new_address(3, address)[2], 8)
    assert (rt.IFA_FLAGS in values) == nodad


def test_a_veth_names_both_ends_and_the_peer_s_namespace() -> None:
    request = rt.new_veth(101, "eth0", 102, "veth1", 9, mac="0a:58:00:00:00:01", peer_mtu=1450)
    values = attributes(request[2], 16)
    assert string(values[rt.IFLA_IFNAME]) == "eth0"
    assert bytes(values[rt.IFLA_ADDRESS]) == bytes.fromhex("0a5800000001")
    info = attributes(values[rt.IFLA_LINKINFO])
    assert string(info[rt.IFLA_INFO_KIND]) == "veth"
    peer = attributes(info[rt.IFLA_INFO_DATA])[rt.VETH_INFO_PEER]
    assert struct.unpack_from("=BxHiII", peer)[2] == 102
    assert struct.unpack("=I", attributes(peer, 16)[rt.IFLA_NET_NS_FD]) == (9,)
    assert struct.unpack("=I", attributes(peer, 16)[rt.IFLA_MTU]) == (1450,)
