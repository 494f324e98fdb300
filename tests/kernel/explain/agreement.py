"""Recorded and random worlds brought up as twins, and every flow between them sent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence

from testbed.api.documents import Document
from testbed.cluster import Cluster
from testbed.errors import UsageError
from testbed.lab.places import world_of
from testbed.lab.volley import Shot, aim, disagreement, every_target, fire, inside
from testbed.oracle.expectation import Origin, Place
from testbed.oracle.service_targets import Target
from testbed.oracle.targets import Start
from testbed.oracle.world import World

_NUMBERS = itertools.count()


def with_visitors(documents: Sequence[Document]) -> list[Document]:
    """The objects, and a Pod on every node, so that there is one to send from."""
    made = list(documents)
    for document in documents:
        if document["kind"] == "Node":
            name = document["metadata"]["name"]
            cidrs = document["spec"].get("podCIDRs") or []
            made.append(visitor(name, [cidr.split("/")[0] for cidr in cidrs]))
    return made


def visitor(node: str, networks: Sequence[str]) -> Document:
    """A Pod on `node` with host number 250 of each network."""
    ips = [f"{n}250" if n.endswith("::") else f"{n.rpartition('.')[0]}.250" for n in networks]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"a-visitor-{node}", "namespace": "default"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "echo"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip} for ip in ips], "podIP": ips[0]},
    }


def open_lab(documents: Sequence[Document], mode: str) -> Cluster:
    """The twin, with its nodes' ICMP errors unlimited."""
    name = f"agree-{os.getpid()}-{next(_NUMBERS)}"
    lab = Cluster(from_objects=documents, name=name, proxy=mode)
    for node in lab.node_names():
        for key in ("net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"):
            lab.fabric.namespace(node).sysctl(key, "0")
        lab.fabric.namespace(node).sysctl("net.ipv4.icmp_msgs_per_sec", "100000")
        lab.fabric.namespace(node).sysctl("net.ipv4.icmp_msgs_burst", "100000")
    return lab


def disagreements(lab: Cluster) -> tuple[int, list[str]]:
    """(flows sent, what disagrees, with the path of the first)."""
    world = lab.in_loop(lambda: world_of(lab.core))
    targets = every_target(world)
    found = volley(lab, aim(world, inside(world), targets), world)
    sent = found[0]
    lines = found[1]
    client = next(m for m in lab.topology.machines if m.name == "client")
    external = [t for t in targets if t.address not in world.node_at]
    external = [t for t in external if t.address not in (*world.cluster_ips, *world.foreign_ips)]
    near = [t for t in targets if t.address in world.node_at]
    for node in world.nodes:
        lead_to(lab, node, external, world)
        start = Start("client", Origin(Place.OUTSIDE, node), client.addresses)
        mine = [t for t in near if world.node_at[t.address] == node]
        number, more = volley(lab, aim(world, [("client", start)], [*external, *mine]), world)
        sent, lines = sent + number, lines + more
    return sent, lines


def lead_to(lab: Cluster, node: str, targets: Iterable[Target], world: World) -> None:
    """Have the router send external addresses to `node`."""
    router = lab.fabric.namespace("router")
    for family, flag in (("IPv4", "-4"), ("IPv6", "-6")):
        via = world.primary(node, family)
        addresses = {t.address for t in targets if t.family == family}
        lines = [f"route replace {address} via {via}" for address in addresses if via]
        if lines:
            router.run(["ip", flag, "-batch", "-"], input="\n".join(lines) + "\n")


def volley(lab: Cluster, shots: list[Shot], world: World) -> tuple[int, list[str]]:
    """Fire; (how many, what disagrees with the path of the first)."""
    lines = []
    for shot, seen in zip(shots, fire(lab, shots), strict=True):
        if why := disagreement(shot, seen, world):
            lines.append(f"{shot} ({shot.target.what}): {why}; promised: {shot.expectation.reason}")
            if len(lines) == 1:
                lines.append(explained(lab, shot))
    return len(shots), lines


def explained(lab: Cluster, shot: Shot) -> str:
    """The flow once more, with its path and the first hop that differs."""
    target = str(shot.target)
    try:
        found = lab.explain(shot.origin, target, protocol=shot.flow.protocol, timeout=0.3)
    except UsageError as error:
        return str(error)
    return found.render()
