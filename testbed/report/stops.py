"""What a reader is shown of a Path: its stops in order and their places, switches folded in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.flow.paths import BRIDGED, DELIVERED, Hop, Path

FORWARD, REPLY = "forward", "reply"

#: Tables and chains that only a node has.
_NODE_TABLES = ("kube-proxy",)
_NODE_CHAINS = "KUBE-"


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace and what it is: client, router, balancer, node, pod or host.

    `on` is a Pod's node, "" where it isn't known.
    """

    name: str
    role: str
    on: str = ""

    @property
    def title(self) -> str:
        """The name for people: `Pod web-0` (`Pod shop/web-0` outside namespace default)."""
        if self.role != "pod":
            return self.name
        return f"Pod {self.short}"

    @property
    def short(self) -> str:
        """The title without the word Pod."""
        namespace, dot, pod = self.name.partition(".")
        if self.role != "pod" or not dot:
            return self.name
        return pod if namespace == "default" else f"{namespace}/{pod}"


@dataclass(frozen=True, slots=True)
class Stop:
    """One numbered hop. `switches` are those that carried the packet on to the next stop."""

    number: int
    hop: Hop
    direction: str
    place: Place
    switches: tuple[Hop, ...] = ()


def stops(path: Path, known: Iterable[Place] = ()) -> list[Stop]:
    """The hops of both directions, numbered through; `known` places replace what is guessed."""
    where = {place.name: place for place in places(path, known)}
    found: list[Stop] = []
    for direction, hops in ((FORWARD, path.hops), (REPLY, path.reply)):
        here: list[tuple[Hop, list[Hop]]] = []
        for place, hop in enumerate(hops):
            if here and is_switch(path, hops, place):
                here[-1][1].append(hop)
            else:
                here.append((hop, []))
        for hop, switches in here:
            number = len(found) + 1
            found.append(Stop(number, hop, direction, where[hop.namespace], tuple(switches)))
    return found


def is_switch(path: Path, hops: Sequence[Hop], place: int) -> bool:
    """True for a hop that only carried the packet from port to port, away from any Pod.

    A switch that ended the packet's way is a stop of its own.
    """
    hop = hops[place]
    if hop.route is None or hop.route.kind != BRIDGED or hop.nat or hop.rules:
        return False
    ended = path.verdict.kind != DELIVERED and path.verdict.where == hop.namespace
    beside = [*hops[max(place - 1, 0) : place], *hops[place + 1 : place + 2]]
    inside = bool(hop.interface_in and hop.interface_out) and len(beside) == 2
    return inside and not ended and not any(_is_pod(each.namespace) for each in beside)


def places(path: Path, known: Iterable[Place] = ()) -> list[Place]:
    """The places of the path's stops, each once, in the order in which a packet came to them."""
    given = {place.name: place for place in known}
    names: dict[str, None] = {}
    for hops in (path.hops, path.reply):
        for number, hop in enumerate(hops):
            if not is_switch(path, hops, number):
                names.setdefault(hop.namespace)
    nodes = _nodes(path)
    return [given.get(name) or _guess(path, name, nodes) for name in names]


def _is_pod(name: str) -> bool:
    return "." in name


def _nodes(path: Path) -> dict[str, str]:
    """The node of every Pod of the path: its neighbour, which is no switch."""
    found: dict[str, str] = {}
    for hops in (path.hops, path.reply):
        for one, other in itertools.pairwise(hops):
            for pod, node in ((one, other), (other, one)):
                if _is_pod(pod.namespace) and not _is_pod(node.namespace):
                    found.setdefault(pod.namespace, node.namespace)
    return found


def _guess(path: Path, name: str, nodes: dict[str, str]) -> Place:
    if _is_pod(name):
        return Place(name, "pod", nodes.get(name, ""))
    here = [hop for hop in (*path.hops, *path.reply) if hop.namespace == name]
    rules = [hit for hop in here for hit in hop.rules]
    if name in nodes.values() or any(
        hit.table in _NODE_TABLES or hit.chain.startswith(_NODE_CHAINS) for hit in rules
    ):
        return Place(name, "node")
    translates = any(nat.kind == "DNAT" for hop in here for nat in hop.nat)
    if name == "lb" or translates:
        return Place(name, "balancer")
    return Place(name, "client" if name == path.origin else "router")


def is_cut(path: Path, direction: str) -> bool:
    """True where the packet of `direction` didn't come through."""
    if path.verdict.kind == DELIVERED:
        return False
    return path.verdict.direction == direction and not (direction == FORWARD and path.reply)
