"""Validation of EndpointSlice and Endpoints.

Sources: pkg/apis/discovery/validation/validation.go, pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.api.documents import Document
from testbed.api.objects import IPV4, IPV6
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import is_ipv6, legacy_ip, not_special, strict_ip
from testbed.api.validation.names import (
    dns_label,
    dns_subdomain,
    each,
    full_domain_name,
    label_key,
    label_value,
    one_of,
    port_number,
)
from testbed.api.validation.service import PROTOCOLS

MAX_ADDRESSES = 100
MAX_ENDPOINTS = 1000
MAX_PORTS = 20000
MAX_HINTS = 8
MAX_TOPOLOGY_LABELS = 16

_ADDRESS_TYPES = ("FQDN", IPV4, IPV6)


# EndpointSlice


def slice_create(document: Document) -> list[FieldError]:
    """Everything wrong with a new EndpointSlice."""
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    errors += one_of("addressType", document.get("addressType", ""), _ADDRESS_TYPES)
    errors += _endpoints(document)
    return errors + _slice_ports(document.get("ports", ()))


def slice_update(document: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a changed EndpointSlice."""
    errors = slice_create(document)
    return errors + meta.immutable(
        document.get("addressType", ""), old.get("addressType", ""), "addressType"
    )


def _endpoints(document: Document) -> list[FieldError]:
    entries = document.get("endpoints") or ()
    if len(entries) > MAX_ENDPOINTS:
        return [FieldError.too_many("endpoints", len(entries), MAX_ENDPOINTS)]
    errors: list[FieldError] = []
    for i, entry in enumerate(entries):
        where = f"endpoints[{i}]"
        errors += _addresses(entry, document.get("addressType", ""), f"{where}.addresses")
        if "nodeName" in entry:
            errors += each(f"{where}.nodeName", entry["nodeName"], dns_subdomain)
        errors += _topology(entry.get("deprecatedTopology", {}), f"{where}.deprecatedTopology")
        if "hostname" in entry:
            errors += each(f"{where}.hostname", entry["hostname"], dns_label)
        errors += _hints(entry.get("hints", {}), f"{where}.hints")
    return errors


def _addresses(entry: Document, family: str, path: str) -> list[FieldError]:
    addresses = entry.get("addresses", ())
    errors: list[FieldError] = []
    if not addresses:
        errors.append(FieldError.required(path, "must contain at least 1 address"))
    elif len(addresses) > MAX_ADDRESSES:
        errors.append(FieldError.too_many(path, len(addresses), MAX_ADDRESSES))
    for i, address in enumerate(addresses):
        where = f"{path}[{i}]"
        if family == "FQDN":
            errors += full_domain_name(where, address)
        elif family in (IPV4, IPV6):
            errors += _ip_address(address, family, path, where)
    return errors


def _ip_address(address: str, family: str, path: str, where: str) -> list[FieldError]:
    if errors := strict_ip(where, address):
        return errors
    found = []
    if is_ipv6(address) != (family == IPV6):
        found.append(FieldError.invalid(path, address, f"must be an {family} address"))
    return found + not_special(where, address)


def _topology(labels: Document, path: str) -> list[FieldError]:
    errors = []
    if len(labels) > MAX_TOPOLOGY_LABELS:
        errors.append(FieldError.too_many(path, len(labels), MAX_TOPOLOGY_LABELS))
    return errors + meta.labels(labels, path)


def _hints(hints: Document, path: str) -> list[FieldError]:
    """Zones, then nodes; too many of one kind end the check."""
    errors: list[FieldError] = []
    for name, check in (("forZones", label_value), ("forNodes", dns_subdomain)):
        entries: Sequence[Document] = hints.get(name, ())
        if len(entries) > MAX_HINTS:
            return [*errors, FieldError.too_many(f"{path}.{name}", len(entries), MAX_HINTS)]
        seen: set[str] = set()
        for i, hint in enumerate(entries):
            where, value = f"{path}.{name}[{i}].name", hint.get("name", "")
            if value in seen:
                errors.append(FieldError.duplicate(where, value))
            seen.add(value)
            errors += each(where, value, check)
    return errors


def _slice_ports(ports: Sequence[Document]) -> list[FieldError]:
    if len(ports) > MAX_PORTS:
        return [FieldError.too_many("ports", len(ports), MAX_PORTS)]
    errors: list[FieldError] = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        where, name = f"ports[{i}]", port.get("name", "")
        if name:
            errors += each(f"{where}.name", name, dns_label)
        if name in names:
            errors.append(FieldError.duplicate(f"{where}.name", name))
        names.add(name)
        protocol = port.get("protocol")
        if protocol is None:
            errors.append(FieldError.required(f"{where}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(FieldError.not_supported(f"{where}.protocol", protocol, PROTOCOLS))
        if "appProtocol" in port:
            errors += each(f"{where}.appProtocol", port["appProtocol"], label_key)
    return errors


# Endpoints


def create(document: Document) -> list[FieldError]:
    """Everything wrong with new Endpoints."""
    return _meta(document) + _subsets(document)


def update(document: Document, old: Document) -> list[FieldError]:
    """Everything wrong with changed Endpoints; subsets that are as they were aren't looked at."""
    errors = meta.object_meta_update(document["metadata"], old["metadata"]) + _meta(document)
    if document.get("subsets", []) == old.get("subsets", []):
        return errors
    return errors + _subsets(document)


def _meta(document: Document) -> list[FieldError]:
    return meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)


def _subsets(document: Document) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, subset in enumerate(document.get("subsets", ())):
        errors += _subset(subset, f"subsets[{i}]")
    return errors


def _subset(subset: Document, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        words = "must specify `addresses` or `notReadyAddresses`"
        errors.append(FieldError.required(where, words))
    for name in ("addresses", "notReadyAddresses"):
        for i, address in enumerate(subset.get(name, ())):
            errors += _address(address, f"{where}.{name}[{i}]")
    ports = subset.get("ports", ())
    for i, port in enumerate(ports):
        errors += _port(port, f"{where}.ports[{i}]", named=len(ports) > 1)
    return errors


def _address(address: Document, where: str) -> list[FieldError]:
    value = address.get("ip", "")
    errors = legacy_ip(f"{where}.ip", value)
    if address.get("hostname"):
        errors += each(f"{where}.hostname", address["hostname"], dns_label)
    if "nodeName" in address:
        errors += each(f"{where}.nodeName", address["nodeName"], dns_subdomain)
    return errors + not_special(f"{where}.ip", value)


def _port(port: Document, where: str, *, named: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if port.get("name"):
        errors += each(f"{where}.name", port["name"], dns_label)
    elif named:
        errors.append(FieldError.required(f"{where}.name"))
    number = port.get("port", 0)
    errors += [FieldError.invalid(f"{where}.port", number, m) for m in port_number(number)]
    errors += one_of(f"{where}.protocol", port.get("protocol", ""), PROTOCOLS)
    if "appProtocol" in port:
        errors += each(f"{where}.appProtocol", port["appProtocol"], label_key)
    return errors
