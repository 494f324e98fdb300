"""The proxy's view of the cluster, and which service ports each change touches.

Source: pkg/proxy/servicechangetracker.go, endpointschangetracker.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from testbed.api.objects import EndpointSlice, NamespacedName, Service
from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.service_port import ServicePortInfo, ServicePortName, service_ports
from testbed.proxy.slice_cache import EndpointSliceCache

_Held = TypeVar("_Held")


class Changes(NamedTuple):
    """What differs since the last `checkout`.

    `ports` are the service ports whose rules may differ. `clean_conntrack` is whether endpoints
    changed of a Service that has a UDP port in its slices, before or after: only then are conntrack
    entries looked at (K-64).
    """

    ports: frozenset[ServicePortName]
    clean_conntrack: bool

    def __bool__(self) -> bool:
        return bool(self.ports)


class ProxyState:
    """Services and endpoints of one address family, kept up to date object by object.

    Applying an object costs what that object costs. Objects that are not for kube-proxy (headless,
    ExternalName, another proxy's) may be given all the same, and may become so at any time.
    """

    def __init__(self, family: str, node_name: str) -> None:
        self.family = family
        self.services: dict[ServicePortName, ServicePortInfo] = {}
        self.endpoints: dict[ServicePortName, tuple[EndpointInfo, ...]] = {}
        #: Endpoints of all service ports together: decides about large-cluster mode (K-73).
        self.total_endpoints = 0
        self._slices = EndpointSliceCache(family, node_name)
        self._ports_of: dict[NamespacedName, tuple[ServicePortName, ...]] = {}
        self._endpoint_ports_of: dict[NamespacedName, tuple[ServicePortName, ...]] = {}
        self._service_problems: dict[NamespacedName, tuple[str, ...]] = {}
        self._slice_problems: dict[NamespacedName, tuple[str, ...]] = {}
        self._changed: set[ServicePortName] = set()
        self._clean_conntrack = False

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong in the objects: one line each, naming the object. The rest works."""
        return tuple(
            line
            for held in (self._service_problems, self._slice_problems)
            for key in sorted(held)
            for line in held[key]
        )

    def update_service(self, service: Service) -> None:
        """Take in a Service, new or changed."""
        ports, problems = service_ports(service, self.family)
        self._set_service(service.key, ports, problems)

    def delete_service(self, key: NamespacedName) -> None:
        """Forget a Service. Unknown ones are no error."""
        self._set_service(key, {}, ())

    def update_slice(self, piece: EndpointSlice) -> None:
        """Take in an EndpointSlice, new or changed."""
        self._refresh(self._slices.update(piece))

    def delete_slice(self, key: NamespacedName) -> None:
        """Forget an EndpointSlice. Unknown ones are no error."""
        self._refresh(self._slices.delete(key))

    def replace(self, services: Iterable[Service], slices: Iterable[EndpointSlice]) -> None:
        """Take in the whole desired state: what isn't in it is forgotten."""
        wanted_services = {service.key: service for service in services}
        wanted_slices = {piece.key: piece for piece in slices}
        for key in [key for key in self._ports_of if key not in wanted_services]:
            self.delete_service(key)
        for key in [key for key in self._slices.slices() if key not in wanted_slices]:
            self.delete_slice(key)
        for service in wanted_services.values():
            self.update_service(service)
        for piece in wanted_slices.values():
            self.update_slice(piece)

    def checkout(self) -> Changes:
        """The changes since the last call; they count as dealt with afterwards."""
        changes = Changes(frozenset(self._changed), self._clean_conntrack)
        self._changed = set()
        self._clean_conntrack = False
        return changes

    def _set_service(
        self,
        key: NamespacedName,
        ports: dict[ServicePortName, ServicePortInfo],
        problems: tuple[str, ...],
    ) -> None:
        for name in self._ports_of.get(key, ()):
            if name not in ports:
                del self.services[name]
                self.total_endpoints -= len(self.endpoints.get(name, ()))
                self._changed.add(name)
        for name, info in ports.items():
            before = self.services.get(name)
            if before is None:
                self.total_endpoints += len(self.endpoints.get(name, ()))
            if before != info:
                self.services[name] = info
                self._changed.add(name)
        _keep(self._ports_of, key, tuple(ports))
        _keep(self._service_problems, key, problems)

    def _refresh(self, services: Iterable[NamespacedName]) -> None:
        for service in services:
            by_port, problems = self._slices.endpoints(service)
            names = {*self._endpoint_ports_of.get(service, ()), *by_port}
            changed = [name for name in names if self._set_endpoints(name, by_port.get(name, ()))]
            if changed and any(name.protocol == "UDP" for name in names):
                self._clean_conntrack = True
            _keep(self._endpoint_ports_of, service, tuple(by_port))
            _keep(self._slice_problems, service, problems)

    def _set_endpoints(self, name: ServicePortName, after: tuple[EndpointInfo, ...]) -> bool:
        """Store a port's endpoints; whether they differ from before."""
        before = self.endpoints.get(name, ())
        if after == before:
            return False
        if after:
            self.endpoints[name] = after
        else:
            del self.endpoints[name]
        if name in self.services:
            self._changed.add(name)
            self.total_endpoints += len(after) - len(before)
        return True


def _keep(held: dict[NamespacedName, _Held], key: NamespacedName, value: _Held) -> None:
    """Store `value`, or forget the key where it is empty."""
    if value:
        held[key] = value
    else:
        held.pop(key, None)
