"""A lab from a dump: the topology and the settings that the objects of a real cluster imply. Pure.

The twin has the recorded nodes, Pods and Services at their recorded addresses, and a router with a
client outside. A Service's external addresses are routed to one node that takes traffic for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from testbed.api.documents import Document
from testbed.api.objects import IPV4, IPV6, Node, Pod, family_of
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
from testbed.fabric.specs import Plan, Route
from testbed.oracle.balancer import balancer_nodes
from testbed.oracle.dump import world_from
from testbed.oracle.world import Settings, World

#: Kinds that a twin is made of, and where they are stored.
STORED = {
    "Namespace": "namespaces",
    "Node": "nodes",
    "Service": "services",
    "EndpointSlice": "endpointslices",
    "Pod": "pods",
}
#: Kinds that say something about settings, or nothing about traffic: no word about them.
_SILENT = {"ServiceCIDR", "IPAddress", "Endpoints", "ConfigMap", "Secret", "Event", "Lease"}
#: A network of nodes is at least this long a prefix, and if it can be, no longer than this.
_SHORTEST = {4: 8, 6: 32}
_USUAL = {4: 24, 6: 64}
_SERVICES = {4: 16, 6: 112}
_MACHINES = ("router", "client", "cluster", "outside")


@dataclass(frozen=True)
class Twin:
    """What to build: `documents` by resource, in the store's words; `omitted` says what isn't.

    `pods` are those that get a namespace (or a node's), `routes` where they are found from other
    nodes; `ports` are what each Pod listens on, by its key.
    """

    topology: TopologySpec
    options: dict[str, Any]
    documents: dict[str, list[Document]]
    pods: tuple[Pod, ...]
    ports: dict[tuple[str, str], frozenset[tuple[str, int]]]
    omitted: tuple[str, ...] = ()
    extra: Plan = field(default_factory=Plan)

    def spec(self) -> TopologySpec:
        """The topology, as a Topo gives it."""
        return self.topology


def read_twin(documents: Iterable[Document]) -> Twin:
    """What the objects of a dump imply. Raises UsageError where no network can be made of them."""
    found: dict[str, list[Document]] = {resource: [] for resource in STORED.values()}
    omitted: list[str] = []
    everything = [copy.deepcopy(document) for document in documents]
    others: dict[str, int] = {}
    for document in everything:
        kind = document["kind"]
        if kind in STORED:
            found[STORED[kind]].append(_adopted(document))
        elif kind not in _SILENT:
            others[kind] = others.get(kind, 0) + 1
    omitted += [f"{number} {kind}: not part of a twin" for kind, number in others.items()]
    world = world_from(everything, Settings())
    if not world.nodes:
        raise UsageError("no Node in the objects: dump with kubectl get svc,endpointslices,nodes,…")
    if taken := sorted(set(_MACHINES) & set(world.nodes)):
        raise UsageError(f"node {taken[0]!r}: a machine of every lab is called so")
    topology = _topology(world, omitted)
    pods = tuple(_runnable(world, omitted))
    omitted += _homeless_endpoints(world, pods)
    return Twin(
        topology=topology,
        options={
            "cluster_cidrs": _cluster_cidrs(world),
            "service_cidrs": _service_cidrs(world),
            "cloud": "none",
        },
        documents=found,
        pods=pods,
        ports=_listened(world, pods),
        omitted=tuple(omitted),
        extra=_pod_routes(world, pods),
    )


def _adopted(document: Document) -> Document:
    """Without owners, which the twin doesn't have, so that nobody collects it."""
    document["metadata"].pop("ownerReferences", None)
    document["metadata"].pop("resourceVersion", None)
    return document


# -- the network


def _topology(world: World, omitted: list[str]) -> TopologySpec:
    groups = _node_networks(world)
    used = {a for addresses in world.addresses.values() for a in addresses}
    used |= {e.ip for s in world.served.values() for p in s for e in p.endpoints}
    gateways = tuple(_free(network, used) for network in groups)
    networks = Networks(nodes=tuple(map(str, groups)))
    reached = tuple(_external(world, omitted))

    def inside(name: str, addresses: Iterable[str]) -> Interface:
        sized = tuple(f"{a}/{_holding(groups, a).prefixlen}" for a in addresses)
        return Interface(interface_name(name, 0), "cluster", sized)

    nodes = [
        Machine(
            name, "node", node.zone, (inside(name, world.addresses[name]),), _by_family(gateways)
        )
        for name, node in world.nodes.items()
    ]
    outward = Interface(interface_name("router", 1), "outside", host_addresses(networks.clients, 1))
    router = Machine("router", "router", "", (inside("router", gateways), outward), (), reached)
    client = _client(networks, reached)
    machines, cables = [*nodes, router, client], []
    for switch in ("cluster", "outside"):
        ends = [(m.name, i.name) for m in machines for i in m.interfaces if i.peer == switch]
        ports = tuple(Interface(interface_name(switch, n), m) for n, (m, _) in enumerate(ends, 1))
        machines.append(Machine(switch, _SWITCH, "", ports))
        cables += [Cable(end, (switch, p.name)) for end, p in zip(ends, ports, strict=True)]
    return TopologySpec("twin", networks, tuple(machines), tuple(cables))


def _client(networks: Networks, reached: Sequence[StaticRoute]) -> Machine:
    """The client outside; Service addresses of its own network lie behind the router too."""
    gates = tuple(a.split("/")[0] for a in host_addresses(networks.clients, 1))
    near = [StaticRoute(r.destination, g) for r in reached for g in gates if _same(r, g)]
    routes = tuple(r for r in near if _in(networks.clients, r.destination))
    device = Interface(interface_name("client", 0), "outside", host_addresses(networks.clients, 10))
    return Machine("client", "client", "", (device,), gates, routes)


_SWITCH: Role = "switch"


def _same(route: StaticRoute, gateway: str) -> bool:
    return (":" in route.destination) == (":" in gateway)


def _in(cidrs: Sequence[str], destination: str) -> bool:
    address = ip_address(destination.split("/")[0])
    return any(address in ip_network(cidr) for cidr in cidrs)


def _node_networks(world: World) -> list[IPv4Network | IPv6Network]:
    """One network a family for the nodes' primary addresses, more for what lies outside of it."""
    found: list[IPv4Network | IPv6Network] = []
    for family, version in ((IPV4, 4), (IPV6, 6)):
        primary = [a for node in world.nodes if (a := world.primary(node, family))]
        if not primary:
            continue
        network = common_network(primary, _USUAL[version])
        if network.prefixlen < _SHORTEST[version]:
            raise UsageError(
                f"the nodes' {family} addresses share no network: {', '.join(primary)}"
            )
        found.append(network)
    for addresses in world.addresses.values():
        for address in addresses:
            if not any(ip_address(address) in network for network in found):
                found.append(common_network([address], _USUAL[6 if ":" in address else 4]))
    if not found:
        raise UsageError("no Node has an InternalIP")
    return found


def common_network(addresses: Sequence[str], longest: int) -> IPv4Network | IPv6Network:
    """The smallest network with all `addresses` (or CIDRs) of one family, of prefix ≤ `longest`."""
    networks = [ip_network(a) for a in addresses]
    first = min(int(n.network_address) for n in networks)
    last = max(int(n.broadcast_address) for n in networks)
    bits = networks[0].max_prefixlen
    length = min(bits - (first ^ last).bit_length(), longest)
    start = first >> (bits - length) << (bits - length)
    kind = IPv4Network if bits == 32 else IPv6Network
    return kind((start, length))


def _holding(
    groups: Sequence[IPv4Network | IPv6Network], address: str
) -> IPv4Network | IPv6Network:
    return next(network for network in groups if ip_address(address) in network)


def _free(network: IPv4Network | IPv6Network, used: set[str]) -> str:
    """The first address of a network that nobody has."""
    number = 1
    while str(network[number]) in used:
        number += 1
    return str(network[number])


def _by_family(addresses: Iterable[str]) -> tuple[str, ...]:
    """The first address of each family."""
    found: dict[bool, str] = {}
    for address in addresses:
        found.setdefault(":" in address, address)
    return tuple(found.values())


def _external(world: World, omitted: list[str]) -> list[StaticRoute]:
    """Where the router sends the Services' external addresses: to a node that takes traffic."""
    routes: dict[str, StaticRoute] = {}
    for place, front_end in world.front_ends.items():
        address = place[0]
        if address in world.cluster_ips or address in world.node_at:
            continue
        takers = [n.name for n in balancer_nodes(world, front_end.served.service) if n.healthy]
        vias = [v for n in [*takers, *world.nodes] if (v := world.primary(n, family_of(address)))]
        if vias and address not in routes:
            routes[address] = StaticRoute(_host(address), vias[0])
            omitted.append(
                f"what brings {address} to the nodes: here the router sends it to "
                f"{world.node_at[vias[0]]}"
            )
    omitted += [
        f"{address} of {service.key}: ipMode Proxy, and the objects don't hold the proxy"
        for address, service in world.proxy_ips.items()
    ]
    omitted += [
        f"{address}, ExternalIP of {node}: the cloud's translation isn't in the objects"
        for address, node in world.cloud_addresses.items()
    ]
    return list(routes.values())


def _host(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


# -- ranges


def _cluster_cidrs(world: World) -> tuple[str, ...]:
    """A range per family around the nodes' Pod CIDRs, or around the Pods where there are none."""
    nodes, pods = list(world.nodes.values()), list(world.pod_at)
    found = []
    for version, longest in _SERVICES.items():
        own = [c for n in nodes for c in n.pod_cidrs if ip_network(c).version == version]
        own = own or [ip for ip in pods if ip_address(ip).version == version]
        if own:
            network = common_network(own, longest)
            wide = any(ip_address(a) in network for a in world.node_at)
            found.append(str(common_network(own, 128) if wide else network))
    return tuple(found)


def _service_cidrs(world: World) -> tuple[str, ...]:
    if world.settings.service_cidrs:
        return world.settings.service_cidrs
    found = []
    everything = [*world.cluster_ips, *world.foreign_ips]
    others = {*world.node_at, *world.pod_at}
    for version, longest in _SERVICES.items():
        own = [ip for ip in everything if ip_address(ip).version == version]
        if own:
            network = common_network(own, longest)
            wide = any(ip_address(a) in network for a in others)
            found.append(str(common_network(own, 128) if wide else network))
    return tuple(found) or ("10.96.0.0/16",)


# -- Pods


def _runnable(world: World, omitted: list[str]) -> Iterable[Pod]:
    for pod in world.pods.values():
        place = f"pod {pod.key}"
        if pod.phase in ("Succeeded", "Failed"):
            omitted.append(f"{place}: it has ended ({pod.phase})")
        elif pod.node_name not in world.nodes:
            omitted.append(f"{place}: its node {pod.node_name or '(none)'} isn't in the objects")
        elif not pod.host_network and not pod.ips:
            omitted.append(f"{place}: it has no address ({pod.phase})")
        else:
            yield pod


def _listened(
    world: World, pods: Sequence[Pod]
) -> dict[tuple[str, str], frozenset[tuple[str, int]]]:
    """containerPorts, and the ports of the slices that list the Pod's addresses."""
    by_address: dict[str, set[tuple[str, int]]] = {}
    for piece in world.slices:
        for port in piece.ports:
            for endpoint in piece.endpoints:
                for address in endpoint.addresses if port.port else ():
                    by_address.setdefault(address, set()).add((port.protocol, port.port or 0))
    found = {}
    for pod in pods:
        ports = {(p.protocol, p.port) for p in pod.ports}
        if not pod.host_network:
            ports = ports.union(*(by_address.get(ip, set()) for ip in pod.ips))
        elif not ports:
            ports = ports.union(*(by_address.get(ip, set()) for ip in (*pod.ips, *pod.host_ips)))
        found[pod.key.namespace, pod.key.name] = frozenset(ports)
    return found


def _homeless_endpoints(world: World, pods: Sequence[Pod]) -> list[str]:
    known = {ip for pod in pods for ip in (*pod.ips, *(pod.host_ips if pod.host_network else ()))}
    lines = []
    for piece in world.slices:
        for endpoint in piece.endpoints:
            for address in endpoint.addresses[:1]:
                if address not in known:
                    lines.append(f"endpoint {address} of {piece.service}: no Pod has this address")
    return list(dict.fromkeys(lines))


def _pod_routes(world: World, pods: Sequence[Pod]) -> Plan:
    """Ways to Pods whose addresses aren't in their node's Pod CIDRs."""
    routes = []
    for pod in pods:
        if pod.host_network:
            continue
        home: Node = world.nodes[pod.node_name]
        for ip in pod.ips:
            via = world.primary(home.name, family_of(ip))
            if via and not _in(home.pod_cidrs, ip):
                others = [n for n in world.nodes if n != home.name]
                routes += [Route(n, _host(ip), via=via) for n in others]
    return Plan(routes=tuple(routes))
