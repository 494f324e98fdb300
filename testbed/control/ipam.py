"""Pod addresses: each node gives out the ones of its own Pod CIDRs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

#: Kept free in every range: the network address and the one that a bridge driver gives to the node.
RESERVED = 2


class AddressPool:
    """Addresses of one range, handed out in turn, so that a freed one isn't reused at once."""

    def __init__(self, cidr: str) -> None:
        self.network = ipaddress.ip_network(cidr)
        self._used: set[int] = set()
        self._next = RESERVED
        broadcast = 1 if self.network.version == 4 else 0
        self._end = self.network.num_addresses - broadcast

    def take(self) -> str | None:
        """A free address, or None where the range is exhausted."""
        if len(self._used) >= self._end - RESERVED:
            return None
        while self._next in self._used or self._next >= self._end:
            self._next = RESERVED if self._next >= self._end else self._next + 1
        offset = self._next
        self._used.add(offset)
        self._next += 1
        return str(self.network[offset])

    def claim(self, address: str) -> bool:
        """Mark a given address as used; False where it isn't of this range."""
        parsed = ipaddress.ip_address(address)
        if parsed not in self.network:
            return False
        self._used.add(int(parsed) - int(self.network.network_address))
        return True

    def release(self, address: str) -> None:
        """Give an address back; one of another range is ignored."""
        parsed = ipaddress.ip_address(address)
        if parsed in self.network:
            self._used.discard(int(parsed) - int(self.network.network_address))


class NodeAddresses:
    """The pools of one node, one per Pod CIDR."""

    def __init__(self, cidrs: Iterable[str]) -> None:
        self._pools = [AddressPool(cidr) for cidr in cidrs]

    def take(self) -> tuple[str, ...] | None:
        """One address per range, or None (and nothing taken) where one is exhausted."""
        taken: list[str] = []
        for pool in self._pools:
            address = pool.take()
            if address is None:
                self.release(taken)
                return None
            taken.append(address)
        return tuple(taken)

    def claim(self, addresses: Iterable[str]) -> None:
        """Mark addresses of a Pod that exists already as used."""
        for address in addresses:
            for pool in self._pools:
                pool.claim(address)

    def release(self, addresses: Iterable[str]) -> None:
        """Give a Pod's addresses back."""
        for address in addresses:
            for pool in self._pools:
                pool.release(address)
