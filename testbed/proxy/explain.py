"""What chains, sets, elements and rules stand for, in words; and which rules lead to them.

Pure. A backend gives its own words (`meaning.py`); the search and the graph are the same for both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from testbed.proxy.addresses import join_host_port
from testbed.proxy.changes import ProxyState
from testbed.proxy.graph import Item
from testbed.proxy.iptables import meaning as iptables
from testbed.proxy.iptables.ruleset import RuleSet as IptablesRuleSet
from testbed.proxy.nftables import meaning as nftables
from testbed.proxy.nftables.ruleset import RuleSet as NftablesRuleSet
from testbed.proxy.service_port import ServicePortInfo

RuleSet: TypeAlias = IptablesRuleSet | NftablesRuleSet

#: Rules that lead somewhere are listed up to this number: thousands lead to KUBE-MARK-MASQ.
_LISTED = 40


@dataclass(frozen=True)
class Explanation:
    """An answer: what `subject` is, what it holds, and the rules that lead to it, outermost first.

    `holds` and `leading` are (rule, its meaning).
    """

    subject: str
    meaning: str
    holds: tuple[tuple[str, str], ...] = ()
    leading: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        lines = [self.subject, f"  {self.meaning}"]
        for title, rules in (("reached by", self.leading), ("holds", self.holds)):
            if rules:
                lines.append(f"  {title}")
            for text, words in rules[:_LISTED]:
                lines += [f"    {text}", *([f"        {words}"] if words else [])]
            if len(rules) > _LISTED:
                lines.append(f"    … and {len(rules) - _LISTED} more")
        return "\n".join(lines)


class Words(Protocol):
    """What a backend knows about the names in its rules."""

    def items(self) -> Iterator[Item]:
        """Every rule and element."""

    def places(self) -> dict[str, str]:
        """Every chain, set and map: its key in the graph, and its name."""

    def name(self, name: str) -> str:
        """What the chain, set or map `name` is; "" if it isn't known."""

    def rule(self, text: str, place: str) -> str:
        """What the rule or element `text` in chain, set or map `place` ("" if unknown) does."""


class Explainer:
    """Explains one instance's RuleSet; `state` is what it was made from."""

    def __init__(self, rules: RuleSet, state: ProxyState) -> None:
        self._state = state
        self._words: Words = (
            iptables.Words(rules, state)
            if isinstance(rules, IptablesRuleSet)
            else nftables.Words(rules, state)
        )
        self._inside: dict[str, list[Item]] | None = None
        self._toward: dict[str, list[Item]] = {}

    @property
    def family(self) -> str:
        return self._state.family

    def meaning(self, text: str, place: str = "") -> str:
        """A chain, set or map by name, or a rule of chain `place`, in words; "" if unknown.

        A rule is its text as iptables-save (with or without `-A CHAIN`) or nft prints it.
        """
        if text.startswith("-A "):
            _, place, text = text.split(" ", 2)
        return self._words.name(text) or self._words.rule(text, place)

    def names(self) -> list[str]:
        """Every chain, set and map there is."""
        return list(dict.fromkeys(self._words.places().values()))

    def find(self, query: str) -> list[Explanation]:
        """Everything that is named `query`, else begins so; or has it as address (`ip[:port]`)."""
        places = self._words.places()
        found = [key for key, name in places.items() if name == query]
        if not found and query:
            found = [key for key, name in places.items() if name.startswith(query)]
        explained = [self._place(key, places[key]) for key in found]
        return explained or self._addresses(query) or self._elements(query) or self._absent(query)

    def _absent(self, query: str) -> list[Explanation]:
        words = self._words.name(query)
        return (
            [Explanation(query, f"{words} (this node has no such chain or set)")] if words else []
        )

    def _place(self, key: str, name: str) -> Explanation:
        self._index()
        assert self._inside is not None
        holds = tuple((item.text, self._item_words(item)) for item in self._inside.get(key, ()))
        words = self._words.name(name) or "not kube-proxy's"
        return Explanation(key, words, holds, tuple(self._leading([key])))

    def _addresses(self, query: str) -> list[Explanation]:
        """Service addresses and endpoints that are `query`, with or without the port.

        All of a Service's, where `query` is its name (`namespace/name`, `namespace/name:port`).

        A node port is `PORT`, `:PORT` or, where no Service has the address, `ADDRESS:PORT`.
        """
        wanted = query.removeprefix("[").removesuffix("]") if query.endswith("]") else query
        out = []
        node_ports = []
        for name in sorted(self._state.services):
            info = self._state.services[name]
            by_name = query in (str(name), str(name.service))
            for what, address, port in _captured(info):
                found = f"{what} of Service {name}", info, address, port
                if by_name or (address and wanted in (address, join_host_port(address, port))):
                    out.append(self._address(*found))
                if not address and str(port) in (query, query.rpartition(":")[2]):
                    node_ports.append(found)
            for endpoint in self._state.endpoints.get(name, ()):
                if wanted in (endpoint.ip, endpoint.text):
                    out.append(self._endpoint(info, endpoint.text))
        return out or [self._address(*found) for found in node_ports]

    def _address(self, what: str, info: ServicePortInfo, address: str, port: int) -> Explanation:
        self._index()
        assert self._inside is not None
        mine = [
            item
            for items in self._inside.values()
            for item in items
            if item.captures == (address, info.protocol, port)
        ]
        leading = [*self._leading(sorted({item.place for item in mine}))]
        holds = tuple((str(item), self._item_words(item)) for item in mine)
        subject = f"{address or 'node'}:{port}/{info.name.protocol}"
        return Explanation(subject, what, holds, tuple(leading))

    def _endpoint(self, info: ServicePortInfo, text: str) -> Explanation:
        self._index()
        assert self._inside is not None
        mine = [
            item
            for items in self._inside.values()
            for item in items
            if item.owner == info.name and text in item.endpoints
        ]
        words = f"endpoint of Service {info.name}"
        if not mine:
            words += ", not used on this node"
        leading = self._leading(sorted({item.place for item in mine}))
        holds = tuple((str(item), self._item_words(item)) for item in mine)
        return Explanation(f"{text}/{info.name.protocol}", words, holds, tuple(leading))

    def _elements(self, query: str) -> list[Explanation]:
        """Elements of sets and maps that are `query` or begin so."""
        self._index()
        assert self._inside is not None
        wanted = query.strip().removesuffix(",")
        return [
            Explanation(str(item), self._item_words(item), (), tuple(self._leading([item.place])))
            for items in self._inside.values()
            for item in items
            if wanted and item.key and item.text.startswith(wanted)
        ]

    def _leading(self, keys: list[str]) -> list[tuple[str, str]]:
        """All rules on the ways to `keys`, each before those that it leads to."""
        self._index()
        found: list[Item] = []
        seen: set[str] = set()

        def visit(key: str) -> None:
            if key in seen:
                return
            seen.add(key)
            for item in self._toward.get(key, ()):
                visit(item.place)
            found.extend(self._toward.get(key, ()))

        for key in keys:
            visit(key)
        return [(str(item), self._item_words(item)) for item in dict.fromkeys(found)]

    def _item_words(self, item: Item) -> str:
        return self._words.rule(item.text, item.place.rpartition(" ")[2])

    def _index(self) -> None:
        if self._inside is not None:
            return
        inside: dict[str, list[Item]] = defaultdict(list)
        toward: dict[str, list[Item]] = defaultdict(list)
        for item in self._words.items():
            inside[item.place].append(item)
            for target in item.targets:
                toward[target].append(item)
        self._inside, self._toward = inside, toward


def _captured(info: ServicePortInfo) -> Iterator[tuple[str, str, int]]:
    """The addresses that Services answer at: what it is, address ("" for a node's own), port."""
    yield "clusterIP", info.cluster_ip, info.port
    for address in info.external_ips:
        yield "externalIP", address, info.port
    for address in info.load_balancer_vips:
        yield "load balancer IP", address, info.port
    if info.node_port:
        yield "node port", "", info.node_port
