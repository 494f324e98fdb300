"""`impair` in the words of a lab: machines, nodes and Pods instead of interfaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from testbed.emu.spec import TopologySpec, interface_mac
from testbed.errors import UsageError
from testbed.fabric.fabric import Fabric
from testbed.fabric.impair import Direction, End, Impairments, Quality, Side

DIRECTIONS = ("in", "out", "both")


class LabImpairments:
    """Impairs places of a lab, which are names of namespaces (`w1`, `client`, `default.web-0`).

    `addresses_of(place)` are a Pod's or machine's addresses.
    """

    def __init__(
        self,
        fabric: Fabric,
        topology: TopologySpec,
        addresses_of: Callable[[str], Sequence[str]],
    ) -> None:
        self._fabric = fabric
        self._topology = topology
        self._addresses_of = addresses_of
        self._impairments = Impairments(fabric)
        self._down: set[End] = set()

    def worsen(self, place: str, quality: Quality, direction: str = "both") -> None:
        """Impair every cable of a place. Raises UsageError, CannotRunError."""
        for near, far in self._cables(place):
            self._impairments.worsen(near, far, quality, _direction(direction))

    def cut(self, place: str, direction: str = "both") -> None:
        """A place's links carry nothing any more: they are down, or deaf or mute one way."""
        if _direction(direction) != "both":
            self.worsen(place, Quality(loss=1.0), direction)
            return
        for _, far in self._cables(place):
            self._fabric.set_link(*far, up=False)
            self._down.add(far)

    def mend(self, place: str) -> None:
        """A place's links are as good as new."""
        ends = self._cables(place)
        for _, far in ends:
            if far in self._down:
                self._fabric.set_link(*far, up=True)
                self._down.discard(far)
        self._impairments.clear([place, *(far[0] for _, far in ends if far[0] != place)])

    def partition(
        self, one: Iterable[str], other: Iterable[str], *, both_ways: bool = True
    ) -> None:
        """Nothing from the places `one` reaches those of `other` (with `both_ways`, nor back)."""
        left, right = [self._side(p) for p in one], [self._side(p) for p in other]
        if twice := {side.namespace for side in left} & {side.namespace for side in right}:
            raise UsageError(f"{', '.join(sorted(twice))}: on both sides of the partition")
        for here in left:
            for there in right:
                self._impairments.separate(here, there, both_ways=both_ways)

    def clear(self) -> None:
        """Everything is as good as new."""
        known = {namespace.name for namespace in self._fabric.namespaces()}
        for end in [end for end in self._down if end[0] in known]:
            self._fabric.set_link(*end, up=True)
        self._down.clear()
        self._impairments.clear()

    @property
    def places(self) -> list[str]:
        """Where something is impaired (for a link that is down: its far end)."""
        return sorted({*self._impairments.places, *(name for name, _ in self._down)})

    def _cables(self, place: str) -> list[tuple[End, End]]:
        """(near end, far end) of a machine's cables, or of a Pod's link."""
        self._fabric.namespace(place)  # UsageError for an unknown one
        ends = [(cable.left, cable.right) for cable in self._topology.cables]
        ends += [(right, left) for left, right in ends]
        found = [(near, far) for near, far in ends if near[0] == place]
        return found or self._fabric.cables(place)

    def _side(self, place: str) -> Side:
        macs = [
            interface_mac(*near) for near, _ in self._cables(place) if self._is_machine(near[0])
        ]
        return Side(place, tuple(macs), tuple(self._addresses_of(place)))

    def _is_machine(self, name: str) -> bool:
        return any(machine.name == name for machine in self._topology.machines)


def _direction(word: str) -> Direction:
    for known in ("in", "out", "both"):
        if word == known:
            return known
    raise UsageError(f"direction {word!r}: one of {', '.join(DIRECTIONS)}")
