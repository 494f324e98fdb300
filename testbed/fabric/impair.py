"""Bad networks: loss, cuts and partitions by rules, rates and delays by queueing disciplines.

Drops are rules of a table of their own in the namespace that is impaired, so that a traced packet
names them; rates (tbf) and delays (netem, which some kernels lack) shape what leaves an interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from testbed.errors import UsageError
from testbed.fabric import queueing
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace
from testbed.shell import find_program

#: Seen from the impaired place: what it sends, what it gets.
Direction: TypeAlias = Literal["out", "in", "both"]
#: (namespace, interface)
End: TypeAlias = tuple[str, str]

TABLE = "testbed_impair"
#: Loss is counted in millionths.
_LOSS_UNIT = 1_000_000
#: A token bucket's size: at least a few packets, and what arrives in 10 ms.
_BURST = 16_000
#: How long a packet may wait for its tokens, in seconds.
_LATENCY = 0.05


@dataclass(frozen=True, slots=True)
class Quality:
    """What is wrong with a way: `delay` in seconds, `loss` as a share, `rate` in bits per second.

    Zero means nothing is. A `loss` of 1 lets nothing pass.
    """

    delay: float = 0.0
    loss: float = 0.0
    rate: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 1:
            raise UsageError(f"loss {self.loss:g}: a share from 0 to 1")
        if self.delay < 0 or self.rate < 0:
            raise UsageError("delay and rate can't be negative")


@dataclass(frozen=True, slots=True)
class _Drop:
    """A rule of a namespace: where it stands, and its text."""

    hook: Literal["prerouting", "postrouting"]
    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a partition: a namespace, and what its packets are known by at the other side.

    `macs` name what comes from it on one Ethernet, `addresses` what comes through routers.
    """

    namespace: str
    macs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Impairments:
    """What is impaired in one fabric; `clear` makes everything good again.

    A namespace that is gone takes its impairments with it. Raises CannotRunError for a delay where
    the kernel has no netem.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._drops: dict[str, list[_Drop]] = {}
        self._shaped: set[End] = set()

    @property
    def places(self) -> list[str]:
        """The namespaces that have an impairment, by name."""
        return sorted({*self._drops, *(name for name, _ in self._shaped)})

    def worsen(self, near: End, far: End, quality: Quality, direction: Direction) -> None:
        """Impair the cable from `near` (the impaired place) to `far`."""
        namespace, interface = near
        if quality.delay or quality.rate:
            for end, ways in ((near, ("out", "both")), (far, ("in", "both"))):
                if direction in ways:
                    self._shape(end, quality)
        if not quality.loss:
            return
        chance = f"numgen random mod {_LOSS_UNIT} < {round(quality.loss * _LOSS_UNIT)} "
        words = "" if quality.loss == 1 else chance
        drops = []
        if direction in ("in", "both"):
            drops.append(_Drop("prerouting", f'iifname "{interface}" {words}counter drop'))
        if direction in ("out", "both"):
            drops.append(_Drop("postrouting", f'oifname "{interface}" {words}counter drop'))
        self._add(namespace, drops)

    def separate(self, one: Side, other: Side, *, both_ways: bool = True) -> None:
        """Nothing from `one` arrives at `other`; with `both_ways` nor the other way round."""
        self._add(other.namespace, _from(one))
        if both_ways:
            self._add(one.namespace, _from(other))

    def clear(self, namespaces: Iterable[str] | None = None) -> None:
        """Take impairments back: those of these namespaces, or all."""
        chosen = set(self.places) if namespaces is None else set(namespaces)
        for name in chosen & self._drops.keys():
            del self._drops[name]
            if (place := self._find(name)) is not None:
                _nft(place, f"table inet {TABLE}\ndelete table inet {TABLE}\n")
        for end in [end for end in self._shaped if end[0] in chosen]:
            self._shaped.discard(end)
            if (place := self._find(end[0])) is not None:
                queueing.clear(place, end[1])

    def _find(self, name: str) -> Namespace | None:
        return next((n for n in self._fabric.namespaces() if n.name == name), None)

    def _add(self, namespace: str, drops: Sequence[_Drop]) -> None:
        wanted = [*self._drops.get(namespace, ()), *drops]
        _nft(self._fabric.namespace(namespace), _ruleset(wanted))
        self._drops[namespace] = wanted

    def _shape(self, end: End, quality: Quality) -> None:
        place = self._fabric.namespace(end[0])
        queueing.clear(place, end[1])
        self._shaped.discard(end)
        if quality.rate:
            burst = max(_BURST, quality.rate // 8 // 100)
            queueing.limit_rate(place, end[1], quality.rate, burst, _LATENCY)
            self._shaped.add(end)
        if quality.delay:
            queueing.delay(place, end[1], quality.delay, below_rate=bool(quality.rate))
            self._shaped.add(end)


def _from(side: Side) -> list[_Drop]:
    """Drop what comes from the side."""
    lines = [f"ether saddr {mac} counter drop" for mac in side.macs]
    for address in side.addresses:
        family = "ip6" if ":" in address else "ip"
        lines.append(f"{family} saddr {address} counter drop")
    return [_Drop("prerouting", line) for line in lines]


def _ruleset(drops: Sequence[_Drop]) -> str:
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    for hook, priority in (("prerouting", -290), ("postrouting", 200)):
        rules = [f"    {drop.text}" for drop in drops if drop.hook == hook]
        if rules:
            head = f"    type filter hook {hook} priority {priority}; policy accept;"
            lines += [f"  chain {hook} {{", head, *rules, "  }"]
    return "\n".join([*lines, "}", ""])


def _nft(place: Namespace, text: str) -> None:
    place.run([find_program("nft", "nftables"), "-f", "-"], input=text)
