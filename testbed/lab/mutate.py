"""Which of a lab's rules would anybody miss? Those that no flow meets are found by sending flows.

The flows are one from a Pod on each node, from each node and from outside, to every address and
port of every Service: each is followed, and the rules that its packets meet are ticked off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from testbed.api.objects import IPV4, IPV6
from testbed.compare.rules import contents
from testbed.errors import TestbedError, UsageError
from testbed.lab.places import clients_of, world_of
from testbed.lab.volley import every_target, inside

if TYPE_CHECKING:
    from testbed.cluster import Cluster

#: Two followed probes of the same flow may meet different backends' rules.
ROUNDS = 2
#: Long enough for an answer inside a lab, seconds.
_PATIENCE = 0.2


@dataclass(frozen=True, slots=True)
class Unmissed:
    """A rule that no flow met: on which node, in which chain; `meaning` says what it is for."""

    node: str
    family: str
    table: str
    chain: str
    text: str
    meaning: str = ""

    def __str__(self) -> str:
        words = f"  = {self.meaning}" if self.meaning else ""
        return f"{self.node} {self.family} {self.table} {self.chain}: {self.text}{words}"


def unmissed(
    lab: Cluster, *, rounds: int = ROUNDS, tell: Callable[[str], None] = lambda line: None
) -> list[Unmissed]:
    """The rules of kube-proxy that no flow of the lab meets, node by node, in their order.

    Raises UsageError where the rules are an external proxy's.
    """
    if lab.options.proxy_command:
        raise UsageError("the rules are --proxy-command's: which of them matter isn't known here")
    met = _met(lab, rounds, tell)
    found = []
    for node in lab.node_names():
        wanted = lab.in_loop(partial(lab.core.proxies.wanted, node))
        for family in (IPV4, IPV6):
            for (table, chain), rules in contents(wanted.get(family, "")).items():
                for text in rules:
                    if (node, family, chain, _plain(text)) not in met:
                        words = lab.meaning_of(chain)
                        found.append(Unmissed(node, family, table, chain, text, words))
    return found


def _met(lab: Cluster, rounds: int, tell: Callable[[str], None]) -> set[tuple[str, str, str, str]]:
    met: set[tuple[str, str, str, str]] = set()
    flows = list(_flows(lab))
    tell(f"{len(flows)} flows, followed {rounds} times")
    for source, target, protocol in flows * rounds:
        try:
            path = lab.explain(source, target, protocol=protocol, timeout=_PATIENCE).path
        except (UsageError, TestbedError):
            continue  # a family that the place hasn't got
        for leg in path.legs:
            for hop in (*leg.hops, *leg.reply):
                for hit in hop.rules:
                    family = IPV6 if hit.family == "ip6" else IPV4
                    met.add((hop.namespace, family, hit.chain, _plain(hit.text)))
    return met


def _flows(lab: Cluster) -> Iterator[tuple[str, str, str]]:
    """(FROM, TO, protocol) of every flow."""
    world = lab.in_loop(lambda: world_of(lab.core))
    clients = lab.in_loop(lambda: clients_of(lab.core))
    outside = [m.name for m in lab.topology.clients if m.name in clients]
    for target in every_target(world):
        for name in (*(name for name, _ in inside(world)), *outside):
            yield name, str(target), target.protocol.lower()


def _plain(text: str) -> str:
    """A rule's text without what the kernel's tools spell differently at times."""
    return " ".join(text.split())
