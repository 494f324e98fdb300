"""IPAddress objects: one for every ClusterIP, as the API server's allocator keeps them.

Source: pkg/registry/core/service/ipallocator/ipallocator.go createIPAddress (catalogue 1.6, F-71).
"""

from __future__ import annotations

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import family_of
from testbed.control.store import Event, EventType, Store

RESOURCE = "ipaddresses"
MANAGED_BY = "ipallocator.k8s.io"


def follow_service(store: Store, event: Event) -> None:
    """Bring the IPAddress objects of a Service in line with an event of it."""
    before = _addresses(event.old)
    after = [] if event.type is EventType.DELETED else _addresses(event.object)
    for address in before:
        if address not in after and store.find(RESOURCE, "", address) is not None:
            store.delete(RESOURCE, "", address)
    for address in after:
        if store.find(RESOURCE, "", address) is None:
            store.create(RESOURCE, _ip_address(address, event.object))


def _addresses(service: Document | None) -> list[str]:
    spec = (service or {}).get("spec") or {}
    return [address for address in spec.get("clusterIPs") or () if address not in ("", "None")]


def _ip_address(address: str, service: Document) -> Document:
    return {
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family_of(address),
                "ipaddress.kubernetes.io/managed-by": MANAGED_BY,
            },
        },
        "spec": {
            "parentRef": {
                "resource": "services",
                "namespace": namespace_of(service),
                "name": name_of(service),
            }
        },
    }
