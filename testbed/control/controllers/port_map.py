"""The ports that endpoints share, in the order in which slices list them.

Source: staging/src/k8s.io/endpointslice/util/controller_utils.go (NewPortMapKey): the order is that
of an FNV hash of each port's text in Go (k8s.io/utils/dump ForHash, go-spew's `%#v`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from testbed.api.documents import Document

#: (name, number, protocol, appProtocol or None).
SlicePort: TypeAlias = tuple[str, int, str, str | None]
#: Ports in the order of `port_map`: what groups endpoints into slices.
PortMap: TypeAlias = tuple[SlicePort, ...]

_FNV_OFFSET, _FNV_PRIME = 0x6C62272E07BB014262B821756295C58D, (1 << 88) + 0x13B


def port_map(ports: Iterable[SlicePort]) -> PortMap:
    """Ports in the order in which slices list them."""
    return tuple(sorted(ports, key=_hash))


def ports_of(slice_: Document) -> PortMap:
    """The ports of a stored slice."""
    return port_map(
        (p.get("name") or "", p.get("port") or 0, p["protocol"], p.get("appProtocol"))
        for p in slice_.get("ports") or ()
    )


def port_documents(ports: PortMap) -> list[Document] | None:
    """What stands in a slice: nothing where there are no ports."""
    documents: list[Document] = []
    for name, number, protocol, app_protocol in ports:
        document: Document = {"name": name, "port": number, "protocol": protocol}
        if app_protocol is not None:
            document["appProtocol"] = app_protocol
        documents.append(document)
    return documents or None


def _hash(port: SlicePort) -> int:
    name, number, protocol, app_protocol = port
    fields = (
        ("Name", "string", name),
        ("Protocol", "v1.Protocol", protocol),
        ("Port", "int32", number),
        ("AppProtocol", "string", app_protocol),
    )
    printed = " ".join(f"{field}:{_pointer(kind, value)}" for field, kind, value in fields)
    return _fnv128a(f"(v1.EndpointPort){{{printed}}}")


def _pointer(kind: str, value: Any) -> str:
    return f"(*{kind}){'<nil>' if value is None else value}"


def _fnv128a(text: str) -> int:
    """FNV-1a of 128 bits. Source: Go hash/fnv New128a."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & ((1 << 128) - 1)
    return value
