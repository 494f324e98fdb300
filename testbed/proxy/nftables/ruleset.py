"""The rules of nftables mode as a value: what `nft -s list table` prints, and what changed.

Rules are text as nft lists them. Elements are kept by key, so that two service ports that need the
same element (a Service's ClusterIP, an endpoint of two Services) own it together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar

from testbed.api.objects import IPV6
from testbed.proxy.persistent import PersistentMap
from testbed.proxy.service_port import ServicePortName

Lines: TypeAlias = tuple[str, ...]

TABLE = "kube-proxy"
TABLE_COMMENT = "rules for kube-proxy"


class ElementKey(NamedTuple):
    """An element's place: its set or map, and its key as nft prints it (`10.96.0.1 . tcp . 80`)."""

    container: str
    key: str


class ElementValue(NamedTuple):
    """What an element carries: a verdict in maps (`goto service-…`, `drop`), and a comment."""

    verdict: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A set, or a map where `value_type` is given. `timeout` in seconds, 0 for none."""

    name: str
    key_type: str
    value_type: str = ""
    comment: str = ""
    flags: tuple[str, ...] = ()
    size: int = 0
    timeout: int = 0

    @property
    def kind(self) -> str:
        return "map" if self.value_type else "set"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; `hook` is a base chain's declaration (`type filter hook input priority filter`)."""

    name: str
    rules: Lines
    hook: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """What one service port contributes: elements, sets (affinity) and chains of its own."""

    elements: Mapping[ElementKey, ElementValue] = field(default_factory=dict)
    sets: tuple[SetSpec, ...] = ()
    chains: tuple[Chain, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to change to come from one RuleSet to the next; pairs are (before, after).

    `elements` are the elements of the shared sets and maps, resolved: an element that another
    service port still needs isn't in it.
    """

    static: bool
    services: Mapping[ServicePortName, tuple[ServiceRules | None, ServiceRules | None]]
    elements: Mapping[ElementKey, tuple[ElementValue | None, ElementValue | None]]

    def __bool__(self) -> bool:
        return bool(self.static or self.services or self.elements)

    def chains(self) -> dict[str, tuple[Chain | None, Chain | None]]:
        """The Services' own chains that differ."""
        return _pairs(
            (b.chains if b else (), a.chains if a else ()) for b, a in self.services.values()
        )

    def sets(self) -> dict[str, tuple[SetSpec | None, SetSpec | None]]:
        """The Services' own sets that differ."""
        return _pairs((b.sets if b else (), a.sets if a else ()) for b, a in self.services.values())


_Owners: TypeAlias = tuple[tuple[ServicePortName, ElementValue], ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of one family on one node: `table ip kube-proxy` or `table ip6 kube-proxy`.

    `sets`, `chains` and `elements` are the part without Services; `owners` says for every element
    which service ports want it. Where they want different verdicts the first in the order of
    ServicePortName has it. Build one with `RuleSet.empty` and `with_services`.
    """

    family: str
    sets: tuple[SetSpec, ...]
    chains: tuple[Chain, ...]
    elements: Mapping[ElementKey, ElementValue]
    services: PersistentMap[ServicePortName, ServiceRules] = field(default_factory=PersistentMap)
    owners: PersistentMap[ElementKey, _Owners] = field(default_factory=PersistentMap)

    def with_services(self, changes: Mapping[ServicePortName, ServiceRules | None]) -> RuleSet:
        """This RuleSet with other rules for some service ports, None to drop one."""
        touched: dict[ElementKey, _Owners] = {}
        for name, after in changes.items():
            before = self.services.get(name)
            for key in before.elements if before else ():
                owners = touched[key] if key in touched else self.owners.get(key, ())
                touched[key] = tuple(owner for owner in owners if owner[0] != name)
            for key, value in after.elements.items() if after else ():
                owners = touched[key] if key in touched else self.owners.get(key, ())
                touched[key] = (
                    tuple(sorted((*owners, (name, value)))) if owners else ((name, value),)
                )
        return RuleSet(
            self.family,
            self.sets,
            self.chains,
            self.elements,
            self.services.with_changes(
                put=((name, rules) for name, rules in changes.items() if rules is not None),
                drop=(name for name, rules in changes.items() if rules is None),
            ),
            self.owners.with_changes(
                put=((key, owners) for key, owners in touched.items() if owners),
                drop=(key for key, owners in touched.items() if not owners),
            ),
        )

    def ordered(self) -> Iterator[tuple[ServicePortName, ServiceRules]]:
        """The Services' contributions in the order of output."""
        for name in sorted(self.services):
            yield name, self.services[name]

    def contents(self) -> dict[str, dict[str, ElementValue]]:
        """Every shared set and map with its elements by key."""
        held: dict[str, dict[str, ElementValue]] = {spec.name: {} for spec in self.sets}
        for element, value in self.elements.items():
            held[element.container][element.key] = value
        for element, owners in self.owners.items():
            held[element.container].setdefault(element.key, owners[0][1])
        return held

    def all_sets(self) -> Iterator[SetSpec]:
        """The shared sets and maps, then the Services'."""
        yield from self.sets
        for _, rules in self.ordered():
            yield from rules.sets

    def all_chains(self) -> Iterator[Chain]:
        """The base and shared chains, then the Services'."""
        yield from self.chains
        for _, rules in self.ordered():
            yield from rules.chains

    def text(self) -> str:
        """What `nft -s list table` prints, with one element a line, sorted."""
        held = self.contents()
        blocks = [_set_text(spec, held.get(spec.name, {})) for spec in self.all_sets()]
        blocks += [_chain_text(chain) for chain in self.all_chains()]
        prefix = "ip6" if self.family == IPV6 else "ip"
        return (
            f'table {prefix} {TABLE} {{\n\tcomment "{TABLE_COMMENT}"\n'
            + "\n\n".join(blocks)
            + "\n}\n"
        )

    def difference(self, previous: RuleSet) -> Difference:
        """What changed since `previous`; costs no more than the change."""
        elements = {
            key: (before[0][1] if before else None, after[0][1] if after else None)
            for key, (before, after) in self.owners.difference(previous.owners).items()
        }
        return Difference(
            static=(self.sets, self.chains, self.elements)
            != (previous.sets, previous.chains, previous.elements),
            services=self.services.difference(previous.services),
            elements={key: pair for key, pair in elements.items() if pair[0] != pair[1]},
        )


_N = TypeVar("_N", bound="Chain | SetSpec")


def _pairs(
    changes: Iterable[tuple[tuple[_N, ...], tuple[_N, ...]]],
) -> dict[str, tuple[_N | None, _N | None]]:
    pairs: dict[str, tuple[_N | None, _N | None]] = {}
    for before, after in changes:
        old = {item.name: item for item in before}
        new = {item.name: item for item in after}
        for name in (*new, *(old.keys() - new.keys())):
            if old.get(name) != new.get(name):
                pairs[name] = (old.get(name), new.get(name))
    return pairs


def _set_text(spec: SetSpec, elements: Mapping[str, ElementValue]) -> str:
    kind = f"{spec.key_type} : {spec.value_type}" if spec.value_type else spec.key_type
    lines = [f"\t{spec.kind} {spec.name} {{", f"\t\ttype {kind}"]
    if spec.size:
        lines.append(f"\t\tsize {spec.size}")
    if spec.flags:
        lines.append(f"\t\tflags {','.join(spec.flags)}")
    if spec.timeout:
        lines.append(f"\t\ttimeout {duration(spec.timeout)}")
    if spec.comment:
        lines.append(f'\t\tcomment "{spec.comment}"')
    if elements:
        lines.append("\t\telements = {")
        lines += [f"\t\t\t{element_text(key, elements[key])}," for key in sorted(elements)]
        lines.append("\t\t}")
    return "\n".join((*lines, "\t}"))


def element_text(key: str, value: ElementValue) -> str:
    """One element as nft lists it: `KEY comment "…" : VERDICT`."""
    comment = f' comment "{value.comment}"' if value.comment else ""
    verdict = f" : {value.verdict}" if value.verdict else ""
    return f"{key}{comment}{verdict}"


def _chain_text(chain: Chain) -> str:
    lines = [f"\tchain {chain.name} {{"]
    if chain.comment:
        lines.append(f'\t\tcomment "{chain.comment}"')
    if chain.hook:
        lines.append(f"\t\t{chain.hook}; policy accept;")
    lines += [f"\t\t{rule}" for rule in chain.rules]
    return "\n".join((*lines, "\t}"))


def duration(seconds: int) -> str:
    """Seconds as nft prints a timeout: `3h`, `1m30s`, `1d`."""
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
