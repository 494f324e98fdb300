"""What a control plane that starts again makes of the store before anybody writes to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from testbed.api.documents import Document, name_of
from testbed.control import ip_addresses
from testbed.control.store import Event, EventType, Store


class Allocators(Protocol):
    """What takes allocations over (testbed.api.admission)."""

    def restore(self, documents: Iterable[Document]) -> None: ...


def restore(store: Store, admission: Allocators) -> None:
    """Give the allocators what stored objects hold, and the Services their IPAddress objects.

    An IPAddress is written after its Service: a process may have died in between. Source: the
    repair loops of pkg/registry/core/service/ipallocator/controller.
    """
    admission.restore([document for name in store.resources() for document in store.list(name)])
    held: set[str] = set()
    for service in store.list("services"):
        version = int(service["metadata"]["resourceVersion"])
        ip_addresses.follow_service(
            store, Event(EventType.ADDED, "services", service, None, version)
        )
        held.update((service.get("spec") or {}).get("clusterIPs") or ())
    for address in store.list(ip_addresses.RESOURCE):
        if ip_addresses.is_managed(address) and name_of(address) not in held:
            store.delete(ip_addresses.RESOURCE, "", name_of(address))
