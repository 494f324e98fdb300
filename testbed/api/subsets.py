"""The canonical layout of Endpoints subsets, as the API server stores them.

Every distinct port is mapped to the addresses that offer it, and ports with the same addresses
share a subset. The order of ports and subsets is that of an MD5 over Go's dump of them. Source:
pkg/api/endpoints/util.go (RepackSubsets), pkg/util/hash.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any, TypeAlias

from testbed.api.documents import Document

#: Name, number, protocol, application protocol, and where the port stands if it has the last one.
_PortKey: TypeAlias = tuple[str, int, str, str | None, int]
_AddressKey: TypeAlias = tuple[str, str]

#: Stands for "no ports", so that addresses without ports aren't lost.
_NO_PORT: _PortKey = ("", -1, "", None, 0)


def repack(subsets: list[Document]) -> list[Document]:
    """The same endpoints in canonical layout; the input is left alone."""
    addresses: dict[_AddressKey, Document] = {}
    offered: dict[_PortKey, dict[_AddressKey, bool]] = {}
    place = itertools.count(1)
    for subset in subsets:
        ports = [_port_key(port, next(place)) for port in subset.get("ports") or ()]
        for port in ports or [_NO_PORT]:
            for field, ready in (("addresses", True), ("notReadyAddresses", False)):
                for address in subset.get(field) or ():
                    key = _address_key(address)
                    addresses.setdefault(key, address)
                    states = offered.setdefault(port, {})
                    states[key] = ready and states.get(key, True)
    grouped: dict[tuple[tuple[_AddressKey, bool], ...], list[_PortKey]] = {}
    for port, states in offered.items():
        together = grouped.setdefault(tuple(sorted(states.items())), [])
        if port[1] > 0:
            together.append(port)
    packed = [_subset(group, ports, addresses) for group, ports in grouped.items()]
    return sorted(packed, key=_digest_of_subset)


def _port_key(port: Document, place: int) -> _PortKey:
    """A port's identity: Go compares an application protocol by its pointer, not its text."""
    name, number, application = port.get("name", ""), port.get("port", 0), port.get("appProtocol")
    return name, number, port.get("protocol", ""), application, 0 if application is None else place


def _address_key(address: Document) -> _AddressKey:
    return address.get("ip", ""), (address.get("targetRef") or {}).get("uid", "")


def _subset(
    group: tuple[tuple[_AddressKey, bool], ...],
    ports: list[_PortKey],
    addresses: dict[_AddressKey, Document],
) -> Document:
    out: Document = {}
    for field, wanted in (("addresses", True), ("notReadyAddresses", False)):
        if found := [addresses[key] for key, ready in group if ready is wanted]:
            out[field] = found
    if ports:
        ports.sort(key=lambda port: _md5(f"(core.EndpointPort){_dump_port(port)}"))
        out["ports"] = [_port(port) for port in ports]
    return out


def _port(key: _PortKey) -> Document:
    name, number, protocol, application, _ = key
    out: Document = {"name": name, "port": number, "protocol": protocol}
    return out if application is None else out | {"appProtocol": application}


def _md5(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def _digest_of_subset(subset: Document) -> bytes:
    parts = []
    for name, field in (("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")):
        items = [_dump_address(address) for address in subset.get(field, ())]
        parts.append(f"{name}:{_dump_list('core.EndpointAddress', items)}")
    ports = [_dump_port(_port_key(port, 0)) for port in subset.get("ports", ())]
    parts.append(f"Ports:{_dump_list('core.EndpointPort', ports)}")
    return _md5(f"(core.EndpointSubset){{{' '.join(parts)}}}")


def _dump_list(kind: str, items: list[str]) -> str:
    """A list names its items' type once."""
    return f"([]{kind})[{' '.join(items)}]" if items else f"([]{kind})<nil>"


def _dump_port(key: _PortKey) -> str:
    name, number, protocol, application, _ = key
    return (
        f"{{Name:(string){name} Port:(int32){number} "
        f"Protocol:(core.Protocol){protocol} AppProtocol:{_dump_pointer(application)}}}"
    )


def _dump_pointer(value: Any) -> str:
    return "(*string)<nil>" if value is None else f"(*string){value}"


def _dump_address(address: Document) -> str:
    reference = address.get("targetRef")
    target = "(*core.ObjectReference)<nil>"
    if reference is not None:
        names = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        go = ("Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath")
        kinds = ("string", "string", "string", "types.UID", "string", "string", "string")
        members = zip(names, go, kinds, strict=True)
        fields = " ".join(f"{g}:({k}){reference.get(n, '')}" for n, g, k in members)
        target = f"(*core.ObjectReference){{{fields}}}"
    return (
        f"{{IP:(string){address.get('ip', '')} "
        f"Hostname:(string){address.get('hostname', '')} "
        f"NodeName:{_dump_pointer(address.get('nodeName'))} TargetRef:{target}}}"
    )
