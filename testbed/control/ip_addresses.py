"""IPAddress objects: one for every ClusterIP, as the API server's allocator keeps them.

Source: pkg/registry/core/service/ipallocator/ipallocator.go createIPAddress (catalogue 1.6, F-71).
"""

from __future__ import annotations

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import family_of
from testbed.control.store import Event, EventType, Store

RESOURCE = "ipaddresses"
MANAGED_BY = "ipallocator.k8s.io"
_MANAGED_BY_LABEL = "ipaddress.kubernetes.io/managed-by"


def follow_service(store: Store, event: Event) -> None:
    """Bring the IPAddress objects of a Service in line with an event of it."""
    before = addresses_of(event.old)
    after = [] if event.type is EventType.DELETED else addresses_of(event.object)
    for address in before:
        if address not in after and store.find(RESOURCE, "", address) is not None:
            store.delete(RESOURCE, "", address)
    for address in after:
        if store.find(RESOURCE, "", address) is None:
            store.create(RESOURCE, document(address, event.object))


def addresses_of(service: Document | None) -> list[str]:
    """The ClusterIPs of a Service; none of a headless one."""
    spec = (service or {}).get("spec") or {}
    return [address for address in spec.get("clusterIPs") or () if address not in ("", "None")]


def labels_of(address: str) -> dict[str, str]:
    """The labels that the allocator gives to an IPAddress."""
    return {"ipaddress.kubernetes.io/ip-family": family_of(address), _MANAGED_BY_LABEL: MANAGED_BY}


def is_managed(ip_address: Document) -> bool:
    """Whether an IPAddress is the allocator's."""
    labels = ip_address["metadata"].get("labels") or {}
    return bool(labels.get(_MANAGED_BY_LABEL) == MANAGED_BY)


def document(address: str, service: Document) -> Document:
    """The IPAddress of a Service's address."""
    return {
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address,
            "labels": labels_of(address),
        },
        "spec": {
            "parentRef": {
                "resource": "services",
                "namespace": namespace_of(service),
                "name": name_of(service),
            }
        },
    }
