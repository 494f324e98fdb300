"""iptables mode's way into the kernel: RuleSets as nf_tables transactions, as iptables-nft's own.

One transaction per sync. A full sync empties and refills every chain of ours and deletes the
Services' chains that are no longer wanted; a partial one touches the changed Services' chains and
single rules of the chains that all Services share. Base chains, tables and other people's rules are
only ever added to.
"""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from testbed.netlink import (
    Received,
    attributes,
)
from testbed.proxy.iptables.base_chains import missing_base_chains
from testbed.proxy.iptables.counters import counters_used, make_counter
from testbed.proxy.iptables.encode import encode
from testbed.proxy.iptables.extensions import Unencodable
from testbed.proxy.iptables.ruleset import BASE_CHAINS, Difference, Lines, RuleSet
from testbed.proxy.kernel import dump
from testbed.proxy.kernel.applier import NetlinkApplier
from testbed.proxy.kernel.expressions import GOTO, JUMP, immediate_verdict
from testbed.proxy.kernel.messages import Message, TableMessages
from testbed.proxy.kernel.shared_chain import Change, Owner, SharedChain
from testbed.proxy.kernel.transaction import Namespace, RuleError

#: Chains that belong to one Service or endpoint, and so can become stale.
SERVICE_CHAIN = re.compile(r"KUBE-(?:SVC|SVL|EXT|FW|SEP)-")
#: The proxy's other chains.
SHARED_CHAINS = frozenset(
    {
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FIREWALL",
        "KUBE-FORWARD",
        "KUBE-MARK-MASQ",
        "KUBE-NODEPORTS",
        "KUBE-POSTROUTING",
        "KUBE-PROXY-CANARY",
        "KUBE-PROXY-FIREWALL",
        "KUBE-SERVICES",
    }
)

Place: TypeAlias = tuple[str, str]
#: Owners of a shared chain's lines: its static head, (1, service port), its tail.
HEAD: Owner = (0, ())
TAIL: Owner = (2, ())


class IptablesApplier(NetlinkApplier[RuleSet]):
    """One family's rules of iptables mode in one namespace. See `Applier`."""

    def __init__(self, namespace: Namespace, family: str) -> None:
        super().__init__(namespace, family)
        self._messages = {table: TableMessages(family, table) for table in BASE_CHAINS}
        self._shared: dict[Place, SharedChain] = {}
        #: The handles of the rules of the Services' own chains, in order.
        self._own: dict[str, Sequence[int]] = {}
        #: The tables that they are in, by their handles.
        self._tables: dict[str, int] = {}
        self._counters: set[str] = set()

    # Full

    def _sync_fully(self, ruleset: RuleSet) -> int:
        state = dump.chains(self._door.netlink, self.family)
        existing = {(chain.table, chain.name) for chain in state}
        shared, own = _contents(ruleset)
        self._ensure_counters(
            line for entries in shared.values() for _, ls in entries for line in ls
        )
        wanted = {*shared, *(("nat", name) for name in own)}
        batch: list[Message] = []
        for table in ruleset.static:
            batch += missing_base_chains(self._messages[table], table, existing)
        batch += [self._messages[table].new_chain(chain) for table, chain in wanted - existing]
        batch += [self._messages[table].flush_chain(chain) for table, chain in wanted & existing]
        stale = {
            place
            for place in existing - wanted
            if place[0] == "nat" and SERVICE_CHAIN.match(place[1])
        }
        batch += [self._messages[table].flush_chain(chain) for table, chain in stale]
        start = len(batch)
        batch += self._own_rules(own)
        rules = len(batch) - start
        echoed: dict[Place, tuple[int, int]] = {}
        for (table, chain), entries in shared.items():
            lines = tuple(line for _, ls in entries for line in ls)
            if lines:
                echoed[table, chain] = (len(batch), len(batch) + len(lines) - 1)
                batch += self._rules(table, chain, lines)
                rules += len(lines)
        batch += self._missing_jumps(ruleset, existing)
        batch += [self._messages[table].delete_chain(chain) for table, chain in stale]
        answers = self._door.commit(batch)
        self._shared = {
            place: SharedChain(entries, self._handles(place, entries, echoed, answers))
            for place, entries in shared.items()
        }
        self._own = self._own_handles(own, answers, start)
        self._tables = dump.tables(self._door.netlink, self.family)
        return rules

    def _missing_jumps(self, ruleset: RuleSet, existing: set[Place]) -> Iterable[Message]:
        """Jumps from base chains, put in front last to first where they are missing."""
        for table, chains in ruleset.static.items():
            for chain in BASE_CHAINS[table]:
                lines = chains.get(chain, ())
                present = (
                    {rule.expressions for rule in self._dumped(table, chain)}
                    if lines and (table, chain) in existing
                    else set()
                )
                for line in reversed(lines):
                    packed = self._encode(table, chain, line)
                    if dump.canonical(attributes(packed)[4]) not in present:
                        yield self._messages[table].new_rule(
                            chain, packed, f"-A {chain} {line}", append=False
                        )

    def _dumped(self, table: str, chain: str) -> list[dump.RuleState]:
        return dump.rules(self._door.netlink, self.family, table, chain)

    def _own_rules(self, lines_of: Mapping[str, Lines]) -> list[Message]:
        """The rules of Services' chains in one piece, with the handles of its ends echoed."""
        pairs = [(name, line) for name, lines in lines_of.items() for line in lines]
        new_rule, last = self._messages["nat"].new_rule, len(pairs) - 1
        return [
            new_rule(
                name,
                self._encode("nat", name, line),
                f"-A {name} {line}",
                echo=place in (0, last),
            )
            for place, (name, line) in enumerate(pairs)
        ]

    def _own_handles(
        self, lines_of: Mapping[str, Lines], answers: Mapping[int, Received], start: int
    ) -> dict[str, Sequence[int]]:
        """The handles of `_own_rules(lines_of)`, which began at message `start`."""
        count = sum(map(len, lines_of.values()))
        if not count:
            return dict.fromkeys(lines_of, ())
        first, last = (_handle_of(answers[end]) for end in (start, start + count - 1))
        if last - first != count - 1:
            netlink = self._door.netlink
            return {name: dump.handles(netlink, self.family, "nat", name) for name in lines_of}
        found: dict[str, Sequence[int]] = {}
        for name, lines in lines_of.items():
            found[name] = range(first, first + len(lines))
            first += len(lines)
        return found

    def _rules(self, table: str, chain: str, lines: Lines) -> list[Message]:
        """A shared chain's rules, with the handles of its ends echoed."""
        new_rule = self._messages[table].new_rule
        last = len(lines) - 1
        return [
            new_rule(
                chain,
                self._encode(table, chain, line),
                f"-A {chain} {line}",
                echo=place in (0, last),
            )
            for place, line in enumerate(lines)
        ]

    def _encode(self, table: str, chain: str, line: str) -> bytes:
        try:
            return encode(self.family, line)
        except Unencodable as error:
            raise RuleError(
                self.namespace.name, table, f"-A {chain} {line}", str(error), errno.EINVAL
            ) from error

    def _handles(
        self,
        place: Place,
        entries: list[tuple[Owner, Lines]],
        echoed: Mapping[Place, tuple[int, int]],
        answers: Mapping[int, Received],
    ) -> list[int]:
        """The handles of a chain's rules: the kernel counts them up, so the ends tell the rest."""
        if place not in echoed:
            return []
        first, last = (_handle_of(answers[end]) for end in echoed[place])
        count = sum(len(lines) for _, lines in entries)
        if last - first == count - 1:
            return list(range(first, last + 1))
        return dump.handles(self._door.netlink, self.family, *place)

    def _ensure_counters(self, lines: Iterable[str]) -> None:
        for name in sorted(counters_used(lines) - self._counters):
            make_counter(self._door, name)
            self._counters.add(name)

    # Partial

    def _sync_partially(self, difference: Difference) -> int:
        written, deleted = difference.chains()
        lines_of = {
            name: lines
            for _, after in difference.services.values()
            if after is not None
            for name, lines in after.chains.items()
            if name in written
        }
        self._ensure_counters(line for lines in lines_of.values() for line in lines)
        nat = self._messages["nat"]
        batch = [nat.new_chain(name) for name in lines_of]
        batch += [nat.flush_chain(name) for name in (*lines_of, *sorted(deleted))]
        own_start = len(batch)
        batch += self._own_rules(lines_of)
        rules = len(batch) - own_start
        changes: list[tuple[Place, dict[Owner, Lines], Change, int]] = []
        for place in sorted(difference.shared()):
            wanted = _wanted(difference, place)
            self._ensure_counters(line for added in wanted.values() for line in added)
            change = self._shared[place].change(wanted)
            batch += self._deletions(place, change)
            changes.append((place, wanted, change, len(batch)))
            batch += self._insertions(place, change)
            rules += len(change.inserted)
        batch += [nat.delete_chain(name) for name in sorted(deleted)]
        answers = self._door.commit(batch)
        for place, wanted, change, start in changes:
            handles = [
                _handle_of(answers[start + offset]) for offset in range(len(change.inserted))
            ]
            self._shared[place].done(wanted, change, handles)
        for name in deleted:
            self._own.pop(name, None)
        self._own.update(self._own_handles(lines_of, answers, own_start))
        return rules

    def _deletions(self, place: Place, change: Change) -> list[Message]:
        table, chain = place
        return [
            self._messages[table].delete_rule(chain, handle, f"-D {chain} {line}")
            for handle, line in change.deleted
        ]

    def _insertions(self, place: Place, change: Change) -> list[Message]:
        table, chain = place
        return [
            self._messages[table].new_rule(
                chain,
                self._encode(table, chain, line),
                f"-A {chain} {line}",
                echo=True,
                append=after != 0,
                position=after,
            )
            for line, after in change.inserted
        ]

    # Watching and cleaning up

    def _all_there(self, ruleset: RuleSet) -> bool:
        """Rules are known by their handles: one that was deleted and made again has another.

        Strangers' rules among ours, and their jumps to our chains, are no damage. A rule that was
        replaced in its place (`iptables -R`) keeps its handle and counts as there.
        """
        netlink = self._door.netlink
        tables = dump.tables(netlink, self.family)
        if any(tables.get(table) != self._tables[table] for table in ruleset.static):
            return False
        existing = {(chain.table, chain.name) for chain in dump.chains(netlink, self.family)}
        if any(place not in existing for place in self._places()):
            return False
        for table in ruleset.static:
            if not dump.table_handles(netlink, self.family, table).issuperset(
                self._handles_in(table)
            ):
                return False
        return not any(True for _ in self._missing_jumps(ruleset, existing))

    def _places(self) -> Iterator[Place]:
        """The chains of ours."""
        yield from self._shared
        yield from (("nat", name) for name in self._own)

    def _handles_in(self, table: str) -> Iterator[int]:
        """The handles of our rules in a table's chains of ours."""
        for place, shared in self._shared.items():
            if place[0] == table:
                yield from shared.handles()
        if table == "nat":
            yield from itertools.chain.from_iterable(self._own.values())

    def cleanup(self) -> None:
        """See `Applier.cleanup`. A chain that a stranger's chain jumps to stays, empty."""
        self._applied = None
        ours = self._ours()
        try:
            self._door.commit([*self._emptying(ours), *self._chain_removals(ours)])
        except RuleError as error:
            if error.code != errno.EBUSY:
                raise
            self._door.commit([*self._emptying(self._ours())])
            unused = [chain for chain in self._ours() if chain.uses == 0]
            self._door.commit([*self._chain_removals(unused)])

    def _ours(self) -> list[dump.ChainState]:
        return [
            chain
            for chain in dump.chains(self._door.netlink, self.family)
            if chain.table in BASE_CHAINS
            and (chain.name in SHARED_CHAINS or SERVICE_CHAIN.match(chain.name))
        ]

    def _emptying(self, chains: Iterable[dump.ChainState]) -> Iterable[Message]:
        """Take the base chains' jumps to `chains` away, and all rules in them."""
        names: dict[str, set[str]] = {}
        for chain in chains:
            names.setdefault(chain.table, set()).add(chain.name)
        for table in sorted(names):
            yield from self._jump_removals(table, names[table])
            yield from map(self._messages[table].flush_chain, sorted(names[table]))

    def _chain_removals(self, chains: Iterable[dump.ChainState]) -> Iterable[Message]:
        for chain in sorted(chains):
            yield self._messages[chain.table].delete_chain(chain.name)

    def _jump_removals(self, table: str, names: set[str]) -> Iterable[Message]:
        jumps = {
            dump.canonical(immediate_verdict(code, name))[0]: name
            for name in names
            for code in (JUMP, GOTO)
        }
        for chain in BASE_CHAINS[table]:
            for rule in self._dumped(table, chain):
                if rule.expressions and rule.expressions[-1] in jumps:
                    words = f"-D {chain} … -j {jumps[rule.expressions[-1]]}"
                    yield self._messages[table].delete_rule(chain, rule.handle, words)

    def rules_of(self, table: str, chain: str) -> list[tuple[int, str]]:
        """See `Applier.rules_of`; the text is iptables-save's, without `-A CHAIN`."""
        if self._applied is None:
            return []
        if (shared := self._shared.get((table, chain))) is not None:
            return shared.rules()
        if chain in BASE_CHAINS.get(table, ()):
            return self._jumps_of(table, chain, self._applied)
        lines = self._applied.chains(table).get(chain, ())
        handles = dump.handles(self._door.netlink, self.family, table, chain)
        return list(zip(handles, lines, strict=False))

    def _jumps_of(self, table: str, chain: str, ruleset: RuleSet) -> list[tuple[int, str]]:
        lines = {
            dump.canonical(attributes(self._encode(table, chain, line))[4]): line
            for line in ruleset.static.get(table, {}).get(chain, ())
        }
        return [
            (rule.handle, lines[rule.expressions])
            for rule in self._dumped(table, chain)
            if rule.expressions in lines
        ]


def _contents(
    ruleset: RuleSet,
) -> tuple[dict[Place, list[tuple[Owner, Lines]]], dict[str, Lines]]:
    """The shared chains' lines by owner, in order; and the Services' own chains (table nat)."""
    shared: dict[Place, list[tuple[Owner, Lines]]] = {
        (table, chain): [(HEAD, lines)]
        for table, chains in ruleset.static.items()
        for chain, lines in chains.items()
        if chain not in BASE_CHAINS[table]
    }
    own: dict[str, Lines] = {}
    for name, rules in ruleset.ordered():
        for place, lines in rules.shared.items():
            shared[place].append(((1, name), lines))
        own.update(rules.chains)
    for place, lines in ruleset.tail.items():
        shared[place].append((TAIL, lines))
    return shared, own


def _wanted(difference: Difference, place: Place) -> dict[Owner, Lines]:
    return {
        (1, name): after.shared.get(place, ()) if after is not None else ()
        for name, (_, after) in difference.services.items()
    }


def _handle_of(received: Received) -> int:
    return int.from_bytes(attributes(received.payload, 4)[3], "big")
