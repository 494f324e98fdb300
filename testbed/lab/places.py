"""FROM and TO words of a running lab: which namespace sends, which address is asked."""

from __future__ import annotations

import difflib
from ipaddress import ip_network

from testbed.api.objects import IPV4, EndpointSlice, Service
from testbed.cloud.balancer import ANNOTATION_DATA_PLANE
from testbed.errors import UsageError
from testbed.fabric.namespace import Namespace
from testbed.lab.core import LabCore
from testbed.oracle import targets
from testbed.oracle.balancer import BalancerKind
from testbed.oracle.expectation import Origin, Place
from testbed.oracle.prediction import Cloud
from testbed.oracle.service_targets import Target
from testbed.oracle.targets import Start
from testbed.oracle.world import Mode, Settings, World
from testbed.runtime.sandbox import namespace_name


def world_of(core: LabCore) -> World:
    """What the oracle may know: the lab's objects and settings, never its rules."""
    options = core.options
    settings = Settings(
        mode=Mode(options.proxy),
        modes={node: Mode(mode) for node, mode in options.node_proxies.items()},
        cluster_cidrs=options.cluster_cidrs,
        service_cidrs=options.service_cidrs,
        extra_addresses=_bridge_addresses(core),
        pods_masqueraded=True,
        spared=(*options.service_cidrs, *core.topology.networks.nodes),
    )
    slices = core.control.store.list("endpointslices")
    return World(
        core.services(),
        [EndpointSlice.from_document(document) for document in slices],
        core.nodes(),
        core.pods(),
        settings,
    )


def _bridge_addresses(core: LabCore) -> dict[str, tuple[str, ...]]:
    """What nodes have besides their InternalIPs: with Pod network `bridge`, the Pods' gateway."""
    if core.options.pod_network != "bridge":
        return {}
    return {
        node.name: tuple(str(ip_network(cidr)[1]) for cidr in node.pod_cidrs)
        for node in core.nodes()
    }


def clients_of(core: LabCore) -> dict[str, tuple[str, ...]]:
    """Every machine that is no node, with its addresses: FROM words of kind `client`."""
    machines = core.topology.machines
    return {m.name: m.addresses for m in machines if m.role not in ("node", "switch")}


def start_of(core: LabCore, word: str, world: World, origin: Namespace) -> Start:
    """Where packets from `origin`, which `word` means, start in the oracle's eyes."""
    clients = clients_of(core)
    if origin.name in clients:
        return Start(word, Origin(Place.OUTSIDE), clients[origin.name])
    if origin.name in world.nodes:
        return Start(
            f"node/{origin.name}", Origin(Place.NODE, origin.name), world.addresses[origin.name]
        )
    pod = next(
        (
            pod
            for pod in world.pods.values()
            if namespace_name((pod.key.namespace, pod.key.name)) == origin.name
        ),
        None,
    )
    if pod is None:
        raise UsageError(f"{word}: nothing is known about what it should reach; use `probe`")
    return Start(f"pod/{pod.key.name}", Origin(Place.POD, pod.node_name), pod.ips)


def cloud_of(core: LabCore, service: Service | None) -> Cloud:
    """The data plane in front of `service`, as the oracle needs to know it."""
    chosen = core.options.cloud
    if service is not None:
        chosen = service.annotations.get(ANNOTATION_DATA_PLANE, chosen)
    kind = {"nat": BalancerKind.NAT, "nat-masquerade": BalancerKind.NAT}.get(chosen)
    if kind is None and chosen in ("dsr", "proxy"):
        kind = BalancerKind(chosen)
    balancers = core.topology.with_role("balancer")
    family = 6 if service and service.ip_families[:1] == ("IPv6",) else 4
    address = balancers[0].address(family) if balancers else ""
    return Cloud(kind, address, keep_source=chosen == "nat")


def origin_of(core: LabCore, word: str, world: World) -> Namespace:
    """The namespace that `pod/web-0`, `node/w1`, `client` or a namespace's own name sends from.

    Raises UsageError for an unknown name (with near ones) or a Pod that doesn't run.
    """
    names = {namespace.name for namespace in core.fabric.namespaces()}
    if word in names:
        return core.fabric.namespace(word)
    parsed = targets.parse(word)
    if parsed.kind == "client" and parsed.name in names:
        return core.fabric.namespace(parsed.name)
    if parsed.kind == "node":
        return core.fabric.namespace(targets.find_node(world, parsed).name)
    if parsed.kind == "address":
        return _owner_of(core, world, parsed.name)
    if not parsed.kind and parsed.name not in {key.name for key in world.pods}:
        raise _unknown(word, sorted(names))
    pod = targets.find_pod(world, parsed)
    name = pod.node_name if pod.host_network else namespace_name((pod.key.namespace, pod.key.name))
    return core.fabric.namespace(name)


def _unknown(word: str, names: list[str]) -> UsageError:
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    return UsageError(f"nothing in the lab is called {word!r}; {hint}")


def _owner_of(core: LabCore, world: World, address: str) -> Namespace:
    if pod := world.pod_at.get(address):
        return core.fabric.namespace(namespace_name((pod.key.namespace, pod.key.name)))
    if node := world.node_at.get(address):
        return core.fabric.namespace(node)
    raise UsageError(f"{address}: neither a Pod nor a node has this address")


def target_of(
    world: World, word: str, *, port: str = "", protocol: str = "", outside: bool, family: str = ""
) -> Target:
    """The address, port and protocol that a TO word means; the first where there are several.

    `family` (IPv4 or IPv6) chooses among them. Raises UsageError as resolve_targets does.
    """
    found = targets.resolve_targets(
        world, targets.parse(word), port=port, protocol=protocol, outside=outside
    )
    fitting = [each for each in found if family in ("", each.family)]
    if not fitting:
        raise UsageError(f"{word} has no {family} address; it has {', '.join(map(str, found))}")
    fitting.sort(key=lambda each: each.family != IPV4)
    return fitting[0]
