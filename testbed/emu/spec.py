"""A topology as typed data: machines with roles and addresses, cables between them. No Mininet.

`TopologySpec.plan` is the fabric that it asks for; Mininet's net makes the same out of its nodes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from typing import Literal, TypeAlias

from testbed.errors import UsageError
from testbed.fabric.specs import (
    INTERFACE_NAME_LIMIT,
    Bridge,
    End,
    NamespaceSpec,
    Plan,
    Route,
    Veth,
)

Role: TypeAlias = Literal["node", "client", "router", "balancer", "switch", "host"]
#: The bridge inside a switch's namespace.
SWITCH_BRIDGE = "br0"
#: Roles that forward packets for others.
FORWARDING_ROLES = ("node", "router", "balancer")


@dataclass(frozen=True, slots=True)
class Networks:
    """The address plan outside the cluster; each field has a CIDR per family that is in use.

    `nodes`: the node network (router .1, first node .11). `clients`: outside (router .1, first
    client .10). `balancer`: the cable between router (.1) and cloud load balancer (.2). `vips`: the
    load balancer's public addresses, which the router sends to it.
    """

    nodes: tuple[str, ...] = ("172.18.0.0/24", "fd00:172:18::/64")
    clients: tuple[str, ...] = ("203.0.113.0/24", "2001:db8:113::/64")
    balancer: tuple[str, ...] = ("192.0.2.0/30", "2001:db8:2::/64")
    vips: tuple[str, ...] = ("198.51.100.0/24", "2001:db8:100::/64")

    def of_families(self, families: str) -> Networks:
        """These networks reduced to `dual`, `ipv4` or `ipv6`."""
        versions = {"dual": (4, 6), "ipv4": (4,), "ipv6": (6,)}.get(families)
        if versions is None:
            raise UsageError(f"families {families!r}: use dual, ipv4 or ipv6")

        def kept(cidrs: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(cidr for cidr in cidrs if ip_network(cidr).version in versions)

        return Networks(kept(self.nodes), kept(self.clients), kept(self.balancer), kept(self.vips))


def host_addresses(cidrs: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Host `number` of each network with its length: 11 → 172.18.0.11/24, fd00:172:18::11/64.

    IPv6 host parts show the same digits as IPv4 ones, so ::11 is the eleventh, not ::b.
    """
    found: list[str] = []
    for cidr in cidrs:
        network = ip_network(cidr)
        host = number if network.version == 4 else int(str(number), 16)
        if host >= network.num_addresses - (1 if network.version == 4 else 0):
            raise UsageError(f"network {cidr} has no address number {number}")
        found.append(f"{network[host]}/{network.prefixlen}")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of a machine; `peer` is the machine or switch at the cable's other end."""

    name: str
    peer: str
    addresses: tuple[str, ...] = ()

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_interface(address).network for address in self.addresses)


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route in a machine: `destination` (CIDR) via the gateway `via`."""

    destination: str
    via: str


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace of the topology. `gateways` are its default routes, at most one per family."""

    name: str
    role: Role
    zone: str = ""
    interfaces: tuple[Interface, ...] = ()
    gateways: tuple[str, ...] = ()
    routes: tuple[StaticRoute, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address without its length, in the interfaces' order."""
        return tuple(
            str(ip_interface(address).ip)
            for interface in self.interfaces
            for address in interface.addresses
        )

    def address(self, version: int = 4) -> str:
        """The first address of IP version 4 or 6; "" where it has none."""
        return next((a for a in self.addresses if ip_address(a).version == version), "")

    def plan(self) -> Plan:
        """Its namespace (a switch's with the bridge) and its routes."""
        return machine_plan(self.name, self.role, self.gateways, self.routes)


@dataclass(frozen=True, slots=True)
class Cable:
    """A link, by (machine, interface) of both ends."""

    left: tuple[str, str]
    right: tuple[str, str]


@dataclass(frozen=True, slots=True)
class TopologySpec:
    """What a topology is made of, machines in the order of their making."""

    name: str
    networks: Networks
    machines: tuple[Machine, ...]
    cables: tuple[Cable, ...]

    def machine(self, name: str) -> Machine:
        """The machine called `name`; UsageError with the known names otherwise."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise UsageError(f"topology {self.name}: no machine {name!r}; it has: {known}")

    def with_role(self, role: Role) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.role == role)

    @property
    def nodes(self) -> tuple[Machine, ...]:
        """The worker nodes."""
        return self.with_role("node")

    @property
    def clients(self) -> tuple[Machine, ...]:
        return self.with_role("client")

    def plan(self) -> Plan:
        """The whole fabric of the topology."""
        plans = [machine.plan() for machine in self.machines]
        plans += [Plan(veths=(self._veth(cable),)) for cable in self.cables]
        return Plan.total(plans)

    def _veth(self, cable: Cable) -> Veth:
        return cable_between(self._end(*cable.left), self._end(*cable.right))

    def _end(self, name: str, interface: str) -> End:
        machine = self.machine(name)
        addresses = next(i.addresses for i in machine.interfaces if i.name == interface)
        bridge = SWITCH_BRIDGE if machine.role == "switch" else ""
        mac = interface_mac(name, interface)
        return End(name, interface, mac, addresses, bridge=bridge)


def machine_plan(
    name: str, role: Role, gateways: tuple[str, ...], routes: tuple[StaticRoute, ...]
) -> Plan:
    """The namespace of a machine, a switch's bridge, and the routes."""
    spec = NamespaceSpec(name, forwarding=role in FORWARDING_ROLES)
    bridges = (Bridge(name, SWITCH_BRIDGE),) if role == "switch" else ()
    defaults = [StaticRoute("::/0" if ":" in via else "0.0.0.0/0", via) for via in gateways]
    return Plan(
        namespaces=(spec,),
        bridges=bridges,
        routes=tuple(Route(name, r.destination, via=r.via) for r in (*defaults, *routes)),
    )


def cable_between(one: End, other: End) -> Veth:
    """The cable of two ends, the machine's left and the switch's right."""
    return Veth(other, one) if one.bridge and not other.bridge else Veth(one, other)


def interface_name(machine: str, port: int) -> str:
    """Mininet's name for an interface, `w1-eth0`, or `eth0` where that is too long."""
    name = f"{machine}-eth{port}"
    return name if len(name) <= INTERFACE_NAME_LIMIT else f"eth{port}"


def interface_mac(machine: str, interface: str) -> str:
    """A locally administered MAC address that is the same in every run.

    Captures read alike, and a machine that comes back isn't a stranger to its neighbours.
    """
    digest = hashlib.sha1(f"{machine} {interface}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in b"\x02" + digest[:5])
