"""Who watches what, and has been told of everything: by the address that the watches come from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.control.apiserver.watch import Watch


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    peer: str
    resource: str
    watch: Watch


class Watchers:
    """The watches that are open."""

    def __init__(self) -> None:
        self._open: list[_Open] = []

    @contextmanager
    def entered(self, peer: str, resource: str, watch: Watch) -> Iterator[None]:
        """`watch` is open, from address `peer`, until the context ends."""
        entry = _Open(peer, resource, watch)
        self._open.append(entry)
        try:
            yield
        finally:
            self._open.remove(entry)

    def watches(self, resource: str) -> bool:
        """Whether anybody watches `resource`."""
        return any(entry.resource == resource for entry in self._open)

    def told(self, peers: Collection[str]) -> set[str]:
        """The resources that somebody at `peers` watches, and knows the present state of.

        A resource of which one of several watches lags behind isn't among them.
        """
        watches = [entry for entry in self._open if entry.peer in peers]
        behind = {entry.resource for entry in watches if not entry.watch.up_to_date}
        return {entry.resource for entry in watches} - behind
