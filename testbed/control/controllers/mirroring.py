"""EndpointSliceMirroring: hand-made Endpoints of Services without a selector, as EndpointSlices.

Source: pkg/controller/endpointslicemirroring (reconciler.go, utils.go, endpointset.go).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import IPV4, IPV6, LABEL_SERVICE_NAME, family_of
from testbed.control.controllers.base import Controller, Key, owner_reference
from testbed.control.controllers.endpoints import TRIGGER_TIME
from testbed.control.controllers.endpointslice import LABEL_MANAGED_BY
from testbed.control.controllers.packing import PortMap, identity, pack, write_packing
from testbed.control.store import Event

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_PER_SUBSET = 1000


class EndpointSliceMirroringController(Controller):
    resources = ("endpoints", "services", "endpointslices")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource != "endpointslices":
            return super().keys_for(event)
        labels = event.object["metadata"].get("labels") or {}
        if labels.get(LABEL_MANAGED_BY) == MANAGER and LABEL_SERVICE_NAME in labels:
            return [(namespace_of(event.object), labels[LABEL_SERVICE_NAME])]
        return []

    def reconcile(self, key: Key) -> None:
        endpoints = self.store.find("endpoints", *key)
        service = self.store.find("services", *key)
        existing = [
            slice_
            for slice_ in self.store.list("endpointslices", key[0])
            if (labels := slice_["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGER
            and labels.get(LABEL_SERVICE_NAME) == key[1]
        ]
        if endpoints is None or service is None or not is_mirrored(endpoints, service):
            for slice_ in existing:
                self.api.delete("endpointslices", key[0], name_of(slice_))
            return
        labels = {
            **(endpoints["metadata"].get("labels") or {}),
            LABEL_SERVICE_NAME: key[1],
            LABEL_MANAGED_BY: MANAGER,
        }
        annotations = {
            name: value
            for name, value in (endpoints["metadata"].get("annotations") or {}).items()
            if name not in (LAST_APPLIED, TRIGGER_TIME)
        }
        wanted = self._wanted(endpoints)
        for family in (IPV4, IPV6):
            current = [s for s in existing if s["addressType"] == family]
            if not wanted.get(family):
                for slice_ in current:
                    self.api.delete("endpointslices", key[0], name_of(slice_))
                continue
            plan = pack(wanted[family], current, labels, annotations, MAX_PER_SUBSET)
            meta = {
                "generateName": f"{key[1]}-",
                "namespace": key[0],
                "labels": labels,
                "ownerReferences": [owner_reference(endpoints)],
                **({"annotations": annotations} if annotations else {}),
            }
            write_packing(self.api, plan, family, meta)

    def _wanted(self, endpoints: Document) -> dict[str, dict[PortMap, dict[str, Document]]]:
        """family → ports → identity → endpoint."""
        wanted: dict[str, dict[PortMap, dict[str, Document]]] = {}
        dropped = invalid = 0
        for subset in endpoints.get("subsets") or ():
            ports = tuple(
                (
                    p.get("name") or "",
                    p["port"],
                    p.get("protocol") or "TCP",
                    p.get("appProtocol") or "",
                )
                for p in subset.get("ports") or ()
            )
            addresses = [(a, True) for a in subset.get("addresses") or ()]
            addresses += [(a, False) for a in subset.get("notReadyAddresses") or ()]
            dropped += max(0, len(addresses) - MAX_PER_SUBSET)
            for address, ready in addresses[:MAX_PER_SUBSET]:
                if not _is_address(address["ip"]):
                    invalid += 1
                    continue
                endpoint = _endpoint(address, ready)
                group = wanted.setdefault(family_of(address["ip"]), {}).setdefault(ports, {})
                group[identity(endpoint)] = endpoint
        self._warn(endpoints, dropped, invalid)
        return wanted

    def _warn(self, endpoints: Document, dropped: int, invalid: int) -> None:
        if invalid:
            message = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
            self.api.event(endpoints, "Warning", "InvalidIPAddress", message)
        if dropped:
            message = (
                "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{dropped} addresses were skipped"
            )
            self.api.event(endpoints, "Warning", "TooManyAddressesToMirror", message)


def is_mirrored(endpoints: Document, service: Document) -> bool:
    """Whether the Endpoints of a Service are copied into slices (catalogue E-21)."""
    meta = endpoints["metadata"]
    return (
        not service["spec"].get("selector")
        and (meta.get("labels") or {}).get(SKIP) != "true"
        and LEADER not in (meta.get("annotations") or {})
    )


def _port(port: Document) -> tuple[str, int, str, str]:
    protocol, app = port.get("protocol") or "TCP", port.get("appProtocol") or ""
    return port.get("name") or "", int(port["port"]), protocol, app


def _endpoint(address: Document, ready: bool) -> Document:
    endpoint: Document = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    if address.get("hostname"):
        endpoint["hostname"] = address["hostname"]
    if address.get("nodeName"):
        endpoint["nodeName"] = address["nodeName"]
    if address.get("targetRef"):
        endpoint["targetRef"] = address["targetRef"]
    return endpoint


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
