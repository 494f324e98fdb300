"""nftables mode's way into the kernel: RuleSets as nf_tables transactions.

A partial sync is one transaction. A full sync is several, in an order in which every step leaves
working rules: the shared sets and chains; the Services' chains by the hundred; then, at once, all
elements that lead to them; last, what nothing leads to any more.

A full sync looks at everything and writes what differs. What a first one costs is the kernel
walking the list of the table's sets, by name, four times for every new set (that the name is free,
twice; to add its elements; for the rule's lookup), and inside a large transaction also the list of
its steps. So transactions are small, and anonymous sets get finished names: `__map%d` as nft sends
it would cost a walk that scans every name for the first free number.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from testbed.netlink import attributes
from testbed.proxy.kernel import dump
from testbed.proxy.kernel.applier import NetlinkApplier
from testbed.proxy.kernel.messages import Message, TableMessages
from testbed.proxy.kernel.transaction import Namespace, RuleError
from testbed.proxy.nftables.encode import encode_hook, encode_rule, rule_userdata
from testbed.proxy.nftables.encode_set import (
    SET_ANONYMOUS,
    element,
    encode_set,
    same_set,
    userdata_comment,
)
from testbed.proxy.nftables.keys import Unencodable, pack_key
from testbed.proxy.nftables.ruleset import (
    TABLE,
    TABLE_COMMENT,
    Chain,
    Difference,
    ElementKey,
    ElementValue,
    RuleSet,
    ServiceRules,
    SetSpec,
)

#: Services in one transaction of a full sync.
SERVICES_AT_ONCE = 500
#: Elements in one message: an attribute holds less than 64 KiB, an element less than 700 bytes.
_ELEMENTS_AT_ONCE = 80

T = TypeVar("T")


class NftablesApplier(NetlinkApplier[RuleSet]):
    """One family's rules of nftables mode in one namespace. See `Applier`."""

    def __init__(self, namespace: Namespace, family: str) -> None:
        super().__init__(namespace, family)
        self._messages = TableMessages(family, TABLE)
        self._numbers = itertools.count(1)
        self._names_taken: set[str] = set()
        self._key_types: dict[str, tuple[str, ...]] = {}

    # Full

    def _sync_fully(self, ruleset: RuleSet) -> int:
        there = self._present(ruleset)
        self._key_types = {spec.name: tuple(spec.key_type.split(" . ")) for spec in ruleset.sets}
        rules = self._put_frame(ruleset, there)
        for services in _chunks(list(ruleset.ordered()), SERVICES_AT_ONCE):
            rules += self._put_services([rules_of for _, rules_of in services], there)
        rules += self._put_elements(ruleset, there)
        self._remove_stale(ruleset, there)
        return rules

    def _present(self, ruleset: RuleSet) -> _Present:
        """What the table holds. One with shared sets of other types isn't ours and is deleted."""
        netlink = self._door.netlink
        if TABLE not in dump.tables(netlink, self.family):
            return _Present({}, {})
        sets = dump.sets(netlink, self.family, TABLE)
        for spec in ruleset.sets:
            if spec.name in sets and not same_set(self._encode_set(spec), sets[spec.name]):
                self._door.commit([self._messages.delete_table()])
                return _Present({}, {})
        self._names_taken = set(sets)
        named = {name: held for name, held in sets.items() if not _is_anonymous(held)}
        return _Present(self._chains_there(), named)

    def _chains_there(self) -> dict[str, list[bytes]]:
        """The table's chains with their rules' user data."""
        netlink = self._door.netlink
        found: dict[str, list[bytes]] = {
            chain.name: [] for chain in dump.chains(netlink, self.family) if chain.table == TABLE
        }
        found.update(dump.userdata(netlink, self.family, TABLE))
        return found

    def _put_frame(self, ruleset: RuleSet, there: _Present) -> int:
        """The table, its shared sets and its base and shared chains with their rules."""
        chains = [chain for chain in ruleset.chains if not there.has(chain)]
        batch = [self._messages.new_table(userdata_comment(TABLE_COMMENT))]
        batch += [self._new_set(spec) for spec in ruleset.sets if spec.name not in there.sets]
        batch += self._chains(
            chains, {chain.name for chain in chains if chain.name in there.chains}
        )
        self._door.commit(batch)
        return sum(len(chain.rules) for chain in chains)

    def _put_services(self, services: Iterable[ServiceRules], there: _Present) -> int:
        """Chains and sets of some Services; nothing leads to the new ones yet.

        A set that is right stays, with the clients that it remembers.
        """
        chains = [chain for rules in services for chain in rules.chains if not there.has(chain)]
        sets = [
            spec
            for rules in services
            for spec in rules.sets
            if not same_set(self._encode_set(spec), there.sets.get(spec.name, {}))
        ]
        replaced = [spec.name for spec in sets if spec.name in there.sets]
        if replaced:
            chains = [chain for rules in services for chain in rules.chains]
        batch = [self._messages.flush_chain(c.name) for c in chains if c.name in there.chains]
        batch += [self._messages.delete_set(name) for name in replaced]
        batch += [self._new_set(spec) for spec in sets]
        batch += self._chains(chains, set())
        self._door.commit(batch)
        return sum(len(chain.rules) for chain in chains)

    def _put_elements(self, ruleset: RuleSet, there: _Present) -> int:
        """Bring the shared sets from what they hold to what they should, all at once."""
        removed: dict[str, list[bytes]] = {}
        added: dict[str, dict[str, ElementValue]] = {}
        for name, wanted in ruleset.contents().items():
            kinds = self._key_types[name]
            held = self._held(name) if name in there.sets else {}
            packed = {pack_key(key, kinds): (key, value) for key, value in wanted.items()}
            same = {
                key
                for key, (text, value) in packed.items()
                if held.get(key) == _payload_of(memoryview(self._element(name, text, value))[4:])
            }
            removed[name] = [element(key) for key in held if key not in same]
            added[name] = dict(pair for key, pair in packed.items() if key not in same)
        batch = [
            self._messages.delete_elements(name, some, f"elements of {name}")
            for name, elements in removed.items()
            for some in _chunks(elements, _ELEMENTS_AT_ONCE)
        ]
        for name, values in added.items():
            batch += self._additions(name, values)
        self._door.commit(batch)
        return sum(len(values) for values in added.values())

    def _held(self, name: str) -> dict[bytes, bytes]:
        """The elements of a set: key to everything that is kept of an element."""
        return {
            bytes(attributes(attributes(body)[1])[1]): _payload_of(body)
            for body in dump.elements(self._door.netlink, self.family, TABLE, name)
        }

    def _payloads(self, name: str, values: Mapping[str, ElementValue]) -> dict[bytes, bytes]:
        """What `_held` reads of these elements."""
        kinds = self._key_types[name]
        return {
            pack_key(key, kinds): _payload_of(memoryview(self._element(name, key, value))[4:])
            for key, value in values.items()
        }

    def _remove_stale(self, ruleset: RuleSet, there: _Present) -> None:
        """Delete what is in the table and not in `ruleset`.

        Kernels before 6.2 give up the references of deleted elements late and answer EBUSY: then
        it stays, without harm, until the next full sync.
        """
        chains = there.chains.keys() - {chain.name for chain in ruleset.all_chains()}
        sets = there.sets.keys() - {spec.name for spec in ruleset.all_sets()}
        batch = [self._messages.flush_chain(name) for name in sorted(chains)]
        batch += [self._messages.delete_chain(name) for name in sorted(chains)]
        batch += [self._messages.delete_set(name) for name in sorted(sets)]
        try:
            self._door.commit(batch)
        except RuleError as error:
            if error.code != errno.EBUSY:
                raise

    # Partial

    def _sync_partially(self, difference: Difference) -> int:
        messages = self._messages
        chains, sets = difference.chains(), difference.sets()
        gone = [before for before, after in chains.values() if before and not after]
        written = [after for _, after in chains.values() if after]
        existing = {before.name for before, _ in chains.values() if before}
        batch = [messages.flush_chain(chain.name) for chain in written if chain.name in existing]
        old_elements = _by_set((key, old) for key, (old, _) in difference.elements.items() if old)
        new_elements = _by_set((key, new) for key, (_, new) in difference.elements.items() if new)
        for name, values in old_elements.items():
            batch += self._removals(name, values)
        batch += [messages.flush_chain(chain.name) for chain in gone]
        batch += [messages.delete_chain(chain.name) for chain in gone]
        batch += [messages.delete_set(name) for name, (before, _) in sets.items() if before]
        batch += [self._new_set(after) for _, after in sets.values() if after]
        # A chain that is new to us may be one that _remove_stale had to leave.
        batch += self._chains(written, {chain.name for chain in written} - existing)
        for name, values in new_elements.items():
            batch += self._additions(name, values)
        self._door.commit(batch)
        return sum(len(chain.rules) for chain in written) + len(difference.elements)

    # Messages

    def _new_set(self, spec: SetSpec) -> Message:
        return self._messages.new_set(spec.name, self._encode_set(spec), next(self._numbers))

    def _encode_set(self, spec: SetSpec) -> bytes:
        try:
            return encode_set(
                spec.key_type, spec.value_type, spec.comment, spec.flags, spec.size, spec.timeout
            )
        except (Unencodable, KeyError) as error:
            raise self._error(f"{spec.kind} {spec.name}", str(error)) from error

    def _chains(self, chains: Iterable[Chain], emptied: set[str]) -> Iterator[Message]:
        """Make all chains, empty those in `emptied`, then add the rules: they may jump anywhere."""
        chains = list(chains)
        for chain in chains:
            hook = encode_hook(chain.hook) if chain.hook else None
            comment = userdata_comment(chain.comment) if chain.comment else b""
            yield self._messages.new_chain(chain.name, hook, comment)
        for chain in chains:
            if chain.name in emptied:
                yield self._messages.flush_chain(chain.name)
        for chain in chains:
            for line in chain.rules:
                yield from self._rule(chain.name, line)

    def _rule(self, chain: str, line: str) -> Iterator[Message]:
        words = f"{chain}: {line}"
        try:
            encoded = encode_rule(self.family, line, self._allocate)
        except Unencodable as error:
            raise self._error(words, str(error)) from error
        for each in encoded.sets:
            yield self._messages.new_set(each.name, each.attributes, each.number, words)
            for some in _chunks(each.elements, _ELEMENTS_AT_ONCE):
                yield self._messages.new_elements(each.name, some, words, set_id=each.number)
        yield self._messages.new_rule(chain, encoded.attributes, words)

    def _allocate(self) -> tuple[str, int]:
        """A name and a number for an anonymous set.

        Short, because the kernel compares it with every set's of the table, and names of up to
        seven characters lie close together in its memory.
        """
        for number in self._numbers:
            if (name := _base36(number)) not in self._names_taken:
                return name, number
        raise AssertionError("itertools.count has no end")

    def _element(self, name: str, key: str, value: ElementValue) -> bytes:
        try:
            packed = pack_key(key, self._key_types[name])
            return element(packed, verdict=value.verdict, comment=value.comment)
        except (Unencodable, KeyError, ValueError, OverflowError, OSError) as error:
            raise self._error(f"element {key} of {name}", str(error)) from error

    def _additions(self, name: str, values: Mapping[str, ElementValue]) -> Iterator[Message]:
        for some in _chunks(list(values.items()), _ELEMENTS_AT_ONCE):
            packed = [self._element(name, key, value) for key, value in some]
            words = f"elements of {name}: {', '.join(key for key, _ in some)}"
            yield self._messages.new_elements(name, packed, words)

    def _removals(self, name: str, values: Mapping[str, ElementValue]) -> Iterator[Message]:
        kinds = self._key_types[name]
        for some in _chunks(list(values), _ELEMENTS_AT_ONCE):
            packed = [element(pack_key(key, kinds)) for key in some]
            words = f"elements of {name}: {', '.join(some)}"
            yield self._messages.delete_elements(name, packed, words)

    def _error(self, line: str, reason: str) -> RuleError:
        return RuleError(self.namespace.name, TABLE, line, reason, errno.EINVAL)

    # Watching and cleaning up

    def _all_there(self, ruleset: RuleSet) -> bool:
        """Rules are known by their user data; elements are compared."""
        if TABLE not in dump.tables(self._door.netlink, self.family):
            return False
        sets = dump.sets(self._door.netlink, self.family, TABLE)
        if any(spec.name not in sets for spec in ruleset.all_sets()):
            return False
        there = _Present(self._chains_there(), sets)
        if not all(there.has_at_least(chain) for chain in ruleset.all_chains()):
            return False
        return all(
            self._held(name) == self._payloads(name, values)
            for name, values in ruleset.contents().items()
        )

    def cleanup(self) -> None:
        """See `Applier.cleanup`: the table is wholly ours."""
        self._applied = None
        if TABLE in dump.tables(self._door.netlink, self.family):
            self._door.commit([self._messages.delete_table()])

    def rules_of(self, table: str, chain: str) -> list[tuple[int, str]]:
        """See `Applier.rules_of`; the text is nft's."""
        if self._applied is None or table != TABLE:
            return []
        lines = next((c.rules for c in self._applied.all_chains() if c.name == chain), ())
        handles = dump.handles(self._door.netlink, self.family, table, chain)
        return list(zip(handles, lines, strict=False))


class _Present:
    """What the table held before a full sync: chains with their rules' user data, and sets."""

    def __init__(
        self, chains: Mapping[str, list[bytes]], sets: Mapping[str, Mapping[int, bytes]]
    ) -> None:
        self.chains = chains
        self.sets = sets

    def has(self, chain: Chain) -> bool:
        """Whether `chain` is there with the very rules that it should have."""
        return self.chains.get(chain.name) == [rule_userdata(line) for line in chain.rules]

    def has_at_least(self, chain: Chain) -> bool:
        """Whether all rules of `chain` are there, in order; strangers' may stand between them."""
        held = iter(self.chains.get(chain.name, ()))
        return chain.name in self.chains and all(
            rule_userdata(line) in held for line in chain.rules
        )


def _is_anonymous(held: Mapping[int, bytes]) -> bool:
    return bool(int.from_bytes(held.get(3, b""), "big") & SET_ANONYMOUS)


def _payload_of(body: memoryview) -> bytes:
    """What of an element is the same in what is sent and what is dumped: key, data, comment."""
    held = attributes(body)
    return b"".join(bytes(held[kind]) if kind in held else b"-" for kind in (1, 2, 6))


def _by_set(
    elements: Iterable[tuple[ElementKey, ElementValue]],
) -> dict[str, dict[str, ElementValue]]:
    found: dict[str, dict[str, ElementValue]] = {}
    for key, value in elements:
        found.setdefault(key.container, {})[key.key] = value
    return found


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
