"""Records in an index by name: who put them there, what a question for a name and type gets."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from testbed.dns.names import normal, parent, within
from testbed.errors import UsageError

#: A chain of aliases longer than this is a loop.
CNAME_LIMIT = 8


class Type(IntEnum):
    """Record types, by their numbers on the wire."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33
    ANY = 255


def record_type(word: str) -> Type:
    """The type called `word` (SRV, ptr …); raises UsageError."""
    try:
        return Type[word.upper()]
    except KeyError:
        raise UsageError(f"record type {word!r}: one of {', '.join(Type.__members__)}") from None


class Code(IntEnum):
    """Response codes."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class Record(NamedTuple):
    """One record. `data`: an address, a name, a text; for SRV `priority weight port target`."""

    name: str
    type: Type
    ttl: int
    data: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gets. `pending` is an alias' target outside these zones, to be resolved."""

    code: Code
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    pending: str | None = None


class Source(Protocol):
    """Zones that can be asked."""

    @property
    def version(self) -> int:
        """Grows with every change: an answer made at one version holds while it stays."""

    def lookup(self, name: str, kind: int) -> Answer | None:
        """The answer to a question for a `normal` name, or None where it is another's to answer."""


class Data(NamedTuple):
    """A record without its name and time to live."""

    type: Type
    data: str


@dataclass(slots=True)
class _Node:
    """A name: its records by owner, and how many names hang below it."""

    owners: dict[Hashable, tuple[Data, ...]] = field(default_factory=dict)
    children: int = 0


class Zone:
    """Records below `apex` ("" holds every name), each put there by an owner.

    Replacing an owner's records costs as much as the records that owner has.
    """

    def __init__(self, apex: str, ttl: int, *, negative_ttl: int | None = None) -> None:
        self.apex = normal(apex)
        self.ttl = ttl
        self.negative_ttl = ttl if negative_ttl is None else negative_ttl
        self.version = 0
        self._nodes: dict[str, _Node] = {self.apex: _Node(children=1)}
        self._owned: dict[Hashable, dict[str, tuple[Data, ...]]] = {}

    def set(self, owner: Hashable, records: Mapping[str, Iterable[Data]]) -> None:
        """`owner` has exactly these records, by normal name; an empty mapping removes it."""
        before = self._owned.get(owner, {})
        after = {name: tuple(data) for name, data in records.items()}
        if before == after:
            return
        self.version += 1
        for name in before.keys() - after.keys():
            del self._nodes[name].owners[owner]
            self._prune(name)
        for name, data in after.items():
            if before.get(name) != data:
                self._grow(name).owners[owner] = data
        if after:
            self._owned[owner] = after
        else:
            self._owned.pop(owner, None)

    def records(self, name: str) -> tuple[Record, ...] | None:
        """A name's records; () where there are only names below it, None for no such name."""
        node = self._nodes.get(name)
        if node is None:
            return None
        once = dict.fromkeys(data for datas in node.owners.values() for data in datas)
        return tuple(Record(name, data.type, self.ttl, data.data) for data in once)

    def lookup(self, name: str, kind: int) -> Answer | None:
        """Answer with the records of a type, following aliases inside the zone."""
        if not within(name, self.apex):
            return None
        found: list[Record] = []
        for _ in range(CNAME_LIMIT):
            records = self._find(name)
            if name == self.apex and kind == Type.SOA:
                return Answer(Code.NOERROR, (*found, self.soa()))
            if records is None:
                code = Code.NOERROR if found else Code.NXDOMAIN
                return Answer(code, tuple(found), authority=(self.soa(),))
            matching = [r for r in records if r.type == kind or kind == Type.ANY]
            alias = next((r for r in records if r.type == Type.CNAME), None)
            if matching or alias is None:
                authority = () if found or matching else (self.soa(),)
                found += matching
                return Answer(Code.NOERROR, tuple(found), self._additional(matching), authority)
            found.append(alias)
            name = normal(alias.data)
            if not within(name, self.apex):
                return Answer(Code.NOERROR, tuple(found), pending=name)
        return Answer(Code.SERVFAIL)

    def soa(self) -> Record:
        """The record that says how long a negative answer holds (RFC 2308)."""
        dot = f".{self.apex}." if self.apex else "."
        data = f"ns.dns{dot} hostmaster{dot} {self.version + 1} 7200 1800 86400 {self.negative_ttl}"
        return Record(self.apex, Type.SOA, self.negative_ttl, data)

    def _find(self, name: str) -> tuple[Record, ...] | None:
        """A name's records, or those that a wildcard above makes for it (RFC 4592)."""
        records = self.records(name)
        above = name
        while records is None and above != self.apex:
            above = parent(above)
            star = f"*.{above}" if above else "*"
            wild = self.records(star)
            if wild is not None:
                return tuple(r._replace(name=name) for r in wild)
            if above in self._nodes:
                return None
        return records

    def _additional(self, records: Iterable[Record]) -> tuple[Record, ...]:
        """The addresses of the targets of SRV and NS records."""
        targets = {
            normal(r.data.rpartition(" ")[2]): None
            for r in records
            if r.type in (Type.SRV, Type.NS)
        }
        return tuple(
            record
            for target in targets
            for record in self.records(target) or ()
            if record.type in (Type.A, Type.AAAA)
        )

    def _grow(self, name: str) -> _Node:
        """The name's node, made with those above it."""
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = _Node()
            self._grow(parent(name)).children += 1
        return node

    def _prune(self, name: str) -> None:
        """Remove a name that has neither records nor names below it, and so upwards."""
        node = self._nodes[name]
        if node.owners or node.children:
            return
        del self._nodes[name]
        self._nodes[parent(name)].children -= 1
        self._prune(parent(name))
