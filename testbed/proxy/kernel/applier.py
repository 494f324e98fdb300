"""What a mode's applier offers, whatever its rules look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

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
