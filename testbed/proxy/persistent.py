"""An immutable mapping whose versions share what they have in common.

A change costs one bucket, and two versions are compared by identity of their buckets: so neither a
change nor finding it grows with the number of Services.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_BUCKETS = 1024


class PersistentMap(Mapping[K, V], Generic[K, V]):
    """A frozen mapping in no order; `with_changes` makes the next version."""

    __slots__ = ("_buckets", "_length")

    def __init__(self, items: Iterable[tuple[K, V]] = ()) -> None:
        self._buckets: tuple[dict[K, V], ...] = ({},) * _BUCKETS
        self._length = 0
        built = self.with_changes(items)
        self._buckets, self._length = built._buckets, built._length

    def with_changes(
        self, put: Iterable[tuple[K, V]] = (), drop: Iterable[K] = ()
    ) -> PersistentMap[K, V]:
        """This map without the keys of `drop` and then with the pairs of `put`."""
        buckets = list(self._buckets)
        copied: set[int] = set()
        length = self._length
        for key in drop:
            index = hash(key) % _BUCKETS
            if key in buckets[index]:
                if index not in copied:
                    copied.add(index)
                    buckets[index] = dict(buckets[index])
                del buckets[index][key]
                length -= 1
        for key, value in put:
            index = hash(key) % _BUCKETS
            bucket = buckets[index]
            if index not in copied:
                copied.add(index)
                bucket = buckets[index] = dict(bucket)
            length += key not in bucket
            bucket[key] = value
        made: PersistentMap[K, V] = object.__new__(PersistentMap)
        made._buckets, made._length = tuple(buckets), length
        return made

    def difference(self, previous: PersistentMap[K, V]) -> dict[K, tuple[V | None, V | None]]:
        """Every key whose value isn't equal in both: (previous value, value), None for absent."""
        changed: dict[K, tuple[V | None, V | None]] = {}
        for old, new in zip(previous._buckets, self._buckets, strict=True):
            if old is new:
                continue
            for key, value in new.items():
                before = old.get(key)
                if before is not value and before != value:
                    changed[key] = (before, value)
            for key, value in old.items():
                if key not in new:
                    changed[key] = (value, None)
        return changed

    def __getitem__(self, key: K) -> V:
        return self._buckets[hash(key) % _BUCKETS][key]

    def __iter__(self) -> Iterator[K]:
        for bucket in self._buckets:
            yield from bucket

    def __len__(self) -> int:
        return self._length
