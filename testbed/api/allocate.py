"""ClusterIPs and node ports: who has which, and which is next (catalogue 1.6, 1.7).

Both pools keep a band at their start for static requests: dynamic allocation starts at a random
place above it, scans on with a wrap, and comes to the band only when everything above is taken.
Sources: pkg/registry/core/service/ipallocator/{ipallocator,cidrallocator}.go and
pkg/registry/core/service/portallocator.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from testbed.api.objects import IPV4, IPV6
from testbed.api.validation.addresses import Address, Network

#: IPv6 ranges larger than this are accepted by the API and refused by the allocator.
SHORTEST_IPV6_PREFIX = 64

FULL = "range is full"
MISMATCH = "the provided network does not match the current range"
IP_TAKEN = "provided IP is already allocated"
PORT_TAKEN = "provided port is already allocated"
NOT_READY = "allocator not ready"

#: The node port that a dry run shows (after which explicit ones count on).
DRY_RUN_PORT = 32768


class AllocationError(ValueError):
    """Nothing can be had, or not what was asked for; the text is Kubernetes' own."""


def address_band(size: int) -> int:
    """How many addresses of a CIDR with `size` in all are for static requests."""
    return 0 if size <= 16 else min(max(16, size // 16), 256)


def port_band(size: int) -> int:
    """How many ports of a range of `size` are for static requests."""
    return 0 if size <= 16 else min(max(16, size // 32), 128)


def family_name(address: Address | Network) -> str:
    return IPV4 if address.version == 4 else IPV6


def usable(network: Network) -> tuple[int, int]:
    """First usable address and how many there are: without network and IPv4 broadcast address."""
    spare = 2 if network.version == 4 else 1
    return int(network.network_address) + 1, max(0, network.num_addresses - spare)


def find_free(
    first: int, size: int, band: int, taken: Container[int], rng: random.Random
) -> int | None:
    """A free number of `first` … `first + size - 1`, the static band last, or None."""
    for low, high in ((band, size), (0, band)):
        length = high - low
        if length <= 0:
            continue
        start = rng.randrange(length)
        for step in range(length):
            number = first + low + (start + step) % length
            if number not in taken:
                return number
    return None


class AddressPool:
    """The addresses of all ServiceCIDRs, each free, a Service's or an IPAddress object's."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ranges: dict[str, tuple[Network, ...]] = {}
        self._services: set[Address] = set()
        self._objects: set[Address] = set()

    def set_range(self, name: str, networks: Iterable[Network]) -> None:
        """Let ServiceCIDR `name` give out addresses of `networks`; none takes it out of use."""
        self._ranges[name] = tuple(
            n for n in networks if n.version == 4 or n.prefixlen >= SHORTEST_IPV6_PREFIX
        )

    def drop_range(self, name: str) -> None:
        self._ranges.pop(name, None)

    def networks(self, family: str) -> list[Network]:
        """The ranges of a family that give out addresses."""
        return [n for group in self._ranges.values() for n in group if family_name(n) == family]

    def covers(self, address: Address) -> bool:
        """True where some range can give out `address`."""
        for network in self.networks(family_name(address)):
            first, size = usable(network)
            if first <= int(address) < first + size:
                return True
        return False

    def taken(self, address: Address) -> bool:
        return address in self._services or address in self._objects

    def take(self, address: Address) -> None:
        """Take one address for a Service; raises AllocationError."""
        if not self.covers(address):
            raise AllocationError(MISMATCH)
        if self.taken(address):
            raise AllocationError(IP_TAKEN)
        self._services.add(address)

    def take_next(self, family: str) -> Address:
        """Take any address of `family` for a Service; raises AllocationError."""
        kind = ipaddress.IPv4Address if family == IPV4 else ipaddress.IPv6Address
        taken = _Taken(self, kind)
        for network in self.networks(family):
            first, size = usable(network)
            band = address_band(network.num_addresses)
            found = find_free(first, size, band, taken, self._rng)
            if found is not None:
                address = kind(found)
                self._services.add(address)
                return address
        raise AllocationError(FULL)

    def give_back(self, address: Address) -> None:
        self._services.discard(address)

    def restore(self, address: Address) -> None:
        """A stored Service has `address`, in whatever range."""
        self._services.add(address)

    def add_object(self, address: Address) -> None:
        """An IPAddress object stands for `address`."""
        self._objects.add(address)

    def drop_object(self, address: Address) -> None:
        self._objects.discard(address)

    def held(self) -> frozenset[Address]:
        """The addresses that Services have."""
        return frozenset(self._services)


class _Taken:
    """The addresses of a pool that are taken, as numbers of one family."""

    def __init__(
        self, pool: AddressPool, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]
    ) -> None:
        self._pool = pool
        self._kind = kind

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self._pool.taken(self._kind(number))


class PortPool:
    """Node ports `first` … `last`: one pool for every protocol."""

    def __init__(self, first: int, last: int, rng: random.Random) -> None:
        self.first = first
        self.last = last
        self._rng = rng
        self._taken: set[int] = set()

    def take(self, port: int) -> None:
        """Take one port; raises AllocationError."""
        if not self.first <= port <= self.last:
            raise AllocationError(
                "provided port is not in the valid range. "
                f"The range of valid ports is {self.first}-{self.last}"
            )
        if port in self._taken:
            raise AllocationError(PORT_TAKEN)
        self._taken.add(port)

    def take_next(self) -> int:
        """Take any port; raises AllocationError."""
        size = self.last - self.first + 1
        found = find_free(self.first, size, port_band(size), self._taken, self._rng)
        if found is None:
            raise AllocationError(FULL)
        self._taken.add(found)
        return found

    def give_back(self, port: int) -> None:
        self._taken.discard(port)

    def restore(self, port: int) -> None:
        """A stored Service has `port`, in whatever range."""
        self._taken.add(port)

    def held(self) -> frozenset[int]:
        """The ports that Services have."""
        return frozenset(self._taken)


@dataclass
class Transaction:
    """What one write takes from the pools and gives back.

    Taking happens at once, giving back at `commit`; `rollback` undoes either. A dry run takes
    nothing: it asks what addresses the pools cover, and which ports are taken.
    """

    addresses: AddressPool
    ports: PortPool
    dry_run: bool = False
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _later: list[tuple[Callable[[], None], Callable[[], None]]] = field(default_factory=list)
    _dry_ports: set[int] = field(default_factory=set)

    def take_address(self, address: Address) -> None:
        """Take one address; raises AllocationError."""
        if self.dry_run:
            if not self.addresses.covers(address):
                raise AllocationError(MISMATCH)
            return
        self.addresses.take(address)
        self._undo.append(lambda: self.addresses.give_back(address))

    def take_next_address(self, family: str) -> Address:
        """Take any address of `family`; a dry run shows a range's network address."""
        if self.dry_run:
            networks = self.addresses.networks(family)
            if not networks:
                raise AllocationError(NOT_READY)
            return networks[0].network_address
        address = self.addresses.take_next(family)
        self._undo.append(lambda: self.addresses.give_back(address))
        return address

    def take_port(self, port: int) -> None:
        """Take one port; raises AllocationError. To a dry run, a port out of range is free."""
        if self.dry_run:
            if port in self._dry_ports or port in self.ports.held():
                raise AllocationError(PORT_TAKEN)
            self._dry_ports.add(port)
            return
        self.ports.take(port)
        self._undo.append(lambda: self.ports.give_back(port))

    def take_next_port(self) -> int:
        """Take any port; a dry run shows a number that stands for one."""
        if self.dry_run:
            stand_in = max(self._dry_ports, default=DRY_RUN_PORT) + 1
            self._dry_ports.add(stand_in)
            return stand_in
        port = self.ports.take_next()
        self._undo.append(lambda: self.ports.give_back(port))
        return port

    def give_back_address(self, address: Address) -> None:
        """Give an address back when the write is made."""
        self._later.append(
            (
                lambda: self.addresses.give_back(address),
                lambda: self.addresses.restore(address),
            )
        )

    def give_back_port(self, port: int) -> None:
        """Give a port back when the write is made."""
        self._later.append(
            (lambda: self.ports.give_back(port), lambda: self.ports.restore(port)),
        )

    def commit(self) -> None:
        """The write is valid: give back what it no longer has."""
        if self.dry_run:
            return
        for give_back, take_again in self._later:
            give_back()
            self._undo.append(take_again)
        self._later.clear()

    def rollback(self) -> None:
        """The write is not made: leave the pools as they were before it."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self._later.clear()
