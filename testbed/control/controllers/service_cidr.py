"""ServiceCIDR: ready while it may give addresses out, held while some of its addresses are in use.

Source: pkg/controller/servicecidrs/servicecidrs_controller.go. Its ten seconds of grace, which let
other API servers hear of a deletion, aren't needed: the only allocator here hears of it at once.
"""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Iterable

from testbed.api.documents import Document, name_of
from testbed.control.controllers.base import Controller, Key, set_condition
from testbed.control.store import Event

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
READY = "Kubernetes Service CIDR is ready"
IN_USE = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new "
    "ServiceCIDR"
)


class ServiceCIDRController(Controller):
    resources = ("servicecidrs", "ipaddresses")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "servicecidrs":
            # A range that comes or goes decides whether another one may be deleted.
            yield from super().keys_for(event)
        for document in self.store.list("servicecidrs"):
            if document["metadata"].get("deletionTimestamp"):
                yield "", name_of(document)

    def reconcile(self, key: Key) -> None:
        found = self.store.find("servicecidrs", *key)
        if found is None:
            return
        if found["metadata"].get("deletionTimestamp"):
            self._let_go(found)
        else:
            self._admit(found)

    def _admit(self, found: Document) -> None:
        changed = copy.deepcopy(found)
        finalizers = changed["metadata"].setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        self._set_ready(changed, "True", "", READY)
        if changed != found:
            self.api.update("servicecidrs", changed, status=True)

    def _let_go(self, found: Document) -> None:
        changed = copy.deepcopy(found)
        if self._is_needed(found):
            self._set_ready(changed, "False", "Terminating", IN_USE)
        else:
            finalizers = found["metadata"].get("finalizers") or ()
            changed["metadata"]["finalizers"] = [f for f in finalizers if f != FINALIZER]
        if changed != found:
            self.api.update("servicecidrs", changed, status=True)

    def _set_ready(self, document: Document, value: str, reason: str, message: str) -> None:
        wanted = {"type": "Ready", "status": value, "reason": reason, "message": message}
        set_condition(document.setdefault("status", {}), wanted, self.store.timestamp())

    def _is_needed(self, document: Document) -> bool:
        """Whether an address in use is in this range and in no other that stays."""
        mine = _networks(document)
        others = [
            network
            for other in self.store.list("servicecidrs")
            if not other["metadata"].get("deletionTimestamp")
            for network in _networks(other)
        ]
        addresses = [ipaddress.ip_address(name_of(a)) for a in self.store.list("ipaddresses")]
        return any(
            any(address in network for network in mine)
            and not any(address in network for network in others)
            for address in addresses
        )


def default_document(cidrs: Iterable[str]) -> Document:
    """ServiceCIDR `kubernetes`, which the API server makes of its own ranges."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": list(cidrs)},
    }


def _networks(document: Document) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(cidr) for cidr in document["spec"]["cidrs"]]
