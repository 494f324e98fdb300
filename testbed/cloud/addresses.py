"""Public addresses for load balancers, one per family, from the cloud's ranges."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from testbed.api.objects import NamespacedName, family_of
from testbed.cloud.interface import CloudError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_RANGES = ("198.51.100.0/24", "2001:db8:100::/64")


class AddressPool:
    """Hands out addresses, lowest free one first; an address belongs to one load balancer only.

    The network and (IPv4) broadcast addresses are never handed out. Deterministic, so that the same
    manifests get the same addresses in every lab.
    """

    def __init__(self, ranges: Iterable[str] = DEFAULT_RANGES) -> None:
        networks = [ipaddress.ip_network(r) for r in ranges]
        self.ranges: dict[str, Network] = {family_of(str(n)): n for n in networks}
        self._owners: dict[str, NamespacedName] = {}
        self._held: dict[NamespacedName, dict[str, str]] = {}
        self._low: dict[str, int] = dict.fromkeys(self.ranges, 1)

    def held(self, owner: NamespacedName) -> tuple[str, ...]:
        """The addresses of `owner`, in no particular order."""
        return tuple(self._held.get(owner, {}).values())

    def ensure(
        self, owner: NamespacedName, families: Iterable[str], requested: str = ""
    ) -> tuple[str, ...]:
        """Give `owner` one address per family, in that order; take back those of other families.

        What it holds it keeps, unless `requested` (spec.loadBalancerIP) asks for another of that
        family. Raises CloudError, and then changes nothing, where `requested` isn't an address of
        the cloud's ranges or is another's, or a range is used up.
        """
        families = tuple(families)
        held = dict(self._held.get(owner, {}))
        wanted = self._check(owner, requested) if requested else ""
        chosen: dict[str, str] = {}
        for family in families:
            if wanted and family_of(wanted) == family:
                chosen[family] = wanted
            else:
                chosen[family] = held.get(family) or self._free(family)
        self.release(owner)
        self._hold(owner, chosen)
        return tuple(chosen[family] for family in families)

    def restore(self, owner: NamespacedName, addresses: Iterable[str]) -> None:
        """Note that `owner` holds `addresses` (an earlier status), where they are free."""
        mine = {}
        for address in addresses:
            address = str(ipaddress.ip_address(address))
            network = self.ranges.get(family_of(address))
            inside = network is not None and ipaddress.ip_address(address) in network
            if inside and self._owners.get(address, owner) == owner:
                mine[family_of(address)] = address
        self._hold(owner, {**self._held.get(owner, {}), **mine})

    def release(self, owner: NamespacedName) -> None:
        """Take back everything `owner` holds."""
        for family, address in self._held.pop(owner, {}).items():
            del self._owners[address]
            offset = int(ipaddress.ip_address(address)) - int(self.ranges[family].network_address)
            self._low[family] = min(self._low[family], offset)

    def _hold(self, owner: NamespacedName, addresses: dict[str, str]) -> None:
        if addresses:
            self._held[owner] = addresses
            self._owners.update(dict.fromkeys(addresses.values(), owner))

    def _check(self, owner: NamespacedName, requested: str) -> str:
        try:
            address = ipaddress.ip_address(requested)
        except ValueError:
            raise CloudError(f"loadBalancerIP {requested!r} isn't an IP address") from None
        network = self.ranges.get(family_of(requested))
        if network is None or address not in network:
            ranges = ", ".join(str(n) for n in self.ranges.values())
            raise CloudError(f"loadBalancerIP {requested} isn't in the cloud's ranges ({ranges})")
        if not 0 < int(address) - int(network.network_address) < _end(network):
            raise CloudError(f"loadBalancerIP {requested} is no host's address in {network}")
        holder = self._owners.get(str(address), owner)
        if holder != owner:
            raise CloudError(f"loadBalancerIP {requested} belongs to Service {holder}")
        return str(address)

    def _free(self, family: str) -> str:
        if family not in self.ranges:
            raise CloudError(f"the cloud has no {family} range")
        for offset in self._offsets(family):
            address = str(self.ranges[family][offset])
            if address not in self._owners:
                self._low[family] = offset
                return address
        raise CloudError(f"the cloud's range {self.ranges[family]} is used up")

    def _offsets(self, family: str) -> Iterator[int]:
        """Offsets worth trying: everything below `_low` is taken."""
        network = self.ranges[family]
        return iter(range(self._low[family], _end(network)))


def _end(network: Network) -> int:
    """The first offset that is no load balancer's: IPv4 ends with the broadcast address."""
    return network.num_addresses - (1 if network.version == 4 else 0)
