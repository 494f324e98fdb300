"""The lab's public DNS: load balancers' names, and what the user adds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from testbed.api.objects import family_of
from testbed.dns.names import normal, reverse
from testbed.dns.zone import Answer, Data, Type, Zone
from testbed.errors import UsageError

TTL = 60


class PublicZone:
    """Every name outside the cluster, as far as the lab knows it: one zone from the root down.

    A name may begin with `*.`. Serve it with `Responder(zone)`.
    """

    def __init__(self, ttl: int = TTL) -> None:
        self._zone = Zone("", ttl)
        self._added: dict[str, list[Data]] = {}

    @property
    def version(self) -> int:
        return self._zone.version

    def lookup(self, name: str, kind: int) -> Answer | None:
        """The answer to a question for a normal name; NXDOMAIN for what isn't there."""
        return self._zone.lookup(name, kind)

    def set_addresses(self, name: str, addresses: Sequence[str], owner: str = "") -> None:
        """`name` has exactly these addresses of an owner's, and they have its name; none removes
        them. What other owners set at the name stays."""
        name = normal(name)
        records: dict[str, list[Data]] = {}
        if addresses:
            records[name] = [_address(a) for a in addresses]
            for address in addresses:
                records[reverse(address)] = [Data(Type.PTR, f"{name}.")]
        self._zone.set(("addresses", owner, name), records)

    def add(self, name: str, kind: str, value: str) -> None:
        """Add one record: an A, AAAA, CNAME, PTR or TXT. Raises UsageError."""
        try:
            type_ = Type[kind.upper()]
        except KeyError:
            raise UsageError(f"record {name}: {kind!r} isn't a type the public DNS has") from None
        self._put(normal(name), [*self._added.get(normal(name), ()), _data(name, type_, value)])

    def remove(self, name: str) -> None:
        """Remove every record that was added at `name`."""
        self._put(normal(name), [])

    def _put(self, name: str, records: Iterable[Data]) -> None:
        listed = list(dict.fromkeys(records))
        aliases = [data for data in listed if data.type == Type.CNAME]
        if aliases and len(listed) > 1:
            raise UsageError(f"record {name}: a CNAME stands alone at its name")
        if listed:
            self._added[name] = listed
        else:
            self._added.pop(name, None)
        self._zone.set(("added", name), {name: listed} if listed else {})


def _address(address: str) -> Data:
    return Data(Type.AAAA if family_of(address) == "IPv6" else Type.A, address)


def _data(name: str, kind: Type, value: str) -> Data:
    if kind in (Type.CNAME, Type.PTR):
        return Data(kind, f"{normal(value)}.")
    if kind is Type.TXT:
        return Data(kind, value)
    if kind in (Type.A, Type.AAAA):
        try:
            reverse(value)
        except ValueError:
            raise UsageError(f"record {name}: {value!r} isn't an address") from None
        if _address(value).type is kind:
            return Data(kind, value)
        raise UsageError(f"record {name}: {value!r} isn't an address for type {kind.name}")
    raise UsageError(f"record {name}: {kind.name} records can't be added")
