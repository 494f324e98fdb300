"""Endpoints (v1, deprecated): the Pods behind every Service with a selector, in one object.

Source: pkg/controller/endpoint/endpoints_controller.go, pkg/api/v1/endpoints/util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from testbed.api.documents import Document
from testbed.api.objects import LABEL_HEADLESS, Pod, Service, family_of
from testbed.control.controllers.base import Controller, Key
from testbed.control.controllers.endpointslice import selecting, target_port
from testbed.control.pods import TERMINAL_PHASES
from testbed.control.store import Event

LABEL_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MAX_ADDRESSES = 1000
#: Annotations that are about a moment, not the object.
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


class EndpointsController(Controller):
    resources = ("services", "pods", "endpoints")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods":
            return selecting(self.store, event)
        return super().keys_for(event)

    def reconcile(self, key: Key) -> None:
        service = self.store.find("services", *key)
        found = self.store.find("endpoints", *key)
        if service is None:
            return
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return
        view = Service.from_document(service)
        subsets, truncated = desired_subsets(view, self.store.list("pods", key[0]))
        labels = {k: v for k, v in view.labels.items() if k != LABEL_HEADLESS}
        labels[LABEL_MANAGED_BY] = MANAGER
        if view.headless:
            labels[LABEL_HEADLESS] = ""
        annotations = {
            k: v
            for k, v in ((found or {"metadata": {}})["metadata"].get("annotations") or {}).items()
            if k not in (TRIGGER_TIME, OVER_CAPACITY)
        }
        if truncated:
            annotations[OVER_CAPACITY] = "truncated"
        self._write(key, found, subsets, labels, annotations)

    def _write(
        self,
        key: Key,
        found: Document | None,
        subsets: list[Document],
        labels: dict[str, str],
        annotations: dict[str, str],
    ) -> None:
        meta = {"name": key[1], "namespace": key[0]} if found is None else {**found["metadata"]}
        meta["labels"] = labels
        meta.pop("annotations", None)
        if annotations:
            meta["annotations"] = annotations
        wanted: Document = {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta}
        if subsets:
            wanted["subsets"] = subsets
        if found is None:
            self.api.create("endpoints", wanted)
        elif wanted != found:
            self.api.update("endpoints", wanted)


def desired_subsets(service: Service, pods: Iterable[Document]) -> tuple[list[Document], bool]:
    """Addresses grouped by the ports they serve, and whether there were too many.

    Only the Service's primary family; Pods that are ending are left out unless
    publishNotReadyAddresses.
    """
    groups: dict[tuple[tuple[tuple[str, object], ...], ...], list[tuple[Document, bool]]] = {}
    selector = service.selector or {}
    for document in pods:
        pod = Pod.from_document(document)
        if not selector.items() <= pod.labels.items() or pod.phase in TERMINAL_PHASES:
            continue
        if pod.terminating and not service.publish_not_ready:
            continue
        address = _address(service, pod)
        if address is None:
            continue
        ports = tuple(tuple(port.items()) for port in _ports(service, pod))
        if not ports and service.ports:
            continue
        ready = service.publish_not_ready or pod.ready
        groups.setdefault(ports, []).append((address, ready))
    return _subsets(groups)


def _subsets(
    groups: Mapping[tuple[tuple[tuple[str, object], ...], ...], list[tuple[Document, bool]]],
) -> tuple[list[Document], bool]:
    everyone = [ready for members in groups.values() for _, ready in members]
    room = {True: MAX_ADDRESSES, False: max(0, MAX_ADDRESSES - sum(everyone))}
    subsets = []
    for ports, members in groups.items():
        subset: Document = {}
        for name, state in (("addresses", True), ("notReadyAddresses", False)):
            chosen = [address for address, ready in members if ready is state][: room[state]]
            room[state] -= len(chosen)
            if chosen:
                subset[name] = sorted(chosen, key=lambda address: str(address["ip"]))
        if subset and ports:
            subset["ports"] = [dict(port) for port in ports]
        if subset:
            subsets.append(subset)
    return subsets, len(everyone) > MAX_ADDRESSES


def _address(service: Service, pod: Pod) -> Document | None:
    family = service.ip_families[0] if service.ip_families else None
    ip = next((ip for ip in pod.ips if family in (None, family_of(ip))), None)
    if ip is None:
        return None
    address: Document = {"ip": ip}
    if pod.hostname and pod.subdomain == service.key.name:
        address["hostname"] = pod.hostname
    if pod.node_name:
        address["nodeName"] = pod.node_name
    key = pod.key
    reference = {"kind": "Pod", "namespace": key.namespace, "name": key.name, "uid": pod.uid}
    address["targetRef"] = {k: v for k, v in reference.items() if v}
    return address


def _ports(service: Service, pod: Pod) -> list[Document]:
    found = []
    for port in service.ports:
        number = target_port(port, pod)
        if number is None:
            continue
        entry: Document = {"name": port.name} if port.name else {}
        entry |= {"port": number, "protocol": port.protocol}
        if port.app_protocol:
            entry["appProtocol"] = port.app_protocol
        found.append(entry)
    return found
