"""The cloud: addresses, load balancers in a namespace, health checks, public names."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from testbed.api.objects import LoadBalancerIngress, NamespacedName, Node, Service
from testbed.clock import Clock
from testbed.cloud.addresses import AddressPool
from testbed.cloud.balancer import DataPlane, LoadBalancer, Target, load_balancer, targets
from testbed.cloud.dataplane import BalancerPlane, Site
from testbed.cloud.health import Check, HealthChecker, HealthSettings
from testbed.cloud.interface import CloudError
from testbed.errors import TestbedError

log = logging.getLogger(__name__)

#: The zone of the load balancers' public names.
PUBLIC_ZONE = "lb.example.net"


class PublicNames(Protocol):
    """The public DNS that load balancers are named in."""

    def set_addresses(self, name: str, addresses: Sequence[str], owner: str = "") -> None:
        """`name` has exactly these addresses of an owner's; none removes them."""


def public_name(key: NamespacedName, zone: str = PUBLIC_ZONE) -> str:
    """A load balancer's public DNS name, the same in every lab: `<hash>.lb.example.net`."""
    return f"{hashlib.sha256(str(key).encode()).hexdigest()[:12]}.{zone}"


class FakeCloud:
    """A `Cloud` whose load balancers are real: packets, rules, health checks in namespaces.

    `changed` is called after a health check changed what is installed (for logs and pictures). With
    `resume` the packets go the way of an earlier process until the first health checks are over;
    `restore` has to be told every Service before one is ensured.
    """

    def __init__(
        self,
        site: Site,
        clock: Clock,
        *,
        pool: AddressPool | None = None,
        data_plane: DataPlane = DataPlane.NAT,
        health: HealthSettings | None = None,
        names: PublicNames | None = None,
        changed: Callable[[NamespacedName], None] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        resume: bool = False,
    ) -> None:
        self.pool = pool or AddressPool(site.ranges)
        self.plane = BalancerPlane(site)
        opener = site.balancer.socket
        self.checker = HealthChecker(clock, opener, self._health_changed, health, loop)
        self._data_plane = data_plane
        self._names = names
        self._told = changed
        self.refused: Callable[[NamespacedName], None] = lambda key: None
        self._waits = resume
        self._balancers: dict[NamespacedName, LoadBalancer] = {}

    def restore(self, services: Iterable[Service]) -> None:
        """Leave the Services the addresses that their status names."""
        for service in services:
            self.pool.restore(service.key, (i.ip for i in service.ingress if i.ip))

    def ensure(self, service: Service, nodes: Sequence[Node]) -> tuple[LoadBalancerIngress, ...]:
        """Make or change the Service's load balancer; raises CloudError."""
        if service.key not in self._balancers:
            self.pool.restore(service.key, (i.ip for i in service.ingress if i.ip))
        load_balancer(service, nodes, (), self._data_plane)  # refuse before anything is taken
        addresses = self.pool.ensure(service.key, service.ip_families, service.load_balancer_ip)
        self._put(load_balancer(service, nodes, addresses, self._data_plane))
        name = public_name(service.key)
        if self._names is not None:
            self._names.set_addresses(name, addresses)
        mode = self._balancers[service.key].data_plane.ip_mode
        return tuple(LoadBalancerIngress(address, name, mode) for address in addresses)

    def update_nodes(self, service: Service, nodes: Sequence[Node]) -> None:
        """Change the load balancer's targets."""
        balancer = self._balancers.get(service.key)
        if balancer is not None:
            self._put(replace(balancer, targets=targets(nodes)))

    def exists(self, key: NamespacedName) -> bool:
        """Whether the Service has a load balancer or an address."""
        return key in self._balancers or bool(self.pool.held(key))

    def delete(self, key: NamespacedName) -> None:
        """Remove a load balancer, its checks, its name and its addresses; raises CloudError."""
        self.checker.want(key, ())
        try:
            self.plane.remove(key)
        except TestbedError as error:
            raise CloudError(str(error)) from error
        self._balancers.pop(key, None)
        if self._names is not None:
            self._names.set_addresses(public_name(key), ())
        self.pool.release(key)

    def healthy(self, key: NamespacedName) -> tuple[str, ...]:
        """The names of the nodes that get the Service's traffic now."""
        balancer = self._balancers[key]
        return tuple(
            target.name
            for target in balancer.targets
            if (check := _check(balancer, target)) and self.checker.healthy(check)
        )

    async def settled(self) -> None:
        """Wait for the health checks under way; who answers by now has traffic afterwards."""
        await self.checker.settled()
        if self._waits:
            self._waits = False
            balancers = self._balancers.values()
            try:
                self.plane.take_over([(each, self.healthy(each.key)) for each in balancers])
            except TestbedError as error:
                for key in self._balancers:
                    self._refuse(key, error)

    def close(self) -> None:
        """End the health checks and programs; rules go with the namespaces."""
        self.checker.close()
        self.plane.close()

    def _put(self, balancer: LoadBalancer) -> None:
        """Serve a load balancer; raises CloudError where it can't be, and leaves what was."""
        before = self._balancers.get(balancer.key)
        self._watch(balancer)
        try:
            if not self._waits:
                self.plane.set(balancer, self.healthy(balancer.key))
        except TestbedError as error:
            if before is not None:
                self._watch(before)
            else:
                del self._balancers[balancer.key]
                self.checker.want(balancer.key, ())
            raise CloudError(str(error)) from error

    def _watch(self, balancer: LoadBalancer) -> None:
        self._balancers[balancer.key] = balancer
        checks = (_check(balancer, target) for target in balancer.targets)
        self.checker.want(balancer.key, (check for check in checks if check))

    def _health_changed(self, key: NamespacedName) -> None:
        if key not in self._balancers or self._waits:
            return
        try:
            self.plane.set(self._balancers[key], self.healthy(key))
        except TestbedError as error:
            self._refuse(key, error)
            return
        if self._told is not None:
            self._told(key)

    def _refuse(self, key: NamespacedName, error: TestbedError) -> None:
        """The data plane refused what the cloud wanted by itself: the controller must see to it."""
        log.warning("load balancer of %s: %s", key, error)
        self.refused(key)


def _check(balancer: LoadBalancer, target: Target) -> Check | None:
    """What tells whether `target` may have traffic; a node without an address is never asked."""
    return Check(target.addresses[0], balancer.health_port) if target.addresses else None
