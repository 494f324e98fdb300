"""Endpoints (v1, deprecated): the Pods behind every Service with a selector, in one object.

Source: pkg/controller/endpoint/endpoints_controller.go.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable

from testbed.api.documents import Document
from testbed.api.objects import IPV4, LABEL_HEADLESS, Pod, Service, family_of
from testbed.api.subsets import repack
from testbed.control.controllers.base import ClusterApi, Controller, Key
from testbed.control.controllers.endpointslice import selecting, target_port
from testbed.control.controllers.mirroring import LEADER
from testbed.control.controllers.triggers import TRIGGER_TIME, TriggerTimes
from testbed.control.pods import TERMINAL_PHASES
from testbed.control.store import Event, EventType, NotFoundError

LABEL_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MAX_ADDRESSES = 1000


class EndpointsController(Controller):
    resources = ("services", "pods", "endpoints")

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        self._triggers = TriggerTimes()
        self._gone: set[Key] = set()

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods":
            yield from selecting(self.store, event)
            return
        for key in super().keys_for(event):
            if event.resource == "services" and event.type is EventType.DELETED:
                self._gone.add(key)
            yield key

    def reconcile(self, key: Key) -> None:
        """Write the Endpoints of one Service; those of one without a selector are the user's."""
        service = self.store.find("services", *key)
        found = self.store.find("endpoints", *key)
        if service is None:
            self._leave(key, found)
            return
        self._gone.discard(key)
        view = Service.from_document(service)
        if not view.selector or view.type == "ExternalName":
            return
        selector = view.selector.items()
        chosen = [
            pod
            for pod in self.store.list("pods", key[0])
            if selector <= (pod["metadata"].get("labels") or {}).items()
        ]
        trigger = self._triggers.take(service, chosen)
        subsets, truncated = truncate(desired_subsets(view, chosen))
        labels = {k: v for k, v in view.labels.items() if k != LABEL_HEADLESS}
        labels[LABEL_MANAGED_BY] = MANAGER
        if view.headless or not view.cluster_ips:
            labels[LABEL_HEADLESS] = ""
        old = (found or {"metadata": {}})["metadata"]
        annotations = dict(old.get("annotations") or {})
        if (
            found is not None
            and [_trimmed(subset) for subset in found.get("subsets") or ()] == subsets
            and old.get("labels") == labels
            and (OVER_CAPACITY in annotations) is truncated
        ):
            return
        for name, value in ((TRIGGER_TIME, trigger), (OVER_CAPACITY, "truncated" * truncated)):
            annotations.pop(name, None)
            if value:
                annotations[name] = value
        self._write(key, found, subsets, labels, annotations)

    def _leave(self, key: Key, found: Document | None) -> None:
        """The Service is gone, and its Endpoints with it."""
        self._triggers.forget(key)
        gone = key in self._gone
        self._gone.discard(key)
        if (
            gone
            and found is not None
            and LEADER not in (found["metadata"].get("annotations") or {})
        ):
            with contextlib.suppress(NotFoundError):
                self.api.delete("endpoints", *key)

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
        else:
            self.api.update("endpoints", wanted)


def desired_subsets(service: Service, pods: Iterable[Document]) -> list[Document]:
    """The addresses of the Pods that a Service selects, grouped by the ports that they serve.

    Only the Service's primary family; Pods that are ending are left out unless
    publishNotReadyAddresses.
    """
    loose: list[Document] = []
    for pod in map(Pod.from_document, pods):
        if pod.phase in TERMINAL_PHASES or (pod.terminating and not service.publish_not_ready):
            continue
        address = _address(service, pod)
        if address is None:
            continue
        ready = service.publish_not_ready or pod.ready
        state = "addresses" if ready else "notReadyAddresses"
        if service.ports:
            loose += [{state: [address], "ports": [port]} for port in _ports(service, pod)]
        elif service.headless:
            loose.append({state: [address]})
    return [_trimmed(subset) for subset in repack(loose)]


def _trimmed(subset: Document) -> Document:
    """A subset whose unnamed port says nothing of a name, as the API answers it."""
    if not subset.get("ports"):
        return subset
    ports = [{k: v for k, v in p.items() if (k, v) != ("name", "")} for p in subset["ports"]]
    return {**subset, "ports": ports}


def truncate(subsets: list[Document]) -> tuple[list[Document], bool]:
    """At most 1000 addresses, ready ones first, from each subset in proportion; whether it cut.

    Source: truncateEndpoints.
    """
    ready, unready = (
        sum(len(subset.get(name) or ()) for subset in subsets)
        for name in ("addresses", "notReadyAddresses")
    )
    if ready + unready <= MAX_ADDRESSES:
        return subsets, False
    cut, total, room = "notReadyAddresses", unready, MAX_ADDRESSES - ready
    if ready > MAX_ADDRESSES:
        cut, total, room = "addresses", ready, MAX_ADDRESSES
    left, kept = room, []
    for subset in subsets:
        addresses = subset.get(cut) or []
        share = min(math.ceil(len(addresses) / total * room), left, len(addresses))
        left -= share
        others = {
            name: value
            for name, value in subset.items()
            if name != cut and not (cut == "addresses" and name == "notReadyAddresses")
        }
        kept.append({**others, cut: addresses[:share]} if share else others)
    return [_trimmed(subset) for subset in repack(kept)], True


def _address(service: Service, pod: Pod) -> Document | None:
    ip = next((ip for ip in pod.ips if family_of(ip) == _family(service, pod)), None)
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


def _family(service: Service, pod: Pod) -> str:
    """The family of the Service's Endpoints. Source: podToEndpointAddressForService."""
    if service.ip_families:
        return service.ip_families[0]
    if service.cluster_ips and not service.headless:
        return family_of(service.cluster_ips[0])
    return family_of(pod.ips[0]) if pod.ips else IPV4


def _ports(service: Service, pod: Pod) -> list[Document]:
    found = []
    for port in service.ports:
        number = target_port(port, pod)
        if number is None:
            continue
        entry: Document = {"name": port.name} if port.name else {}
        entry |= {"port": number, "protocol": port.protocol}
        if port.app_protocol is not None:
            entry["appProtocol"] = port.app_protocol
        found.append(entry)
    return found
