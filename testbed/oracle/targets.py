"""The words for FROM and TO (`pod/web-0`, `client`, `svc/web:http`, `1.2.3.4:80`), resolved.

Two steps: `parse` reads a word without knowing any object; `resolve_start` and `resolve_targets`
look it up in a World. Shared by every verb that takes a FROM or a TO.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from testbed.api.objects import NamespacedName, Node, Pod, Service, family_of
from testbed.errors import UsageError
from testbed.flow.tuples import Flow
from testbed.oracle.addresses import canonical, is_loopback
from testbed.oracle.expectation import FrontEndKind, Origin, Place
from testbed.oracle.service_targets import Target, service_targets
from testbed.oracle.world import World

_KINDS = {
    "pod": "pod",
    "pods": "pod",
    "po": "pod",
    "node": "node",
    "nodes": "node",
    "no": "node",
    "svc": "svc",
    "service": "svc",
    "services": "svc",
    "client": "client",
    "clients": "client",
}
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+", re.I)
_BRACKETED = re.compile(r"\[([^]]+)\](?::(.+))?")
#: What a client outside is called and has as addresses where nobody says otherwise.
DEFAULT_CLIENTS: Mapping[str, tuple[str, ...]] = {"client": ("203.0.113.2", "2001:db8:113::2")}


@dataclass(frozen=True, slots=True)
class Word:
    """A FROM or TO as written.

    `kind` is pod, node, svc, client, address, dns (some other name), or "" for a bare name.
    `port` is a number, a port's name, or "". `namespace` is "" where the word has none.
    """

    text: str
    kind: str
    name: str
    namespace: str = ""
    port: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Where packets start: what to call it, its Origin, and its addresses (one a family)."""

    label: str
    origin: Origin
    addresses: tuple[str, ...]

    def address(self, family: str) -> str:
        """The address of `family`; "" if it has none."""
        return next((a for a in self.addresses if family_of(a) == family), "")


def parse(word: str) -> Word:
    """Read a FROM or TO word; raises UsageError for one that can't be one.

    `pod/NAME`, `pod/NAMESPACE/NAME`, `node/NAME`, `svc/NAME`, `svc/NAMESPACE/NAME`,
    `NAME.NAMESPACE` (a Service, with or without .svc.cluster.local), `client`, `client/NAME`,
    `localhost`, an address; where it makes sense followed by `:PORT` (number or name; with IPv6
    `[ADDRESS]:PORT`).
    """
    if match := _BRACKETED.fullmatch(word):
        return _address(word, match[1], match[2] or "")
    if canonical(word):
        return _address(word, word, "")
    head, _, port = word.partition(":")
    if canonical(head):
        return _address(word, head, port)
    if head == "localhost":
        return Word(word, "address", "127.0.0.1", port=port)
    kind, slash, rest = head.partition("/")
    if not slash:
        if head == "client":
            return Word(word, "client", "client", port=port)
        return _named(word, "", head, port)
    if kind not in _KINDS:
        raise UsageError(
            f"{word!r}: {kind!r} is none of pod, node, svc, client (or write an address, or a name)"
        )
    return _named(word, _KINDS[kind], rest, port)


def _address(word: str, address: str, port: str) -> Word:
    if not (spelled := canonical(address)):
        raise UsageError(f"{word!r}: {address!r} isn't an IP address")
    return Word(word, "address", spelled, port=port)


def _named(word: str, kind: str, rest: str, port: str) -> Word:
    namespace, slash, name = rest.rpartition("/")
    if not name or "/" in namespace or (slash and not namespace):
        raise UsageError(f"{word!r}: write pod/NAME, svc/NAME or svc/NAMESPACE/NAME")
    if kind in ("svc", "") and "." in name and not namespace:
        name, _, tail = name.partition(".")
        namespace, _, tail = tail.partition(".")
        in_cluster = name and namespace and (not tail or tail.split(".")[0] == "svc")
        if not in_cluster and (kind or not _DNS_NAME.fullmatch(rest)):
            raise UsageError(f"{word!r}: a Service's name is NAME.NAMESPACE or …svc.cluster.local")
        if not in_cluster:
            return Word(word, "dns", rest, port=port)
        kind = "svc"
    return Word(word, kind, name, namespace, port)


def resolve_start(
    world: World,
    word: Word,
    *,
    namespace: str = "default",
    entry: str = "",
    clients: Mapping[str, tuple[str, ...]] = DEFAULT_CLIENTS,
) -> Start:
    """Where a packet from `word` starts; from outside it enters node `entry` first.

    Raises UsageError for an unknown object, a Pod that has no address to send from, a Service.
    """
    if entry and entry not in world.nodes:
        raise _unknown("node", entry, world.nodes)
    kind = word.kind or ("client" if word.name in clients else "")
    match kind or _kind_of(world, word, namespace, ("pod", "node")):
        case "pod":
            return _pod_start(find_pod(world, word, namespace))
        case "node":
            return _node_start(world, find_node(world, word).name)
        case "client":
            if word.name not in clients:
                raise _unknown("client", word.name, clients)
            return Start(word.text, Origin(Place.OUTSIDE, entry), clients[word.name])
        case "address":
            return _address_start(world, word.name, entry)
    raise UsageError(f"{word.text!r}: packets start at a Pod, a node, a client or an address")


def flow_to(world: World, start: Start, target: Target) -> Flow:
    """The flow from `start` to `target`, from the address that the origin's kernel would take.

    Raises UsageError if `start` has no address of the target's family.
    """
    src = start.address(target.family)
    if start.origin.place is Place.NODE and (
        is_loopback(target.address) or target.address in world.addresses.get(start.origin.node, ())
    ):
        src = target.address
    if not src:
        raise UsageError(
            f"{start.label} has no {target.family} address; {target} is {target.family}"
        )
    return Flow(target.protocol.lower(), src, 0, target.address, target.port)


def _pod_start(pod: Pod) -> Start:
    label = f"pod/{pod.key.name}" if pod.key.namespace == "default" else f"pod/{pod.key}"
    place = Place.NODE if pod.host_network else Place.POD
    addresses = tuple(map(canonical, pod.ips or pod.host_ips if pod.host_network else pod.ips))
    return Start(label, Origin(place, pod.node_name), addresses)


def _node_start(world: World, node: str) -> Start:
    return Start(f"node/{node}", Origin(Place.NODE, node), world.addresses[node])


def _address_start(world: World, address: str, entry: str) -> Start:
    if is_loopback(address):
        if not entry:
            raise UsageError(f"{address}: say on which node, or write node/NAME")
        return Start(f"localhost on {entry}", Origin(Place.NODE, entry), (address,))
    if pod := world.pod_at.get(address):
        return Start(_pod_start(pod).label, Origin(Place.POD, pod.node_name), (address,))
    if node := world.node_at.get(address):
        return Start(f"node/{node}", Origin(Place.NODE, node), (address,))
    return Start(address, Origin(Place.OUTSIDE, entry), (address,))


def resolve_targets(
    world: World,
    word: Word,
    *,
    port: str = "",
    protocol: str = "",
    namespace: str = "default",
    outside: bool = False,
) -> list[Target]:
    """The addresses that `word` stands for, each with a port and a protocol.

    A Service is its ClusterIPs; for a client `outside` it is its load balancer's addresses, its
    externalIPs and its NodePort on every node. `port` (number or name) and `protocol` narrow it.
    Raises UsageError for an unknown object, no or an ambiguous port, a Pod without an address.
    """
    if port and word.port and port != word.port:
        raise UsageError(f"{word.text!r} says port {word.port}, --port says {port}")
    port, protocol = port or word.port, protocol.upper()
    kind = word.kind or _kind_of(world, word, namespace, ("svc", "pod", "node"))
    if kind == "svc":
        service = find_service(world, word, namespace)
        return service_targets(world, service, port, protocol, outside)
    match kind:
        case "pod":
            pod = find_pod(world, word, namespace)
            addresses, what = tuple(map(canonical, pod.ips)), f"pod/{pod.key.name}"
            port = _container_port(pod, port, protocol or "TCP")
        case "node":
            node = find_node(world, word)
            addresses, what = world.addresses[node.name], f"node/{node.name}"
        case "address":
            addresses, what = (word.name,), "address"
        case "dns":
            raise UsageError(f"{word.text!r}: no Service's name; resolve it and write the address")
        case _:
            raise UsageError(
                f"{word.text!r}: a packet goes to a Service, a Pod, a node, an address"
            )
    number = 0 if protocol == "ICMP" else _number(word, port)
    protocol = protocol or "TCP"
    return [
        Target(_front_end(world, a, protocol, number) or what, "", a, number, protocol)
        for a in addresses
    ]


def _front_end(world: World, address: str, protocol: str, port: int) -> str:
    """What kind of Service address this is, in words; "" if it is none."""
    protocol = protocol.lower()
    if found := world.front_ends.get((address, protocol, port)):
        return str(found.kind)
    if (family_of(address), protocol, port) in world.node_ports and (
        address in world.node_at or is_loopback(address)
    ):
        return str(FrontEndKind.NODE_PORT)
    return str(FrontEndKind.LOAD_BALANCER) if address in world.proxy_ips else ""


def _container_port(pod: Pod, port: str, protocol: str) -> str:
    """The number of the Pod's port called `port`; of its only port if none is said."""
    ports = {str(p.port) for p in pod.ports if p.protocol == protocol and port in ("", p.name)}
    return ports.pop() if len(ports) == 1 else port


def _number(word: Word, port: str) -> int:
    if not port:
        raise UsageError(f"{word.text}: to which port? Write {word.text}:PORT or --port")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{word.text}: {port!r} isn't a port number (1 to 65535)")
    return int(port)


# -- objects by name


def find_service(world: World, word: Word, namespace: str = "default") -> Service:
    key = NamespacedName(word.namespace or namespace, word.name)
    if key in world.services:
        return world.services[key]
    raise _unknown_in(key, "svc", world.services)


def find_pod(world: World, word: Word, namespace: str = "default") -> Pod:
    """The Pod that `word` names; raises UsageError if there is none or it has no address."""
    key = NamespacedName(word.namespace or namespace, word.name)
    pod = world.pods.get(key)
    if pod is None:
        raise _unknown_in(key, "pod", world.pods)
    if pod.phase != "Running" or not pod.ips or not pod.node_name:
        state = pod.phase if pod.phase != "Running" else "Running without an address"
        raise UsageError(f"pod/{key.name} in {key.namespace} isn't running (it is {state})")
    return pod


def find_node(world: World, word: Word) -> Node:
    if word.name in world.nodes:
        return world.nodes[word.name]
    raise _unknown("node", word.name, world.nodes)


def _kind_of(world: World, word: Word, namespace: str, kinds: Iterable[str]) -> str:
    """The kind of the object that a bare name means; the first of `kinds` that has it."""
    key = NamespacedName(word.namespace or namespace, word.name)
    known = {
        "svc": key in world.services,
        "pod": key in world.pods,
        "node": word.name in world.nodes,
    }
    for kind in kinds:
        if known[kind]:
            return kind
    labels = {
        "svc": {k.name: f"svc/{_short(k, key.namespace)}" for k in world.services},
        "pod": {k.name: f"pod/{_short(k, key.namespace)}" for k in world.pods},
        "node": {name: f"node/{name}" for name in world.nodes},
    }
    names = {name: label for kind in kinds for name, label in labels[kind].items()}
    near = [names[n] for n in difflib.get_close_matches(word.name, names, n=3, cutoff=0.5)]
    listed = f"did you mean {_listed(near)}?" if near else f"known are {_few(names.values())}"
    raise UsageError(f"nothing is called {word.name!r}; {listed}")


def _unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    listed = f"did you mean {_listed(near)}?" if near else f"known are {_few(names)}"
    return UsageError(f"no {kind} {name!r}; {listed}")


def _unknown_in(key: NamespacedName, kind: str, known: Collection[NamespacedName]) -> UsageError:
    """The nearest names, first those of other namespaces under the same name."""
    keys = {k.name: k for k in known} | {k.name: k for k in known if k.namespace == key.namespace}
    near = [str(k) for k in sorted(known) if k.name == key.name] or [
        _short(keys[n], key.namespace)
        for n in difflib.get_close_matches(key.name, keys, n=3, cutoff=0.5)
    ]
    listed = f"known are {_few(f'{kind}/{_short(k, key.namespace)}' for k in known)}"
    if near:
        listed = f"did you mean {_listed([f'{kind}/{n}' for n in near])}?"
    noun = {"svc": "Service", "pod": "Pod"}[kind]
    return UsageError(f"no {noun} {key.name!r} in namespace {key.namespace}; {listed}")


def _short(key: NamespacedName, namespace: str) -> str:
    return key.name if key.namespace == namespace else str(key)


def _few(names: Iterable[str]) -> str:
    """Up to five names, or that there are none."""
    found = sorted(names)
    return ", ".join(found[:5]) + (", …" if len(found) > 5 else "") if found else "none at all"


def _listed(names: list[str]) -> str:
    shown = names[:3]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
