"""rtnetlink requests as bytes: links, addresses, routes, neighbours. Pure: nothing is sent here.

A request is (message type, flags, payload), as `NetlinkSocket.batch` takes it. Layouts are those of
linux/rtnetlink.h, if_link.h, if_addr.h and neighbour.h.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeAlias

from testbed.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    attribute,
    attributes,
    be16,
    nested,
    text,
    u8,
    u32,
)

Request: TypeAlias = tuple[int, int, bytes]

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29

IFF_UP = 0x1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK = 1, 3, 4, 5
IFLA_QDISC, IFLA_MASTER = 6, 10
IFLA_PROTINFO, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_GROUP, IFLA_NET_NS_FD = 12, 16, 18, 27, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
IFLA_BR_MCAST_SNOOPING = 23
IFLA_BRPORT_STATE, IFLA_BRPORT_MODE = 1, 4
BR_STATE_FORWARDING = 3
IF_OPER_UNKNOWN, IF_OPER_UP = 0, 6
IFLA_VXLAN_ID, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING = 1, 4, 7
IFLA_VXLAN_PORT, IFLA_VXLAN_LOCAL6 = 15, 17

IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC = 1, 4, 5, 7
RTNH_F_ONLINK = 4
RT_TABLE_MAIN, RTPROT_STATIC = 254, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTN_LOCAL = 2
ROUTE_KINDS = {"unicast": 1, "blackhole": 6, "unreachable": 7}
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT, NTF_SELF = 0x80, 0x02

_CREATE = NLM_F_CREATE | NLM_F_EXCL
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")


def pack_address(address: str) -> tuple[int, bytes]:
    """(address family, bytes) of an address without a prefix length."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def pack_prefix(prefix: str) -> tuple[int, bytes, int]:
    """(address family, bytes, length) of `10.0.0.0/8`; without a length, the whole address."""
    address, _, length = prefix.partition("/")
    family, packed = pack_address(address)
    return family, packed, int(length) if length else len(packed) * 8


def pack_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _link_attributes(name: str, mac: str, mtu: int) -> bytes:
    return (
        text(IFLA_IFNAME, name)
        + (attribute(IFLA_ADDRESS, pack_mac(mac)) if mac else b"")
        + (u32(IFLA_MTU, mtu) if mtu else b"")
    )


def _new_link(index: int, name: str, mac: str, mtu: int, kind: str, *data: bytes) -> Request:
    info = nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, kind), nested(IFLA_INFO_DATA, *data))
    head = _LINK.pack(0, 0, index, 0, 0)
    return RTM_NEWLINK, _CREATE, head + _link_attributes(name, mac, mtu) + info


def new_bridge(index: int, name: str, mac: str = "", mtu: int = 0) -> Request:
    """A bridge without spanning tree that floods multicast: ports forward from the start."""
    return _new_link(index, name, mac, mtu, "bridge", u8(IFLA_BR_MCAST_SNOOPING, 0))


def new_vxlan(
    index: int, name: str, vni: int, local: str, port: int, mac: str = "", mtu: int = 0
) -> Request:
    family, packed = pack_address(local)
    kind = IFLA_VXLAN_LOCAL if family == socket.AF_INET else IFLA_VXLAN_LOCAL6
    data = (
        u32(IFLA_VXLAN_ID, vni),
        attribute(kind, packed),
        be16(IFLA_VXLAN_PORT, port),
        u8(IFLA_VXLAN_LEARNING, 0),
    )
    return _new_link(index, name, mac, mtu, "vxlan", *data)


def new_veth(
    index: int,
    name: str,
    peer_index: int,
    peer_name: str,
    peer_namespace: int,
    *,
    mac: str = "",
    mtu: int = 0,
    peer_mac: str = "",
    peer_mtu: int = 0,
) -> Request:
    """A veth pair whose peer is born in the namespace behind descriptor `peer_namespace`.

    The kernel heeds `peer_index` only where `index` is given as well (drivers/net/veth.c).
    """
    peer = (
        _LINK.pack(0, 0, peer_index, 0, 0)
        + _link_attributes(peer_name, peer_mac, peer_mtu)
        + u32(IFLA_NET_NS_FD, peer_namespace)
    )
    return _new_link(index, name, mac, mtu, "veth", nested(VETH_INFO_PEER, peer))


def set_up(index: int, *, up: bool = True) -> Request:
    return RTM_NEWLINK, 0, _LINK.pack(0, 0, index, IFF_UP if up else 0, IFF_UP)


def set_master(index: int, master: int) -> Request:
    return RTM_NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0) + u32(IFLA_MASTER, master)


def set_hairpin(index: int) -> Request:
    """Let bridge port `index` send frames back the way they came."""
    mode = nested(IFLA_PROTINFO, u8(IFLA_BRPORT_MODE, 1))
    return RTM_SETLINK, 0, _LINK.pack(socket.AF_BRIDGE, 0, index, 0, 0) + mode


#: The interface group that links are put into to be deleted together.
GOING = 0x676F


def set_group(index: int, group: int) -> Request:
    return RTM_NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0) + u32(IFLA_GROUP, group)


def delete_group(group: int) -> Request:
    """Delete all links of `group`: the kernel waits once for all (30 ms), not once for each."""
    return RTM_DELLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + u32(IFLA_GROUP, group)


def get_link(name: str) -> Request:
    return RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name)


def link_index(payload: bytes | memoryview) -> int:
    """The interface index in the answer to `get_link`."""
    return int(_LINK.unpack_from(payload)[2])


def has_peer(payload: bytes | memoryview) -> bool:
    """Whether the interface in the answer to `get_link` is an end of a cable (or on another)."""
    return IFLA_LINK in attributes(payload, _LINK.size)


def _address_payload(index: int, address: str) -> bytes:
    family, packed, length = pack_prefix(address)
    attributes = attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    if family == socket.AF_INET6:
        attributes += u32(IFA_FLAGS, IFA_F_NODAD)
    return _ADDRESS.pack(family, length, 0, RT_SCOPE_UNIVERSE, index) + attributes


def new_address(index: int, address: str) -> Request:
    return RTM_NEWADDR, _CREATE, _address_payload(index, address)


def delete_address(index: int, address: str) -> Request:
    return RTM_DELADDR, 0, _address_payload(index, address)


def _route_payload(
    destination: str, via: str, index: int, source: str, onlink: bool, kind: str
) -> bytes:
    family, packed, length = pack_prefix(destination)
    attributes = attribute(RTA_DST, packed) if length else b""
    if via:
        attributes += attribute(RTA_GATEWAY, pack_address(via)[1])
    if index:
        attributes += u32(RTA_OIF, index)
    if source:
        attributes += attribute(RTA_PREFSRC, pack_address(source)[1])
    on_this_link = family == socket.AF_INET and index and not via
    scope = RT_SCOPE_LINK if on_this_link else RT_SCOPE_UNIVERSE
    flags = RTNH_F_ONLINK if onlink else 0
    head = (family, length, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, ROUTE_KINDS[kind], flags)
    return _ROUTE.pack(*head) + attributes


def new_route(
    destination: str,
    *,
    via: str = "",
    index: int = 0,
    source: str = "",
    onlink: bool = False,
    kind: str = "unicast",
) -> Request:
    """A route in the main table; `index` is the interface out."""
    payload = _route_payload(destination, via, index, source, onlink, kind)
    return RTM_NEWROUTE, _CREATE, payload


def delete_route(
    destination: str, *, via: str = "", index: int = 0, kind: str = "unicast"
) -> Request:
    return RTM_DELROUTE, 0, _route_payload(destination, via, index, "", False, kind)


def get_route(address: str) -> Request:
    """Ask which route a packet to `address` would take."""
    family, packed = pack_address(address)
    head = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    return RTM_GETROUTE, 0, head + attribute(RTA_DST, packed)


def is_local_route(payload: bytes | memoryview) -> bool:
    """Whether an answer to `get_route` says that the address is the namespace's own."""
    return int(_ROUTE.unpack_from(payload)[7]) == RTN_LOCAL


def _neighbour_payload(index: int, address: str, mac: str) -> bytes:
    family, packed = pack_address(address)
    head = _NEIGHBOUR.pack(family, index, NUD_PERMANENT, 0, 0)
    return head + attribute(NDA_DST, packed) + attribute(NDA_LLADDR, pack_mac(mac))


def new_neighbour(index: int, address: str, mac: str) -> Request:
    return RTM_NEWNEIGH, _CREATE, _neighbour_payload(index, address, mac)


def delete_neighbour(index: int, address: str, mac: str) -> Request:
    return RTM_DELNEIGH, 0, _neighbour_payload(index, address, mac)


def _forwarding_payload(index: int, mac: str, remote: str) -> bytes:
    head = _NEIGHBOUR.pack(socket.AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF, 0)
    return head + attribute(NDA_DST, pack_address(remote)[1]) + attribute(NDA_LLADDR, pack_mac(mac))


def new_forwarding(index: int, mac: str, remote: str) -> Request:
    """An entry of a VXLAN interface's own forwarding table."""
    return RTM_NEWNEIGH, _CREATE, _forwarding_payload(index, mac, remote)


def delete_forwarding(index: int, mac: str, remote: str) -> Request:
    return RTM_DELNEIGH, 0, _forwarding_payload(index, mac, remote)


def all_links() -> Request:
    """A dump of the namespace's links; ask with NLM_F_DUMP."""
    return RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0)
