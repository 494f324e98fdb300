"""iptables mode's way into the kernel: RuleSets as nf_tables transactions, as iptables-nft's own.

One transaction per sync. A full sync empties and refills every chain of ours and deletes the
Services' chains that are no longer wanted; a partial one touches the changed Services' chains and
single rules of the chains that all Services share. Base chains, tables and other people's rules are
only ever added to.
"""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from testbed.errors import CannotRunError
from testbed.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NetlinkError,
    Received,
    attributes,
)
from testbed.proxy.iptables.encode import accounting, counters_used, encode
from testbed.proxy.iptables.extensions import Unencodable
from testbed.proxy.iptables.ruleset import BASE_CHAINS, Difference, Lines, RuleSet
from testbed.proxy.kernel import dump
from testbed.proxy.kernel.applier import NetlinkApplier
from testbed.proxy.kernel.expressions import GOTO, JUMP, immediate_verdict
from testbed.proxy.kernel.messages import Hook, Message, TableMessages
from testbed.proxy.kernel.shared_chain import Change, Owner, SharedChain
from testbed.proxy.kernel.transaction import Namespace, RuleError, Transactions

#: Priorities of iptables' base chains (linux/netfilter_ipv4.h); type is the table's, except where
#: mangle's OUTPUT may reroute.
_PRIORITIES = {
    ("mangle", ""): -150,
    ("filter", ""): 0,
    ("nat", "PREROUTING"): -100,
    ("nat", "INPUT"): 100,
    ("nat", "OUTPUT"): -100,
    ("nat", "POSTROUTING"): 100,
}
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
_NFACCT_NEW = 7 << 8

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
            batch += self._missing_base_chains(table, existing)
        batch += [self._messages[table].new_chain(chain) for table, chain in wanted - existing]
        batch += [self._messages[table].flush_chain(chain) for table, chain in wanted & existing]
        stale = {
            place
            for place in existing - wanted
            if place[0] == "nat" and SERVICE_CHAIN.match(place[1])
        }
        batch += [self._messages[table].flush_chain(chain) for table, chain in stale]
        rules = 0
        for name, lines in own.items():
            batch += self._rules("nat", name, lines)
            rules += len(lines)
        echoed: dict[Place, tuple[int, int]] = {}
        for (table, chain), entries in shared.items():
            lines = tuple(line for _, ls in entries for line in ls)
            if lines:
                echoed[table, chain] = (len(batch), len(batch) + len(lines) - 1)
                batch += self._rules(table, chain, lines, echo_ends=True)
                rules += len(lines)
        batch += self._missing_jumps(ruleset, existing)
        batch += [self._messages[table].delete_chain(chain) for table, chain in stale]
        answers = self._door.commit(batch)
        self._shared = {
            place: SharedChain(entries, self._handles(place, entries, echoed, answers))
            for place, entries in shared.items()
        }
        return rules

    def _missing_base_chains(self, table: str, existing: set[Place]) -> Iterable[Message]:
        """The table and its base chains as iptables-nft makes them."""
        yield self._messages[table].new_table()
        for chain in BASE_CHAINS[table]:
            if (table, chain) not in existing:
                kind = "route" if (table, chain) == ("mangle", "OUTPUT") else table
                kind = "filter" if kind == "mangle" else kind
                priority = _PRIORITIES.get((table, ""), 0) or _PRIORITIES.get((table, chain), 0)
                yield self._messages[table].new_chain(chain, Hook(kind, chain.lower(), priority))

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

    def _rules(
        self, table: str, chain: str, lines: Lines, *, echo_ends: bool = False
    ) -> list[Message]:
        new_rule = self._messages[table].new_rule
        last = len(lines) - 1
        return [
            new_rule(
                chain,
                self._encode(table, chain, line),
                f"-A {chain} {line}",
                echo=echo_ends and place in (0, last),
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
        rules = 0
        for name, lines in lines_of.items():
            batch += self._rules("nat", name, lines)
            rules += len(lines)
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
        """A chain's uses are its rules and the jumps to it: too few means something is gone."""
        uses = {
            (chain.table, chain.name): chain.uses
            for chain in dump.chains(self._door.netlink, self.family)
        }
        if any(uses.get(place, -1) < least for place, least in _least_uses(ruleset).items()):
            return False
        existing = set(uses)
        return not any(True for _ in self._missing_jumps(ruleset, existing))

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


def _least_uses(ruleset: RuleSet) -> dict[Place, int]:
    """Of every chain of ours: its rules and the jumps to it that we know of."""
    uses: dict[Place, int] = {}
    for table in ruleset.static:
        chains = ruleset.chains(table)
        for chain, lines in chains.items():
            if chain not in BASE_CHAINS[table]:
                uses[table, chain] = uses.get((table, chain), 0) + len(lines)
            for line in lines:
                target = line.rpartition("-j ")[2]
                if target in chains:
                    uses[table, target] = uses.get((table, target), 0) + 1
    return uses


def _handle_of(received: Received) -> int:
    return int.from_bytes(attributes(received.payload, 4)[3], "big")


def make_counter(door: Transactions, name: str) -> None:
    """Make nfacct counter `name` unless it is there; CannotRunError where the kernel has none."""
    header = struct.pack(">BBH", 0, 0, 0)
    try:
        door.netlink.request(_NFACCT_NEW, NLM_F_CREATE | NLM_F_EXCL, header + accounting(name))
    except NetlinkError as error:
        if error.errno == errno.EEXIST:
            return
        raise CannotRunError(
            f"{door.namespace}: no nfacct counter {name}: {error.strerror}"
        ) from error
