"""The base of the testbed's topologies: Mininet's Topo, with the words of a cluster's network."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from ipaddress import ip_network
from typing import Any

from mininet.topo import Topo

from testbed.emu.spec import (
    Cable,
    Interface,
    Machine,
    Networks,
    Role,
    StaticRoute,
    TopologySpec,
    host_addresses,
    interface_name,
)
from testbed.errors import UsageError

FIRST_NODE, FIRST_CLIENT, ROUTER, BALANCER = 11, 10, 1, 2


class ServiceTopo(Topo):  # type: ignore[misc]
    """A topology with worker nodes, a router, clients outside and a cloud load balancer.

    A subclass writes `layout` with `switch`, `router`, `worker`, `client` and `balancer`; each
    takes the next free address of its network. Options: `families` (dual, ipv4, ipv6) and the
    fields of `Networks`; a network of several CIDRs is written `a+b`.
    """

    def build(self, families: str = "dual", **networks: str | tuple[str, ...]) -> None:
        """Called by Mininet with the options of the topology."""
        known = {field.name for field in fields(Networks)}
        if unknown := sorted(networks.keys() - known):
            choice = ", ".join(["families", *sorted(known)])
            raise UsageError(f"topology option {unknown[0]!r} is unknown; there are: {choice}")
        split = {
            name: tuple(cidrs.split("+")) if isinstance(cidrs, str) else cidrs
            for name, cidrs in networks.items()
        }
        self.networks = replace(Networks(), **split).of_families(families)
        self._counts: dict[str, int] = {}
        self._router: str | None = None
        self.layout()

    def layout(self) -> None:
        """Put the machines in place; subclasses say how."""
        raise NotImplementedError

    def switch(self, name: str) -> str:
        """An Ethernet switch."""
        return str(self.addSwitch(name, role="switch"))

    def router(self, name: str, *, nodes: str, clients: str) -> str:
        """The router between switch `nodes` (the node network) and switch `clients` (outside)."""
        self._machine(name, "router")
        self._router = name
        self._cable(name, nodes, host_addresses(self.networks.nodes, ROUTER))
        self._cable(name, clients, host_addresses(self.networks.clients, ROUTER))
        return name

    def worker(self, name: str, switch: str, zone: str = "") -> str:
        """A worker node of `zone` on `switch`, with the router as its gateway."""
        addresses = self._next("node", self.networks.nodes, FIRST_NODE)
        self._machine(name, "node", zone, host_addresses(self.networks.nodes, ROUTER))
        self._cable(name, switch, addresses)
        return name

    def client(self, name: str, switch: str) -> str:
        """A client outside the cluster."""
        addresses = self._next("client", self.networks.clients, FIRST_CLIENT)
        self._machine(name, "client", "", host_addresses(self.networks.clients, ROUTER))
        self._cable(name, switch, addresses)
        return name

    def branch(self, switch: str, *cidrs: str) -> dict[str, tuple[str, ...]]:
        """A further network of clients: switch `switch`, of which the router has number 1.

        Returns how `member` is told of it. CIDRs of a family that isn't in use are left out.
        """
        versions = {ip_network(cidr).version for cidr in self.networks.clients}
        used = tuple(cidr for cidr in cidrs if ip_network(cidr).version in versions)
        if self._router is None:
            raise UsageError(f"topology {self.title}: place the router before branch {switch!r}")
        self._cable(self._router, switch, host_addresses(used, ROUTER))
        return {switch: used}

    def member(self, name: str, branch: dict[str, tuple[str, ...]]) -> str:
        """A client of a branch."""
        ((switch, cidrs),) = branch.items()
        addresses = self._next(switch, cidrs, FIRST_CLIENT)
        self._machine(name, "client", "", host_addresses(cidrs, ROUTER))
        self._cable(name, switch, addresses)
        return name

    def balancer(self, name: str) -> str:
        """The cloud's load balancer on its own cable to the router, which routes the VIPs to it."""
        if self._router is None:
            raise UsageError(f"topology {self.title}: place the router before balancer {name!r}")
        near = host_addresses(self.networks.balancer, BALANCER)
        far = host_addresses(self.networks.balancer, ROUTER)
        self._machine(name, "balancer", "", far)
        self.addLink(name, self._router, params1={"addresses": near}, params2={"addresses": far})
        self.g.node[self._router]["routes"] += tuple(
            StaticRoute(vip, _bare(via))
            for vip in self.networks.vips
            for via in near
            if (":" in vip) == (":" in via)
        )
        return name

    @property
    def title(self) -> str:
        """The topology's name: the class' in snake case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def spec(self) -> TopologySpec:
        """The topology as typed data."""
        return spec_of(self, self.title, self.networks)

    def _machine(self, name: str, role: Role, zone: str = "", gateways: Iterable[str] = ()) -> None:
        # Without an `ip`, so that Mininet doesn't invent one: cables carry the addresses.
        bare = tuple(_bare(gateway) for gateway in gateways)
        self.addHost(name, role=role, zone=zone, gateways=bare, routes=(), ip=None)

    def _cable(self, machine: str, switch: str, addresses: tuple[str, ...]) -> None:
        self.addLink(machine, switch, params1={"addresses": addresses})

    def _next(self, kind: str, cidrs: tuple[str, ...], first: int) -> tuple[str, ...]:
        number = first + self._counts.get(kind, 0)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return host_addresses(cidrs, number)


def spec_of(topo: Topo, name: str, networks: Networks) -> TopologySpec:
    """Any Mininet topology whose links carry addresses, as typed data."""
    interfaces: dict[str, dict[int, Interface]] = {}
    cables: list[Cable] = []
    for _, _, info in topo.links(withInfo=True):
        ends: list[tuple[str, str]] = []
        for here, there in ((1, 2), (2, 1)):
            machine, port = info[f"node{here}"], info[f"port{here}"]
            parameters: dict[str, Any] = info.get(f"params{here}") or {}
            found = Interface(
                interface_name(machine, port), info[f"node{there}"], parameters.get("addresses", ())
            )
            interfaces.setdefault(machine, {})[port] = found
            ends.append((machine, found.name))
        cables.append(Cable(ends[0], ends[1]))
    machines: list[Machine] = []
    for machine in topo.nodes(sort=False):
        info = topo.nodeInfo(machine)
        own = interfaces.get(machine, {})
        machines.append(
            Machine(
                machine,
                info.get("role", "switch" if topo.isSwitch(machine) else "host"),
                info.get("zone", ""),
                tuple(own[port] for port in sorted(own)),
                info.get("gateways", ()),
                info.get("routes", ()),
            )
        )
    return TopologySpec(name, networks, tuple(machines), tuple(cables))


def _bare(address: str) -> str:
    return address.split("/")[0]
