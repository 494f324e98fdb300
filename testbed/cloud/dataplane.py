"""The load balancer's data plane: puts the rules where they work, and routes packets past them.

The balancer's namespace hangs on a link of its own to the router; the router routes the VIP ranges
to it, and is the nodes' default gateway.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from testbed.api.objects import IPV6, NamespacedName, family_of
from testbed.cloud import rules
from testbed.cloud.balancer import DataPlane, LoadBalancer, Target
from testbed.cloud.conntrack import Flow, forget
from testbed.cloud.haproxy import Haproxy
from testbed.netlink import NETLINK_NETFILTER, NetlinkSocket


class Namespace(Protocol):
    """What the cloud needs of a network namespace."""

    @property
    def name(self) -> str: ...

    def run(self, argv: Sequence[str], *, input: str | None = None) -> str:
        """Run a program there; its standard output. Raises CommandError."""

    def socket(self, family: int, type: int, proto: int = 0, /) -> socket.socket:
        """Open a socket there."""

    def netlink(self, protocol: int, /) -> NetlinkSocket:
        """Open a netlink socket there."""

    def sysctl(self, key: str, value: str, /) -> str:
        """Set a sysctl there; what it was."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the cloud stands: the two namespaces, the link between them, the VIP ranges.

    `balancer_device` and `router_device` are the link's two ends; `balancer_addresses` the
    balancer's own addresses on it (one per family), which the router can reach. `directory`: the
    lab's own, for files of the programs that the cloud starts.
    """

    balancer: Namespace
    balancer_device: str
    balancer_addresses: tuple[str, ...]
    router: Namespace
    router_device: str
    ranges: tuple[str, ...]
    directory: Path


class BalancerPlane:
    """The installed state of one site; every call brings one Service to its desired state.

    After a refused transaction the state is unknown: the next call starts from empty tables.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self._desired: dict[NamespacedName, tuple[LoadBalancer, frozenset[str]]] = {}
        self._installed: dict[NamespacedName, rules.ServiceRules] = {}
        self._labels: dict[str, int] = {}
        self._routed: dict[int, tuple[str, ...]] = {}
        self._ready = False
        self._collected: dict[str, list[str]] | None = None
        self._proxy = Haproxy(site.balancer.run, site.directory)

    def set(self, balancer: LoadBalancer, healthy: Collection[str]) -> None:
        """Serve `balancer` with those of its targets whose names are in `healthy`.

        Where that fails it is served as before, so that others don't fail with it.
        """
        before = self._desired.get(balancer.key)
        self._desired[balancer.key] = balancer, frozenset(healthy)
        try:
            self._sync(balancer.key)
        except BaseException:
            if before is None:
                del self._desired[balancer.key]
            else:
                self._desired[balancer.key] = before
            raise

    def remove(self, key: NamespacedName) -> None:
        """Stop serving a Service. Where that fails it may be asked for again."""
        before = self._desired.pop(key, None)
        if before is None:
            return
        try:
            self._sync(key)
        except BaseException:
            self._desired[key] = before
            raise

    def take_over(self, balancers: Iterable[tuple[LoadBalancer, Collection[str]]]) -> None:
        """Serve `balancers` with their healthy targets where an earlier process served.

        All of them in one transaction: no packet meets tables that lack a Service.
        """
        self._desired = {balancer.key: (balancer, frozenset(h)) for balancer, h in balancers}
        site, collected = self.site, dict[str, list[str]]()
        self._collected = collected
        try:
            self._install()
            for key in self._desired:
                self._change(key)
        finally:
            self._collected = None
        try:
            for namespace in (site.router, site.balancer):
                _nft(namespace, "".join(collected.get(namespace.name, ())))
            self._proxy.take_over()
            self._serve_by_proxy()
        except BaseException:
            self._ready = False
            raise

    def close(self) -> None:
        """End the programs it started; rules go with the namespaces."""
        self._proxy.close()

    def _sync(self, key: NamespacedName) -> None:
        try:
            if not self._ready:
                self._install()
                for other in self._desired:
                    self._change(other)
            self._change(key)
            self._serve_by_proxy()
        except BaseException:
            self._ready = False
            raise

    def _serve_by_proxy(self) -> None:
        self._proxy.serve(
            desired
            for desired in self._desired.values()
            if desired[0].data_plane is DataPlane.PROXY
        )

    def _load(self, namespace: Namespace, text: str) -> None:
        """Load `text` in a transaction; with those after it, while a take-over collects them."""
        if self._collected is None:
            _nft(namespace, text)
        else:
            self._collected.setdefault(namespace.name, []).append(text)

    def _install(self) -> None:
        """Empty tables, and the routing that goes with them."""
        site = self.site
        self._installed.clear()
        self._labels.clear()
        self._load(site.balancer, rules.balancer_table(site.ranges, site.balancer_device))
        self._load(site.router, rules.router_table(site.ranges, site.router_device))
        # Packets with a client's address come in from the balancer's side: the reverse path
        # filter would call them spoofed.
        for name in ("all", site.router_device):
            site.router.sysctl(f"net/ipv4/conf/{name}/rp_filter", "0")
        self._route(rules.RETURN_MARK, site.balancer_addresses)
        self._ready = True

    def _change(self, key: NamespacedName) -> None:
        desired = self._desired.get(key)
        old = self._installed.get(key)
        new = None
        if desired is not None:
            balancer, healthy = desired
            if balancer.data_plane is DataPlane.DSR:
                self._know(balancer.targets)
            new = rules.service_rules(balancer, healthy, self._labels)
        if new == old:
            return
        self._load(self.site.balancer, rules.change(old, new))
        if new is None:
            del self._installed[key]
        else:
            self._installed[key] = new
        self._forget_flows(old, new)

    def _forget_flows(self, old: rules.ServiceRules | None, new: rules.ServiceRules | None) -> None:
        """End what the new rules wouldn't have begun.

        That is: flows to a port that is no longer served, and datagrams to a node that new flows no
        longer get (they have no connection to drain). TCP connections stay where they are.
        """
        if old is None:
            return
        new = new or rules.ServiceRules(old.chain)
        if old.listeners <= new.listeners and old.nodes <= new.nodes:
            return
        vips = {vip for vip, _, _ in old.listeners}

        def doomed(flow: Flow) -> bool:
            if flow.destination not in vips:
                return False
            if (flow.destination, flow.protocol, flow.port) not in new.listeners:
                return True
            return flow.protocol == "udp" and flow.answerer not in new.nodes

        sock = self.site.balancer.netlink(NETLINK_NETFILTER)
        try:
            for family in {family_of(vip) for vip in vips}:
                forget(sock, family, doomed)
        finally:
            sock.close()

    def _know(self, targets: Sequence[Target]) -> None:
        """Number the nodes for dsr, and route the packets that carry a number to its node."""
        for target in targets:
            label = self._labels.get(target.name)
            if label is None:
                label = self._labels[target.name] = len(self._labels) + 1
                balancer, router = rules.add_node(label)
                self._load(self.site.balancer, balancer)
                self._load(self.site.router, router)
            self._route(rules.DSR_MARK + label, target.addresses)

    def _route(self, mark: int, gateways: tuple[str, ...]) -> None:
        """In the router, packets with `mark` go to `gateways` (one per family)."""
        old = self._routed.get(mark, ())
        for gateway in gateways:
            if gateway in old:
                continue
            lines = [f"route replace default via {gateway} table {mark}"]
            flag = "-6" if family_of(gateway) == IPV6 else "-4"
            if family_of(gateway) not in map(family_of, old) and not self.site.router.run(
                ["ip", flag, "rule", "show", "fwmark", f"{mark:#x}"]
            ):
                lines.append(f"rule add fwmark {mark:#x} table {mark}")
            self.site.router.run(["ip", flag, "-batch", "-"], input="\n".join([*lines, ""]))
        self._routed[mark] = gateways


def _nft(namespace: Namespace, text: str) -> None:
    """Load `text` in one transaction."""
    namespace.run(["nft", "-f", "-"], input=text)
