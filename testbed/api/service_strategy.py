"""What the API server does to a Service between defaulting and validation.

Linked fields are brought in line, values that the client left out are taken from the stored object,
addresses and ports are allocated, and fields that the new type has no use for are dropped. Sources:
pkg/registry/core/service/storage/{storage,alloc}.go, pkg/registry/core/service/strategy.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.api import status
from testbed.api.allocate import AllocationError, Transaction
from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.api.objects import IPV4, IPV6
from testbed.api.service_families import init_families, unchanged_dual_stack
from testbed.api.service_fields import (
    NONE,
    WITH_NODE_PORTS,
    allocates_node_ports,
    cluster_ips,
    external_name,
    externally_accessible,
    families,
    needs_health_check,
    node_ports,
    ports_of,
    same,
    spec_of,
    type_of,
)
from testbed.api.status import FieldError, StatusError
from testbed.api.validation.addresses import Address, parse_ip


def begin_create(service: Document, transaction: Transaction, configured: Sequence[str]) -> None:
    """Give a new Service its addresses and ports; raises StatusError."""
    spec = spec_of(service)
    if spec.get("clusterIP") and not cluster_ips(service):
        spec["clusterIPs"] = [spec["clusterIP"]]
    init_families(service, None, default=configured[0], configured=configured)
    _take_addresses(service, transaction)
    if type_of(service) in WITH_NODE_PORTS:
        _take_node_ports(service, transaction)
    if needs_health_check(service):
        _take_health_check_port(service, transaction)


def begin_update(
    service: Document, old: Document, transaction: Transaction, configured: Sequence[str]
) -> None:
    """Take and give back what the change of a Service needs; raises StatusError."""
    patch_back(service, old)
    normalize_update(service, old)
    init_families(service, old, default=configured[0], configured=configured)
    _update_addresses(service, old, transaction)
    if type_of(old) in WITH_NODE_PORTS and type_of(service) not in WITH_NODE_PORTS:
        for port in held_node_ports(old):
            transaction.give_back_port(port)
    if type_of(service) in WITH_NODE_PORTS:
        _update_node_ports(service, old, transaction)
    if needs_health_check(service) and not needs_health_check(old):
        _take_health_check_port(service, transaction)
    elif needs_health_check(old) and not needs_health_check(service):
        transaction.give_back_port(spec_of(old).get("healthCheckNodePort", 0))


def patch_back(service: Document, old: Document) -> None:
    """Fill in allocated values that the client left out (catalogue 1.9)."""
    spec, stored = spec_of(service), spec_of(old)
    if not external_name(service) and not external_name(old):
        if not spec.get("clusterIP") and stored.get("clusterIP"):
            spec["clusterIP"] = stored["clusterIP"]
        if not cluster_ips(service) and same(service, old, "clusterIP", ""):
            _set_list(spec, "clusterIPs", cluster_ips(old))
    if allocates_node_ports(service) and allocates_node_ports(old):
        _patch_node_ports(service, old)
    both_check = needs_health_check(service) and needs_health_check(old)
    if both_check and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = stored.get("healthCheckNodePort", 0)


def _patch_node_ports(service: Document, old: Document) -> None:
    used = set(node_ports(service)) & set(node_ports(old))
    by_name = {port.get("name", ""): port.get("nodePort", 0) for port in ports_of(old)}
    for port in ports_of(service):
        stored = by_name.get(port.get("name", ""), 0)
        if not port.get("nodePort") and stored not in used:
            port["nodePort"] = stored


def normalize_update(service: Document, old: Document) -> None:
    """Bring clusterIP and clusterIPs in line where a client changed only one of them."""
    spec, stored = spec_of(service), spec_of(old)
    if cluster_ips(old) and not cluster_ips(service) and same(service, old, "clusterIP", ""):
        _set_list(spec, "clusterIPs", cluster_ips(old))
    if same(service, old, "clusterIP", ""):
        return
    if cluster_ips(service) != cluster_ips(old):
        return
    cleared = bool(stored.get("clusterIP")) and not spec.get("clusterIP")
    _set_list(spec, "clusterIPs", [] if cleared else [spec["clusterIP"]])


def _set_list(spec: Document, field: str, value: list[str]) -> None:
    if value:
        spec[field] = list(value)
    else:
        spec.pop(field, None)


# addresses


def _take_addresses(service: Document, transaction: Transaction) -> None:
    if external_name(service) or cluster_ips(service)[:1] == [NONE]:
        return
    wanted = families(service)
    addresses = list(cluster_ips(service))
    addresses += [""] * (len(wanted) - len(addresses))
    spec_of(service)["clusterIPs"] = addresses
    for i, family in enumerate(wanted):
        addresses[i] = _take_address(service, family, addresses[i], transaction)
    if addresses:
        spec_of(service)["clusterIP"] = addresses[0]


def _take_address(service: Document, family: str, address: str, transaction: Transaction) -> str:
    name = service["metadata"].get("name", "")
    if not address and not transaction.dry_run:
        try:
            return str(transaction.take_next_address(family))
        except AllocationError as error:
            words = f"failed to allocate a serviceIP for Service {quote(name)}: {error}"
            raise status.internal(words) from None
    shown = list(cluster_ips(service))
    try:
        if not address:
            return str(transaction.take_next_address(family))
        transaction.take_address(_parsed(address))
    except AllocationError as error:
        words = f"failed to allocate IP {address}: {error}" if address else _no_address(error)
        refusal = FieldError.invalid("spec.clusterIPs", shown, words)
        raise status.invalid("Service", "", name, [refusal]) from None
    return address


def _no_address(error: AllocationError) -> str:
    return f"failed to allocate IP: {error}"


def _parsed(address: str) -> Address:
    parsed = parse_ip(address)
    if parsed is None:
        raise status.internal(f"failed to parse service IP {quote(address)}")
    return parsed


def _update_addresses(service: Document, old: Document, transaction: Transaction) -> None:
    if unchanged_dual_stack(service, old):
        return
    if external_name(old) and not external_name(service):
        _take_addresses(service, transaction)
        return
    if cluster_ips(old)[:1] == [NONE]:
        return
    if external_name(service) and not external_name(old):
        for address in cluster_ips(old):
            transaction.give_back_address(_parsed(address))
        return
    before, after = len(families(old)), len(families(service))
    if (before, after) == (1, 2):
        addresses = [*cluster_ips(service), ""][:2]
        spec_of(service)["clusterIPs"] = addresses
        second = families(service)[1]
        addresses[1] = _take_address(service, second, addresses[1], transaction)
    elif (before, after) == (2, 1) and len(cluster_ips(old)) == 2:
        transaction.give_back_address(_parsed(cluster_ips(old)[1]))


# ports


def _port_refusal(service: Document, i: int, port: int, error: AllocationError) -> StatusError:
    refusal = FieldError.invalid(f"spec.ports[{i}].nodePort", port, str(error))
    return status.invalid("Service", "", service["metadata"].get("name", ""), [refusal])


def _next_port(transaction: Transaction) -> int:
    try:
        return transaction.take_next_port()
    except AllocationError as error:
        raise status.internal(f"failed to allocate a nodePort: {error}") from None


def _requested(number: int, ports: list[Document]) -> int:
    """The first node port asked for by an entry with this `port`, or 0."""
    return next(
        (p["nodePort"] for p in ports if p.get("port", 0) == number and p.get("nodePort")), 0
    )


def _take_node_ports(service: Document, transaction: Transaction) -> None:
    """Entries with the same `port` share one node port, whatever their protocols."""
    given: dict[int, int] = {}
    for i, entry in enumerate(ports_of(service)):
        asked, number = entry.get("nodePort", 0), entry.get("port", 0)
        if not asked and not allocates_node_ports(service):
            continue
        shared = given.get(number, 0)
        if shared and not asked:
            entry["nodePort"] = shared
        elif not shared:
            request = _requested(number, ports_of(service))
            if request:
                _take_port(service, i, request, transaction)
            entry["nodePort"] = given[number] = request or _next_port(transaction)
        elif asked != shared:
            _take_port(service, i, asked, transaction)


def _take_port(service: Document, i: int, port: int, transaction: Transaction) -> None:
    try:
        transaction.take_port(port)
    except AllocationError as error:
        raise _port_refusal(service, i, port, error) from None


def _update_node_ports(service: Document, old: Document, transaction: Transaction) -> None:
    stored = held_node_ports(old)
    taken: set[int] = set()
    seen: set[tuple[str, int]] = set()
    for i, entry in enumerate(ports_of(service)):
        port = entry.get("nodePort", 0)
        if not port and not allocates_node_ports(service):
            continue
        if not port:
            entry["nodePort"] = port = _next_port(transaction)
        elif port not in stored and port not in taken:
            _take_port(service, i, port, transaction)
            taken.add(port)
        key = (entry.get("protocol", ""), port)
        if key in seen:
            raise status.plain_failure(f"duplicate nodePort: {{{key[0]} {key[1]}}}")
        seen.add(key)
    for port in dict.fromkeys(stored):
        if port not in node_ports(service):
            transaction.give_back_port(port)


def _take_health_check_port(service: Document, transaction: Transaction) -> None:
    spec = spec_of(service)
    asked = spec.get("healthCheckNodePort", 0)
    try:
        if asked:
            transaction.take_port(asked)
        else:
            spec["healthCheckNodePort"] = transaction.take_next_port()
    except AllocationError as error:
        what = f"requested HealthCheck NodePort {asked}" if asked else "a HealthCheck NodePort 0"
        raise status.internal(f"failed to allocate {what}: {error}") from None


# type changes


def drop_type_dependent(service: Document, old: Document) -> None:
    """Drop what the new type has no use for, where the client didn't also change it."""
    spec = spec_of(service)
    if external_name(service) and not external_name(old):
        if same(service, old, "clusterIP", "") and cluster_ips(service) == cluster_ips(old):
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if same(service, old, field):
                spec.pop(field, None)
    closed = type_of(old) in WITH_NODE_PORTS and type_of(service) not in WITH_NODE_PORTS
    if closed and set(node_ports(service)) <= set(node_ports(old)):
        for port in ports_of(service):
            port.pop("nodePort", None)
    stopped = needs_health_check(old) and not needs_health_check(service)
    if stopped and same(service, old, "healthCheckNodePort", 0):
        spec.pop("healthCheckNodePort", None)
    hidden = externally_accessible(old) and not externally_accessible(service)
    if hidden and same(service, old, "externalTrafficPolicy", ""):
        spec.pop("externalTrafficPolicy", None)
    if type_of(old) == "LoadBalancer" != type_of(service):
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if same(service, old, field):
                spec.pop(field, None)
    if type_of(service) != "LoadBalancer":
        service.setdefault("status", {})["loadBalancer"] = {}


# what a stored Service holds


def held_addresses(service: Document) -> list[Address]:
    """The addresses that a stored Service has from the pool."""
    if external_name(service):
        return []
    found = [parse_ip(address) for address in cluster_ips(service) if address != NONE]
    return [address for address in found if address is not None]


def held_node_ports(service: Document) -> list[int]:
    """The node ports of its ports that a stored Service has from the pool.

    An ExternalName keeps what it was given there, and holds nothing of it: others may have them.
    """
    return list(dict.fromkeys(node_ports(service))) if type_of(service) in WITH_NODE_PORTS else []


def held_ports(service: Document) -> list[int]:
    """The node ports that a stored Service has from the pool, its health check port included."""
    found = held_node_ports(service)
    if needs_health_check(service) and (port := spec_of(service).get("healthCheckNodePort", 0)):
        found.append(port)
    return found


def ip_addresses(service: Document) -> list[Document]:
    """The IPAddress objects that stand for a Service's addresses (catalogue 1.6)."""
    meta = service["metadata"]
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": {
                "name": str(address),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": IPV4 if address.version == 4 else IPV6,
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {
                "parentRef": {
                    "group": "",
                    "resource": "services",
                    "namespace": meta.get("namespace", ""),
                    "name": meta.get("name", ""),
                }
            },
        }
        for address in held_addresses(service)
    ]
