"""The IPAddress objects of Services, made again where somebody has removed or changed them.

Source: pkg/registry/core/service/ipallocator/controller/repairip.go. That looks at a Service again
every three minutes; here an IPAddress that changes is reason enough.
"""

from __future__ import annotations

from collections.abc import Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import family_of
from testbed.control import ip_addresses
from testbed.control.controllers.base import Controller, Key
from testbed.control.store import Event


class IPAddressRepair(Controller):
    """Has one right IPAddress for each address of a Service.

    Its keys are Services, and (with namespace "") IPAddresses.
    """

    resources = (ip_addresses.RESOURCE,)

    def keys_for(self, event: Event) -> Iterable[Key]:
        yield _parent(event.object)
        yield "", name_of(event.object)

    def reconcile(self, key: Key) -> None:
        if key[0]:
            service = self.store.find("services", *key)
            if service is not None:
                self._repair(service)
            return
        found = self.store.find(ip_addresses.RESOURCE, *key)
        if found is not None and ip_addresses.is_managed(found):
            self._check(found)

    def _repair(self, service: Document) -> None:
        """Give a Service the IPAddress objects that it lacks."""
        where = namespace_of(service), name_of(service)
        for address in ip_addresses.addresses_of(service):
            family = family_of(address)
            found = self.store.find(ip_addresses.RESOURCE, "", address)
            if found is None:
                message = f"Cluster IP [{family}]: {address} is not allocated; repairing"
                self.api.event(service, "Warning", "ClusterIPNotAllocated", message)
            elif self._is_right(found, address, where):
                continue
            else:
                if _parent(found) != where:
                    message = (
                        f"the ClusterIP [{family}]: {address} for Service {'/'.join(where)} has a "
                        "wrong reference; repairing"
                    )
                    self.api.event(service, "Warning", "ClusterIPNotAllocated", message)
                self.store.delete(ip_addresses.RESOURCE, "", address)
            self.store.create(ip_addresses.RESOURCE, ip_addresses.document(address, service))

    def _is_right(self, found: Document, address: str, where: Key) -> bool:
        """Whether an IPAddress may stay: with its labels, it is this Service's or another's."""
        wanted = ip_addresses.labels_of(address)
        labels = found["metadata"].get("labels") or {}
        if any(labels.get(name) != value for name, value in wanted.items()):
            return False
        parent = _parent(found)
        return parent == where or self.store.find("services", *parent) is not None

    def _check(self, found: Document) -> None:
        """Remove an IPAddress that names a Service which has another address."""
        parent, address = _parent(found), name_of(found)
        service = self.store.find("services", *parent)
        if service is None or address in ip_addresses.addresses_of(service):
            return
        message = (
            f"IPAddress: {address} for Service {'/'.join(parent)} has a wrong reference; "
            "cleaning up"
        )
        self.api.event(found, "Warning", "IPAddressWrongReference", message)
        self.store.delete(ip_addresses.RESOURCE, "", address)
        for each in self.store.list("services"):
            if address in ip_addresses.addresses_of(each):
                self._repair(each)


def _parent(document: Document) -> Key:
    """The key of the Service that an IPAddress names; that of nothing where it names none."""
    reference = (document.get("spec") or {}).get("parentRef") or {}
    if reference.get("group") or reference.get("resource") != "services":
        return "", ""
    return reference.get("namespace") or "", reference.get("name") or ""
