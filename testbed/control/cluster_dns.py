"""Keeps the cluster's DNS records in step with the store."""

from __future__ import annotations

from collections.abc import Callable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import EndpointSlice, NamespacedName, Service
from testbed.control.store import Event, EventType, Store
from testbed.dns.records import ClusterRecords


def feed(store: Store, records: ClusterRecords) -> Callable[[], None]:
    """Bring every Service, EndpointSlice and namespace into `records`, now and from now on.

    A change is in the records before the write that made it returns. Returns the call that ends it.
    """

    def key(document: Document) -> NamespacedName:
        return NamespacedName(namespace_of(document), name_of(document))

    def services(document: Document, gone: bool) -> None:
        if gone:
            records.delete_service(key(document))
        else:
            records.set_service(Service.from_document(document))

    def slices(document: Document, gone: bool) -> None:
        if gone:
            records.delete_slice(key(document))
        else:
            records.set_slice(EndpointSlice.from_document(document))

    def namespaces(document: Document, gone: bool) -> None:
        (records.delete_namespace if gone else records.set_namespace)(name_of(document))

    ends = []
    for resource, take in (
        ("namespaces", namespaces),
        ("endpointslices", slices),
        ("services", services),
    ):
        for document in store.list(resource):
            take(document, False)
        ends.append(store.watch(resource, _watcher(take)))

    def end() -> None:
        for stop in ends:
            stop()

    return end


def _watcher(take: Callable[[Document, bool], None]) -> Callable[[Event], None]:
    return lambda event: take(event.object, event.type is EventType.DELETED)
