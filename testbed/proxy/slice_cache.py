"""The EndpointSlices of every Service, merged into endpoints by service port.

Source: pkg/proxy/endpointslicecache.go.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from testbed.api.objects import (
    LABEL_HEADLESS,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    NamespacedName,
)
from testbed.proxy.addresses import parse_ip
from testbed.proxy.endpoint import EndpointInfo, endpoint_text
from testbed.proxy.service_port import PROTOCOLS, ServicePortName

#: Endpoints in the order of rules: by the text `ip:port`, so 10.0.0.10:80 is before 10.0.0.2:80.
Endpoints: TypeAlias = tuple[EndpointInfo, ...]


class ServiceEndpoints(NamedTuple):
    """One Service's endpoints by port, and what was wrong with its slices."""

    by_port: dict[ServicePortName, Endpoints]
    problems: tuple[str, ...]


class EndpointSliceCache:
    """Slices of one address family by Service. What it returns changes only with its slices."""

    def __init__(self, family: str, node_name: str) -> None:
        self._family = family
        self._node_name = node_name
        self._slices: dict[NamespacedName, dict[str, EndpointSlice]] = {}
        self._owner: dict[NamespacedName, NamespacedName] = {}

    def update(self, piece: EndpointSlice) -> set[NamespacedName]:
        """Take in a slice; returns the Services whose endpoints may have changed."""
        changed = set()
        owner = self._owner.get(piece.key)
        service = piece.service if self._takes(piece) else None
        if owner is not None and owner != service:
            changed |= self.delete(piece.key)
        if service is not None:
            slices = self._slices.setdefault(service, {})
            if slices.get(piece.key.name) != piece:
                slices[piece.key.name] = piece
                self._owner[piece.key] = service
                changed.add(service)
        return changed

    def delete(self, key: NamespacedName) -> set[NamespacedName]:
        """Forget a slice; returns the Services whose endpoints may have changed."""
        owner = self._owner.pop(key, None)
        if owner is None:
            return set()
        slices = self._slices[owner]
        del slices[key.name]
        if not slices:
            del self._slices[owner]
        return {owner}

    def slices(self) -> list[NamespacedName]:
        """The slices held."""
        return list(self._owner)

    def endpoints(self, service: NamespacedName) -> ServiceEndpoints:
        """The endpoints of `service`, merged from its slices in the order of their names."""
        slices = self._slices.get(service)
        if not slices:
            return ServiceEndpoints({}, ())
        found: dict[ServicePortName, dict[str, EndpointInfo]] = {}
        problems: list[str] = []
        for name in sorted(slices):
            self._add_slice(service, slices[name], found, problems)
        return ServiceEndpoints(
            {
                name: tuple(by_text[text] for text in sorted(by_text))
                for name, by_text in found.items()
            },
            tuple(problems),
        )

    def _takes(self, piece: EndpointSlice) -> bool:
        return piece.address_type == self._family and LABEL_HEADLESS not in piece.labels

    def _add_slice(
        self,
        service: NamespacedName,
        piece: EndpointSlice,
        found: dict[ServicePortName, dict[str, EndpointInfo]],
        problems: list[str],
    ) -> None:
        addresses = []
        for endpoint in piece.endpoints:
            address = self._address(piece, endpoint, problems)
            if address:
                addresses.append((endpoint, address))
        for port in piece.ports:
            if port.name is None or not port.port:
                problems.append(f"EndpointSlice {piece.key}: a port without {_lacking(port)}")
                continue
            # The API checks neither; kube-proxy would hand them to the kernel, which refuses all.
            if not 0 < port.port < 65536:
                problems.append(f"EndpointSlice {piece.key}: {port.port} is no port number")
                continue
            if port.protocol not in PROTOCOLS:
                problems.append(f"EndpointSlice {piece.key}: protocol {port.protocol!r}")
                continue
            name = ServicePortName(service.namespace, service.name, port.name, port.protocol)
            by_text = found.setdefault(name, {})
            for endpoint, address in addresses:
                info = self._info(endpoint, address, port.port)
                # The same Pod may be in two slices while it moves between them, and a new Pod may
                # have the address of one that terminates: the running one is meant.
                if info.text not in by_text or not info.terminating:
                    by_text[info.text] = info

    def _address(self, piece: EndpointSlice, endpoint: Endpoint, problems: list[str]) -> str:
        """The endpoint's first address, which alone counts; "" where it is unusable."""
        if not endpoint.addresses:
            problems.append(f"EndpointSlice {piece.key}: an endpoint without addresses")
            return ""
        first = endpoint.addresses[0]
        parsed = parse_ip(first)
        if parsed is None:
            problems.append(f"EndpointSlice {piece.key}: {first!r} is not an IP address")
            return ""
        if parsed[0] != self._family:
            problems.append(f"EndpointSlice {piece.key}: {first} is not {self._family}")
            return ""
        return parsed[1]

    def _info(self, endpoint: Endpoint, address: str, port: int) -> EndpointInfo:
        return EndpointInfo(
            endpoint_text(address, port),
            address,
            port,
            bool(self._node_name) and endpoint.node_name == self._node_name,
            endpoint.ready is not False,
            endpoint.serving is not False,
            endpoint.terminating is True,
            endpoint.for_zones,
            endpoint.for_nodes,
            endpoint.node_name,
            endpoint.target,
        )


def _lacking(port: EndpointPort) -> str:
    return "a name" if port.name is None else "a number"
