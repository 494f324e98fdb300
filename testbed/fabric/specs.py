"""What a fabric is made of, as frozen values: namespaces, links, addresses, routes.

A `Plan` holds them and adds up with `+`; `Fabric.deploy` makes it real. Every name of a namespace
is its name in the lab; every `interface` is a name inside that namespace. Both families wherever an
address is taken: the family is read off the address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

#: Longest interface name the kernel takes (IFNAMSIZ - 1).
INTERFACE_NAME_LIMIT = 15

_NAME = re.compile(r"[A-Za-z0-9][-_.A-Za-z0-9]*")


@dataclass(frozen=True, slots=True)
class NamespaceSpec:
    """A network namespace. With `forwarding` it routes for others, in both families.

    A namespace that forwards sends no ICMP redirects and doesn't filter by reverse path; none takes
    router advertisements or waits for duplicate address detection.
    """

    name: str
    forwarding: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair.

    `addresses` are written `172.18.0.11/24`. `bridge` is the bridge of the same namespace that this
    end is a port of; `hairpin` lets that port send a frame back where it came from.
    """

    namespace: str
    interface: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    bridge: str = ""
    hairpin: bool = False


@dataclass(frozen=True, slots=True)
class Veth:
    """A cable with its two ends. Both come up."""

    left: End
    right: End


@dataclass(frozen=True, slots=True)
class Bridge:
    """An Ethernet switch in a namespace; ports name it in `End.bridge`."""

    namespace: str
    interface: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A VXLAN tunnel end that learns nothing: `Forwarding` entries say where each MAC lives."""

    namespace: str
    interface: str
    vni: int
    local: str
    port: int = 4789
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int = 1450


@dataclass(frozen=True, slots=True)
class Address:
    """One more address on an interface; usable at once (no duplicate address detection)."""

    namespace: str
    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent entry of the ARP or neighbour table."""

    namespace: str
    interface: str
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Frames to `mac` leave a VXLAN interface towards tunnel end `remote`."""

    namespace: str
    interface: str
    mac: str
    remote: str


@dataclass(frozen=True, slots=True)
class Route:
    """A route to `destination` (a CIDR; `0.0.0.0/0` and `::/0` are the defaults).

    `via` is the gateway and `interface` the way out; one of them may be empty. `onlink` takes the
    gateway as reachable though no address of the interface covers it. `source` is the address that
    local traffic leaves with. `kind` is unicast, blackhole or unreachable.
    """

    namespace: str
    destination: str
    via: str = ""
    interface: str = ""
    source: str = ""
    onlink: bool = False
    kind: str = "unicast"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel setting of one namespace, as in sysctl(8): `net.ipv4.ip_forward`.

    One that is `optional` is passed over where the kernel doesn't have it.
    """

    namespace: str
    key: str
    value: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Ruleset:
    """nftables text that is loaded in one transaction; it must own the one table it names."""

    namespace: str
    table: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to make, kind by kind; plans add up. Order within a kind is kept."""

    namespaces: tuple[NamespaceSpec, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    vxlans: tuple[Vxlan, ...] = ()
    veths: tuple[Veth, ...] = ()
    addresses: tuple[Address, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    forwardings: tuple[Forwarding, ...] = ()
    routes: tuple[Route, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    rulesets: tuple[Ruleset, ...] = ()

    def __add__(self, other: Plan) -> Plan:
        return Plan(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Plan)))

    @classmethod
    def total(cls, plans: list[Plan]) -> Plan:
        """The sum of many plans, without copying the growing tuples each time."""
        return cls(*(tuple(x for p in plans for x in getattr(p, f.name)) for f in fields(cls)))


def interface_address(address: str) -> IPv4Interface | IPv6Interface:
    """`10.0.0.1/24` as an object of ipaddress; ValueError where it isn't one."""
    return ip_interface(address)


def faults(plan: Plan) -> list[str]:
    """What can't be made in `plan`, one line each; all of them, not the first."""
    found = [
        f"namespace {spec.name!r}: use letters, digits, '-', '_' and '.'"
        for spec in plan.namespaces
        if not _NAME.fullmatch(spec.name)
    ]
    seen: set[tuple[str, str]] = set()
    ends = [end for veth in plan.veths for end in (veth.left, veth.right)]
    links: list[Bridge | Vxlan | End] = [*plan.bridges, *plan.vxlans, *ends]
    for link in links:
        where = f"interface {link.interface!r} in {link.namespace}"
        if not _NAME.fullmatch(link.interface) or len(link.interface) > INTERFACE_NAME_LIMIT:
            found.append(f"{where}: a name has 1 to {INTERFACE_NAME_LIMIT} letters and digits")
        if (link.namespace, link.interface) in seen:
            found.append(f"{where}: named twice")
        seen.add((link.namespace, link.interface))
    return found
