"""Rules and elements as a graph: what stands where, and where it leads."""

from __future__ import annotations

from typing import NamedTuple

from testbed.proxy.service_port import ServicePortName


class Item(NamedTuple):
    """One rule or element.

    `place` and `targets` are keys of chains, sets and maps, whose last word is the name. `shown` is
    the item as a user would look for it. `key` is an element's. `captures` is (address, protocol,
    port), address "" for node ports, of what takes a Service's traffic; `endpoints` (`ip:port`) are
    those it may choose, of service port `owner`.
    """

    place: str
    text: str
    shown: str
    targets: tuple[str, ...] = ()
    key: str = ""
    captures: tuple[str, str, int] | None = None
    endpoints: tuple[str, ...] = ()
    owner: ServicePortName | None = None

    def __str__(self) -> str:
        return self.shown
