"""A chain that many owners fill, in their order: which single rules to insert and delete.

Every owner's lines stay together, sorted by the owner's key. A change touches only that owner's
rules: an insertion goes after the nearest rule before it, found by its handle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple, TypeAlias

#: Who owns lines: a rank (head, Services, tail), and a name within it.
Owner: TypeAlias = tuple[int, tuple[str, ...]]


class Insertion(NamedTuple):
    """Rules to add in the order given here, each at `after` (a handle; 0: the chain's start)."""

    line: str
    after: int


class Change(NamedTuple):
    """What turns the chain's present rules into the wanted ones.

    `inserted[i]` belongs to `owners[i]`; the rules of one owner come last line first, because each
    is put right after the same rule.
    """

    deleted: tuple[tuple[int, str], ...]
    inserted: tuple[Insertion, ...]
    owners: tuple[Owner, ...]


class SharedChain:
    """One chain's rules by owner, with the handles that the kernel gave them."""

    def __init__(self, entries: list[tuple[Owner, tuple[str, ...]]], handles: list[int]) -> None:
        """`entries` in order, with one handle per line in the same order."""
        self._keys = [key for key, lines in entries if lines]
        self._lines: dict[Owner, tuple[str, ...]] = {}
        self._handles: dict[Owner, tuple[int, ...]] = {}
        place = 0
        for key, lines in entries:
            if lines:
                self._lines[key] = lines
                self._handles[key] = tuple(handles[place : place + len(lines)])
                place += len(lines)

    def change(self, wanted: Mapping[Owner, tuple[str, ...]]) -> Change:
        """What to do so that the owners in `wanted` have these lines; () for none."""
        changed = {key: lines for key, lines in wanted.items() if self.lines(key) != lines}
        deleted = [
            pair
            for key in changed
            for pair in zip(self._handles.get(key, ()), self.lines(key), strict=True)
        ]
        inserted: list[Insertion] = []
        owners: list[Owner] = []
        for key in sorted(changed, reverse=True):
            after = self._handle_before(key, changed)
            for line in reversed(changed[key]):
                inserted.append(Insertion(line, after))
                owners.append(key)
        return Change(tuple(deleted), tuple(inserted), tuple(owners))

    def done(
        self, wanted: Mapping[Owner, tuple[str, ...]], change: Change, handles: list[int]
    ) -> None:
        """Take over `change`, whose insertions got `handles`."""
        given: dict[Owner, list[int]] = {}
        for owner, handle in zip(change.owners, handles, strict=True):
            given.setdefault(owner, []).insert(0, handle)
        for key, lines in wanted.items():
            if self.lines(key) == lines:
                continue
            place = bisect_left(self._keys, key)
            known = place < len(self._keys) and self._keys[place] == key
            if lines:
                if not known:
                    self._keys.insert(place, key)
                self._lines[key] = lines
                self._handles[key] = tuple(given[key])
            elif known:
                del self._keys[place]
                del self._lines[key], self._handles[key]

    def handles(self) -> Iterator[int]:
        """The handles of all rules."""
        return chain.from_iterable(self._handles.values())

    def lines(self, key: Owner) -> tuple[str, ...]:
        return self._lines.get(key, ())

    def rules(self) -> list[tuple[int, str]]:
        """Every (handle, line), in order."""
        return [
            pair
            for key in self._keys
            for pair in zip(self._handles[key], self._lines[key], strict=True)
        ]

    def _handle_before(self, key: Owner, changed: Mapping[Owner, tuple[str, ...]]) -> int:
        place = bisect_left(self._keys, key) - 1
        while place >= 0 and self._keys[place] in changed:
            place -= 1
        return self._handles[self._keys[place]][-1] if place >= 0 else 0
