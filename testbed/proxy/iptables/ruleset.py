"""The rules of iptables mode as a value: what `iptables-save` prints, and what changed.

A rule is its text after the chain's name, in the very form that iptables-save prints. Nothing here
knows what a rule means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.proxy.persistent import PersistentMap
from testbed.proxy.service_port import ServicePortName

Lines: TypeAlias = tuple[str, ...]

#: The tables in the order of iptables-save, each with its built-in chains in hook order.
BASE_CHAINS: Mapping[str, tuple[str, ...]] = {
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
}


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """What one service port contributes.

    `shared` maps (table, chain) to lines for chains that all Services fill; `chains` maps the
    service port's own chains, all in table nat and never shared, to their lines.
    """

    shared: Mapping[tuple[str, str], Lines] = field(default_factory=dict)
    chains: Mapping[str, Lines] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to change to come from one RuleSet to the next.

    `static` are the (table, chain) whose own lines (before or after the Services') differ,
    `services` the service ports whose rules differ, as (before, after) with None for absent.
    """

    static: tuple[tuple[str, str], ...]
    services: Mapping[ServicePortName, tuple[ServiceRules | None, ServiceRules | None]]

    def __bool__(self) -> bool:
        return bool(self.static or self.services)

    def chains(self) -> tuple[frozenset[str], frozenset[str]]:
        """The Services' own chains (table nat) to write and to delete."""
        written: set[str] = set()
        deleted: set[str] = set()
        for before, after in self.services.values():
            old = before.chains if before else {}
            new = after.chains if after else {}
            written.update(name for name, lines in new.items() if old.get(name) != lines)
            deleted.update(old.keys() - new.keys())
        return frozenset(written), frozenset(deleted)

    def shared(self) -> frozenset[tuple[str, str]]:
        """The (table, chain) that all Services fill and that differ."""
        touched = set(self.static)
        for before, after in self.services.values():
            old = before.shared if before else {}
            new = after.shared if after else {}
            touched.update(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return frozenset(touched)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of one family on one node.

    A chain's content is its `static` lines, then every Service's contribution in the order of
    ServicePortName, then its `tail`. `static` names every chain that isn't a Service's own,
    built-in chains included where they hold jumps. `large` is large-cluster mode (K-73).
    """

    family: str
    static: Mapping[str, Mapping[str, Lines]]
    tail: Mapping[tuple[str, str], Lines]
    services: PersistentMap[ServicePortName, ServiceRules] = field(default_factory=PersistentMap)
    large: bool = False

    def ordered(self) -> Iterator[tuple[ServicePortName, ServiceRules]]:
        """The Services' contributions in the order of output."""
        for name in sorted(self.services):
            yield name, self.services[name]

    def chains(self, table: str) -> Mapping[str, Lines]:
        """Every chain of `table` with its rules: the built-in ones in hook order, then by name."""
        filled: dict[str, list[str]] = {name: [] for name in BASE_CHAINS[table]}
        for name, lines in self.static.get(table, {}).items():
            filled.setdefault(name, []).extend(lines)
        own: dict[str, Lines] = {}
        for _, rules in self.ordered():
            for (where, name), lines in rules.shared.items():
                if where == table:
                    filled[name].extend(lines)
            if table == "nat":
                own.update(rules.chains)
        for (where, name), lines in self.tail.items():
            if where == table:
                filled[name].extend(lines)
        own.update((name, tuple(lines)) for name, lines in filled.items())
        base = BASE_CHAINS[table]
        return {name: own[name] for name in (*base, *sorted(own.keys() - set(base)))}

    def text(self) -> str:
        """What `iptables-save` prints for these rules, without comments and counters."""
        return "".join(self._table_text(table) for table in BASE_CHAINS if table in self.static)

    def _table_text(self, table: str) -> str:
        chains = self.chains(table)
        base = BASE_CHAINS[table]
        out = [f"*{table}"]
        out += [f":{name} {'ACCEPT' if name in base else '-'}" for name in chains]
        out += [f"-A {name} {line}" for name, lines in chains.items() for line in lines]
        out.append("COMMIT\n")
        return "\n".join(out)

    def difference(self, previous: RuleSet) -> Difference:
        """What changed since `previous`; costs no more than the change."""
        return Difference(
            static=tuple(_changed_static(previous, self)),
            services=self.services.difference(previous.services),
        )


def _changed_static(old: RuleSet, new: RuleSet) -> Iterator[tuple[str, str]]:
    if old.static is new.static and old.tail is new.tail:
        return
    keys = {
        (table, chain)
        for rules in (old, new)
        for table in rules.static
        for chain in rules.static[table]
    }
    for table, chain in sorted(keys):
        before = (old.static.get(table, {}).get(chain), old.tail.get((table, chain)))
        after = (new.static.get(table, {}).get(chain), new.tail.get((table, chain)))
        if before != after:
            yield table, chain
