"""Mininet's Intf and Link over the fabric: values until the net deploys them, then netlink."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from mininet.link import Intf, Link

from testbed.emu.spec import SWITCH_BRIDGE, cable_between, interface_mac, interface_name
from testbed.errors import UsageError
from testbed.fabric.rtnetlink import delete_address, new_address
from testbed.fabric.specs import End, Plan

if TYPE_CHECKING:
    from testbed.emu.node import FabricNode


class FabricIntf(Intf):  # type: ignore[misc]
    """An interface that knows its addresses (both families) and needs no shell to set them."""

    node: FabricNode
    mac: str | None
    ip: str | None
    prefixLen: str | None

    def config(
        self,
        mac: str | None = None,
        ip: str | None = None,
        addresses: tuple[str, ...] = (),
        up: bool = True,
        **_: Any,
    ) -> dict[str, Any]:
        self.mac = mac or self.mac or interface_mac(self.node.name, self.name)
        self.addresses: list[str] = list(addresses)
        if ip:
            self.addresses.append(ip)
        self._show_first()
        return {}

    def _show_first(self) -> None:
        """Mininet's idea of an interface has one address: the first of IPv4, else of IPv6."""
        by_family = sorted(self.addresses, key=lambda address: ":" in address)
        first = by_family[0] if by_family else None
        self.ip, self.prefixLen = first.split("/") if first else (None, None)

    @property
    def deployed(self) -> bool:
        return self.node.net.is_deployed(self.link)

    def end(self) -> End:
        """This interface as an end of the fabric's cable."""
        bridge = SWITCH_BRIDGE if self.node.is_bridge else ""
        addresses = tuple(self.addresses)
        return End(self.node.name, self.name, self.mac or "", addresses, bridge=bridge)

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> None:
        """Replace the address of that family."""
        if "/" not in ipstr and prefixLen is None:
            raise UsageError(f"{self.name}: address {ipstr} needs a prefix length")
        address = ipstr if "/" in ipstr else f"{ipstr}/{prefixLen}"
        old = [a for a in self.addresses if (":" in a) == (":" in address)]
        self.addresses = [a for a in self.addresses if a not in old] + [address]
        self._show_first()
        if self.deployed and address not in old:
            place = self.node.namespace
            index = place.index(self.name)
            requests = [delete_address(index, a) for a in old] + [new_address(index, address)]
            place.route.batch(requests)

    def setMAC(self, macstr: str) -> None:
        self.mac = macstr
        if self.deployed:
            self.node.namespace.run(["ip", "link", "set", self.name, "address", macstr])

    def updateIP(self) -> str | None:
        return self.ip

    def updateMAC(self) -> str | None:
        self.mac = self.node.namespace.call(lambda: _mac_of(self.name))
        return self.mac

    def updateAddr(self) -> tuple[str | None, str | None]:
        return self.updateIP(), self.updateMAC()

    def MAC(self) -> str | None:
        return self.mac or self.updateMAC()

    def isUp(self, setUp: bool = False) -> bool:
        if setUp:
            self.node.namespace.run(["ip", "link", "set", self.name, "up"])
        return "UP" in self.node.namespace.run(["ip", "-br", "link", "show", self.name])

    def ifconfig(self, *args: str) -> str:
        """`up` and `down`, as Mininet's CLI asks for; other arguments are ifconfig's own."""
        if args and args[0] in ("up", "down"):
            return self.node.namespace.run(["ip", "link", "set", self.name, args[0]])
        return self.node.namespace.run(["ifconfig", self.name, *args])

    def rename(self, newname: str) -> None:
        raise UsageError(f"{self.name}: an interface keeps its name; give the link intfName1/2")

    def delete(self) -> None:
        """Remove the interface, and with it the cable."""
        if self.deployed:
            self.node.net.fabric.unplug(self.node.name, self.name)
        self.node.delIntf(self)
        self.link = None


def _mac_of(interface: str) -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as probe:
        probe.bind((interface, 0))
        return ":".join(f"{byte:02x}" for byte in probe.getsockname()[4])


class FabricLink(Link):  # type: ignore[misc]
    """A veth pair between two nodes of one net.

    `params1` and `params2` may hold `addresses`, with their lengths, for either end.
    """

    intf1: FabricIntf
    intf2: FabricIntf

    def __init__(self, node1: FabricNode, node2: FabricNode, **params: Any) -> None:
        self._deleted = False
        params["fast"] = True
        super().__init__(node1, node2, **params)
        node1.net.make(self)

    @classmethod
    def makeIntfPair(cls, *_: Any, **__: Any) -> None:
        """Nothing yet: the net makes all its links in one go."""

    def intfName(self, node: FabricNode, n: int) -> str:
        return interface_name(node.name, n)

    def plan(self) -> Plan:
        return Plan(veths=(cable_between(self.intf1.end(), self.intf2.end()),))

    def delete(self) -> None:
        if self._deleted:
            return
        self._deleted = True
        self.intf1.delete()
        self.intf2.node.delIntf(self.intf2)

    def status(self) -> str:
        states = ("OK" if intf.isUp() else "MISSING" for intf in (self.intf1, self.intf2))
        return "({} {})".format(*states)
