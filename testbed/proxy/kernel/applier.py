"""What a mode's applier offers, whatever its rules look like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

from testbed.proxy.kernel import dump
from testbed.proxy.kernel.transaction import Namespace, RuleError, Transactions

R = TypeVar("R")
RuleSetT = TypeVar("RuleSetT", contravariant=True)

FULL = "full"
PARTIAL = "partial"
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one sync did: `rules` written (elements included), in how many transactions.

    `kind` is `full`, `partial` or `nothing` (the kernel had the rules already).
    """

    kind: str
    seconds: float
    rules: int
    transactions: int


class Applier(Protocol[RuleSetT]):
    """Brings RuleSets of one family into one namespace's kernel."""

    def sync(self, ruleset: RuleSetT) -> SyncReport:
        """Make the kernel hold exactly `ruleset`; what others own stays as it is.

        Raises RuleError naming table and line; the previous rules then still work, and the next
        sync is full.
        """

    def rules_present(self) -> bool:
        """False where someone deleted or flushed something of the last sync: the next is full."""

    def cleanup(self) -> None:
        """Remove this mode's rules and nothing else."""

    def rules_of(self, table: str, chain: str) -> list[tuple[int, str]]:
        """(handle, text) of a chain's rules of the last sync, in order."""

    def close(self) -> None:
        """Give the socket back; the rules stay."""


class NetlinkApplier(ABC, Generic[R]):
    """What both modes' appliers have in common: when a sync is full, and when the next must be.

    A RuleSet has `difference(previous)`, false where nothing changed; its `static` is true where
    more than Services did.
    """

    def __init__(self, namespace: Namespace, family: str) -> None:
        self.namespace = namespace
        self.family = family
        self._door = Transactions(namespace)
        self._applied: R | None = None
        self._generation: int | None = None

    def close(self) -> None:
        """See `Applier.close`."""
        self._door.close()

    def sync(self, ruleset: R) -> SyncReport:
        """See `Applier.sync`. A partial sync that the kernel refuses is tried in full at once."""
        started = perf_counter()
        count, generation = self._door.count, dump.generation(self._door.netlink)
        previous, self._applied = self._applied, None
        if previous is None:
            kind, rules = FULL, self._sync_fully(ruleset)
        else:
            kind, rules = self._sync_changes(ruleset, previous)
        self._applied = ruleset
        transactions = self._door.count - count
        if kind == FULL or (kind == PARTIAL and generation == self._generation):
            self._remember(generation + transactions)
        elif kind == PARTIAL:
            # Others were at work before: what they did is looked for at the next check.
            self._generation = None
        return SyncReport(kind, perf_counter() - started, rules, transactions)

    def _sync_changes(self, ruleset: Any, previous: R) -> tuple[str, int]:
        difference = ruleset.difference(previous)
        if not difference:
            return NOTHING, 0
        if difference.static:
            return FULL, self._sync_fully(ruleset)
        try:
            return PARTIAL, self._sync_partially(difference)
        except RuleError:
            return FULL, self._sync_fully(ruleset)

    def _remember(self, expected: int) -> None:
        """Each commit counts the generation up: any other number means that others were at work."""
        now = dump.generation(self._door.netlink)
        self._generation = now if now == expected else None

    def rules_present(self) -> bool:
        """See `Applier.rules_present`. Cheap while nobody has committed anything since."""
        if self._applied is None:
            return False
        generation = dump.generation(self._door.netlink)
        if generation == self._generation:
            return True
        if self._all_there(self._applied):
            self._generation = generation
            return True
        self._applied = None
        return False

    @abstractmethod
    def _sync_fully(self, ruleset: R) -> int:
        """Bring the kernel to `ruleset` whatever it holds; return the rules written."""

    @abstractmethod
    def _sync_partially(self, difference: Any) -> int:
        """Bring the kernel from the last RuleSet to the next; return the rules written."""

    @abstractmethod
    def _all_there(self, ruleset: R) -> bool:
        """Look in the kernel whether nothing of `ruleset` is missing."""
