"""Rows of the networking kinds. Source: pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from testbed.control.apiserver.tables.text import (
    NONE,
    UNSET,
    balancer_addresses,
    since,
    some,
    spec,
)


def _name(document: Document) -> str:
    return str(document["metadata"].get("name", ""))


def _age(document: Document, now: float) -> str:
    return since(document["metadata"].get("creationTimestamp"), now)


def endpoint_slice_row(endpoints: Document, now: float) -> list[Any]:
    ports = [_slice_port(port) for port in endpoints.get("ports") or ()]
    addresses = [a for e in endpoints.get("endpoints") or () for a in e.get("addresses") or ()]
    return [
        _name(endpoints),
        endpoints.get("addressType") or "",
        some(ports) or UNSET,
        some(addresses) or UNSET,
        _age(endpoints, now),
    ]


def _slice_port(port: Document) -> str:
    if port.get("port") is not None:
        return str(port["port"])
    return str(port.get("name") or "*")


def ingress_row(ingress: Document, now: float) -> list[Any]:
    rules = spec(ingress).get("rules") or ()
    hosts = some([rule["host"] for rule in rules if rule.get("host")]) or "*"
    return [
        _name(ingress),
        spec(ingress).get("ingressClassName") or NONE,
        hosts,
        ",".join(balancer_addresses(ingress)),
        "80, 443" if spec(ingress).get("tls") else "80",
        _age(ingress, now),
    ]


def ingress_class_row(kind: Document, now: float) -> list[Any]:
    parameters = NONE
    if found := spec(kind).get("parameters"):
        group = f".{found['apiGroup']}" if found.get("apiGroup") else ""
        parameters = f"{found.get('kind')}{group}/{found.get('name')}"
    return [_name(kind), spec(kind).get("controller") or "", parameters, _age(kind, now)]


def service_cidr_row(cidr: Document, now: float) -> list[Any]:
    return [_name(cidr), ",".join(spec(cidr).get("cidrs") or ()), _age(cidr, now)]


def ip_address_row(address: Document, now: float) -> list[Any]:
    parent = spec(address).get("parentRef") or {}
    resource = str(parent.get("resource") or "")
    if parent.get("group"):
        resource += f".{parent['group']}"
    parts = (resource, parent.get("namespace"), parent.get("name"))
    reference = "/".join(str(part) for part in parts if part) or NONE
    return [_name(address), reference, _age(address, now)]


def lease_row(lease: Document, now: float) -> list[Any]:
    return [_name(lease), spec(lease).get("holderIdentity") or "", _age(lease, now)]
