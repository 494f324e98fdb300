"""Names in a running lab: what a machine's resolver is set to, and TO words that are DNS names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.api.objects import IPV6, NamespacedName, Pod
from testbed.dns import client
from testbed.dns.client import Resolution
from testbed.dns.resolv import ResolvConf
from testbed.dns.zone import Type
from testbed.errors import CheckFailedError, UsageError
from testbed.fabric.namespace import Namespace
from testbed.lab.core import LabCore
from testbed.oracle import targets
from testbed.oracle.service_targets import Target
from testbed.oracle.world import World
from testbed.runtime.sandbox import namespace_name


@dataclass(frozen=True, slots=True)
class Asker:
    """Who looks a name up: a namespace and its resolver; `pod` where it is a Pod."""

    origin: Namespace
    resolver: ResolvConf
    pod: Pod | None = None

    def resolve(
        self, name: str, kinds: Sequence[Type] = (Type.A, Type.AAAA), timeout: float = 1.0
    ) -> Resolution:
        """Look `name` up with real packets. Blocks: not for the event loop's thread."""
        return client.resolve(self.origin.socket, self.resolver, name, kinds, timeout)


def asker_of(core: LabCore, word: str, world: World, origin: Namespace) -> Asker:
    """The resolver of a FROM word whose namespace is `origin`; machines ask the public DNS."""
    pod = _pod_of(word, world, origin)
    if pod is None:
        return Asker(origin, core.addons.dns.outside)
    document = core.control.store.get("pods", pod.key.namespace, pod.key.name)
    return Asker(origin, core.addons.dns.of_pod(document), pod)


def _pod_of(word: str, world: World, origin: Namespace) -> Pod | None:
    for pod in world.pods.values():
        if namespace_name((pod.key.namespace, pod.key.name)) == origin.name:
            return pod
    parsed = targets.parse(word) if word != origin.name else None
    if parsed is not None and parsed.kind in ("pod", ""):
        return world.pods.get(NamespacedName(parsed.namespace or "default", parsed.name))
    return None


def name_in(word: str, world: World, asker: Asker) -> str:
    """The DNS name that a TO word is for `asker`; "" where it means an object or an address.

    A Pod looks up every bare name that is no Pod's or node's; machines outside look up names that
    aren't a Service's of the cluster, which the public DNS doesn't know.
    """
    try:
        parsed = targets.parse(word)
    except UsageError:
        return ""
    bare = _without_port(word)
    if parsed.kind == "dns":
        return bare
    uses_names = asker.pod is not None and bool(asker.resolver.nameservers)
    if "/" in word or parsed.kind not in ("svc", "") or not uses_names:
        return ""
    if parsed.kind == "" and _is_object(world, parsed.name):
        return ""
    return bare


def _without_port(word: str) -> str:
    return word.partition(":")[0]


def _is_object(world: World, name: str) -> bool:
    """Whether a bare name is a Pod's or a node's, and no Service's."""
    key = NamespacedName("default", name)
    return key not in world.services and (key in world.pods or name in world.nodes)


def named_target(asker: Asker, name: str, port: tuple[int, str], family: str) -> Target:
    """The address that `name` has for `asker`, with `port` (number, protocol).

    Raises CheckFailedError where it has none.
    """
    kinds = [Type.A, Type.AAAA] if not family else [Type.AAAA if family == IPV6 else Type.A]
    found = asker.resolve(name, kinds)
    if not found.addresses:
        asked = f"{len(found.exchanges)} queries" if found.exchanges else "no query"
        raise CheckFailedError(f"{name}: {found.problem or 'no address'} ({asked})")
    return Target(f"DNS name {name}", "", found.addresses[0], *port)


def port_of(word: str, port: str, protocol: str, world: World) -> tuple[int, str]:
    """Port and protocol that a name is asked for: its own number, or a known Service's port.

    Raises UsageError.
    """
    parsed = targets.parse(word)
    text = port or parsed.port
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text), (protocol or "tcp").upper()
    if parsed.kind == "dns":
        raise UsageError(f"{word}: to which port? Write {_without_port(word)}:PORT or --port")
    found = targets.resolve_targets(world, parsed, port=port, protocol=protocol)
    return found[0].port, found[0].protocol
