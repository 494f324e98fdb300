"""What a lab's user does with packets: sends them, follows them, has them explained.

A part of `Cluster`, which inherits it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from testbed.errors import CheckFailedError

if TYPE_CHECKING:  # a lab comes up without probes and the oracle
    from testbed.fabric.fabric import Fabric
    from testbed.fabric.namespace import Namespace
    from testbed.flow import Path
    from testbed.lab.core import LabCore
    from testbed.oracle.world import World
    from testbed.probe.exchange import Outcome, Request
    from testbed.probe.observe import Observation, Observer

T = TypeVar("T")
#: The tables that kube-proxy works in, of either mode.
KUBE_PROXY_TABLES = ("filter", "nat", "mangle", "kube-proxy")


class Packets(ABC):
    """Methods of a running lab; every one may be called from any thread but the lab's own."""

    core: LabCore
    fabric: Fabric
    #: The latest probes, as evidence.
    observations: deque[Observation]
    _observer: Observer | None = None

    @abstractmethod
    def in_loop(self, work: Callable[[], T]) -> T:
        """Run `work` in the lab's thread."""

    @abstractmethod
    def node_names(self) -> list[str]:
        """The Nodes' names, in order."""

    @abstractmethod
    def node_of(self, namespace: str) -> str:
        """The node that a namespace is on, or ""."""

    def _meaning(self, table: str, chain: str, text: str) -> str:
        return self.core.proxies.meaning(chain, text) if table in KUBE_PROXY_TABLES else ""

    def probe(
        self,
        source: str,
        target: str,
        *,
        port: str = "",
        protocol: str = "tcp",
        family: str = "",
        **request: Any,
    ) -> Path:
        """Send one real exchange from `source` to `target` and follow it through every namespace.

        `source` is `client`, `pod/NAME`, `node/NAME` …; `target` an address with a port,
        `svc/NAME`, `pod/NAME:PORT` …; `request` are fields of probe.exchange.Request (`http_path`,
        `source_port`, `timeout` …; its `source` is `source_address` here). Raises UsageError for
        words that mean nothing here.
        """
        return self.observe(
            source, target, port=port, protocol=protocol, family=family, **request
        ).path

    def observe(
        self,
        source: str,
        target: str,
        *,
        port: str = "",
        protocol: str = "tcp",
        family: str = "",
        **request: Any,
    ) -> Observation:
        """As `probe`, with the frames and trace events that the path was made from."""
        origin, asked = self._request(source, target, port, protocol, family, request)
        self.observations.append(self.observer().follow(origin, asked))
        return self.observations[-1]

    def observer(self) -> Observer:
        """What follows packets in this lab, through all namespaces that there are now."""
        from testbed.probe.observe import Observer

        if self._observer is None:
            self._observer = Observer((), meaning=self._meaning)
        self._observer.namespaces = self.fabric.namespaces()
        return self._observer

    def _world_and_origin(self, source: str) -> tuple[World, Namespace]:
        """What the oracle may know, and the namespace that FROM word `source` means."""
        from testbed.lab.places import origin_of, world_of

        world = self.in_loop(lambda: world_of(self.core))
        return world, origin_of(self.core, source, world)

    def meaning_of(self, chain: str) -> str:
        """What a chain of kube-proxy's stands for; "" if it isn't one."""
        return self.in_loop(lambda: self.core.proxies.meaning(chain, chain))

    def _request(
        self,
        source: str,
        target: str,
        port: str,
        protocol: str,
        family: str,
        more: dict[str, Any],
    ) -> tuple[Namespace, Request]:
        """The namespace that sends, and the request; `more` are further fields of Request."""
        from testbed.lab.places import target_of
        from testbed.probe.exchange import Request

        more = {"source" if name == "source_address" else name: more[name] for name in more}
        world, origin = self._world_and_origin(source)
        if found := self._looked_up(world, origin, source, target, port, protocol, family):
            address, number, protocol, host = found
            more.setdefault("http_host", host)
            return origin, Request(address, number, protocol.lower(), **more)
        outside = origin.name not in self.node_names() and self.node_of(origin.name) == ""
        asked = target_of(
            world, target, port=port, protocol=protocol, outside=outside, family=family
        )
        return origin, Request(asked.address, asked.port, asked.protocol.lower(), **more)

    def looked_up(
        self, source: str, target: str, port: str, protocol: str, family: str
    ) -> tuple[str, int, str, str] | None:
        """What a TO word that is a DNS name means to `source`: address, port, protocol, HTTP host.

        None where it is no such word. The name is asked for with real packets. Raises UsageError
        without a port, CheckFailedError where the name has no address.
        """
        world, origin = self._world_and_origin(source)
        return self._looked_up(world, origin, source, target, port, protocol, family)

    def _looked_up(
        self,
        world: World,
        origin: Namespace,
        source: str,
        target: str,
        port: str,
        protocol: str,
        family: str,
    ) -> tuple[str, int, str, str] | None:
        from testbed.lab.lookup import asker_of, name_in, named_target, port_of

        asker = self.in_loop(lambda: asker_of(self.core, source, world, origin))
        name = name_in(target, world, asker)
        if not name:
            return None
        number = port_of(target, port, protocol, world)
        found = named_target(asker, name, number, family)
        host = name if number[0] == 80 else f"{name}:{number[0]}"
        return found.address, found.port, found.protocol, host

    def exchange(
        self,
        source: str,
        target: str,
        *,
        port: str = "",
        protocol: str = "tcp",
        family: str = "",
        **request: Any,
    ) -> Outcome:
        """One real exchange as `probe` makes it, unwatched: quick, for traffic and for counting."""
        from testbed.probe.exchange import exchange

        origin, asked = self._request(source, target, port, protocol, family, request)
        return exchange(origin, asked)

    def send(self, source: str, packets: Any, wait: float = 0.3) -> Path:
        """Send scapy packets (probe.packets makes them) from `source` and follow the first one."""
        _, origin = self._world_and_origin(source)
        self.observations.append(self.observer().follow_packets(origin, packets, wait))
        return self.observations[-1].path

    def probe_until(
        self, source: str, target: str, wanted: Callable[[Path], bool], tries: int = 64, **more: Any
    ) -> Path:
        """Probe until `wanted` holds of the path: every connection picks its backend anew.

        Raises CheckFailedError where it never does.
        """
        path = self.probe(source, target, **more)
        for _ in range(tries - 1):
            if wanted(path):
                return path
            path = self.probe(source, target, **more)
        if wanted(path):
            return path
        raise CheckFailedError(f"{tries} probes from {source} to {target}: none was as wanted")
