"""EndpointSlice: the Pods behind every Service with a selector, in slices of at most 100.

Source: staging/src/k8s.io/endpointslice (reconciler.go, utils.go) of Kubernetes 1.36. What a slice
should hold is computed purely (`desired_endpoints`); packing keeps slices stable.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import (
    LABEL_HEADLESS,
    LABEL_SERVICE_NAME,
    LABEL_ZONE,
    Pod,
    Service,
    ServicePort,
    family_of,
)
from testbed.control.controllers.base import Controller, Key, is_owned_by, owner_reference
from testbed.control.pods import TERMINAL_PHASES
from testbed.control.store import Event

LABEL_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
#: Labels that the controller sets itself and never copies from the Service.
RESERVED_LABELS = (LABEL_SERVICE_NAME, LABEL_MANAGED_BY, LABEL_HEADLESS)
MAX_ENDPOINTS = 100

#: (name, port, protocol, appProtocol) of every port, in the Service's order: what groups endpoints
#: into slices.
PortMap: TypeAlias = tuple[tuple[str, int, str, str], ...]
Group: TypeAlias = tuple[PortMap, str]


class EndpointSliceController(Controller):
    resources = ("services", "pods", "nodes", "endpointslices")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "services":
            yield from super().keys_for(event)
        elif event.resource == "pods":
            yield from self._services_of(event)
        elif event.resource == "endpointslices":
            labels = event.object["metadata"].get("labels") or {}
            if labels.get(LABEL_MANAGED_BY) == MANAGER and LABEL_SERVICE_NAME in labels:
                yield namespace_of(event.object), labels[LABEL_SERVICE_NAME]
        elif event.old is None or _node_matters(event.old) != _node_matters(event.object):
            for service in self.store.list("services"):
                yield namespace_of(service), name_of(service)

    def _services_of(self, event: Event) -> Iterable[Key]:
        namespace = namespace_of(event.object)
        states = [event.object, *([event.old] if event.old else [])]
        labels = [state["metadata"].get("labels") or {} for state in states]
        for service in self.store.list("services", namespace):
            selector = service["spec"].get("selector")
            if selector and any(selector.items() <= each.items() for each in labels):
                yield namespace, name_of(service)

    def reconcile(self, key: Key) -> None:
        service = self.store.find("services", *key)
        owned = [
            slice_
            for slice_ in self.store.list("endpointslices", key[0])
            if (slice_["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGER
            and slice_["metadata"]["labels"].get(LABEL_SERVICE_NAME) == key[1]
        ]
        if service is None or service["metadata"].get("deletionTimestamp"):
            # Garbage collection removes them with the Service; a namesake must not inherit them.
            for slice_ in owned if service is None else ():
                self.api.delete("endpointslices", key[0], name_of(slice_))
            return
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            for slice_ in owned:
                self.api.delete("endpointslices", key[0], name_of(slice_))
            return
        strangers = [s for s in owned if not is_owned_by(s, service)]
        for slice_ in strangers:
            self.api.delete("endpointslices", key[0], name_of(slice_))
        self._write(service, [s for s in owned if s not in strangers])

    def _write(self, service: Document, existing: list[Document]) -> None:
        view = Service.from_document(service)
        nodes = {name_of(node): node for node in self.store.list("nodes")}
        pods = self.store.list("pods", view.key.namespace)
        wanted = desired_endpoints(view, pods, nodes)
        labels = slice_labels(view)
        for family in view.ip_families:
            current = [s for s in existing if s["addressType"] == family]
            plan = pack(wanted.get(family, {}), current, labels)
            self._carry_out(service, family, plan, labels)
        for slice_ in existing:
            if slice_["addressType"] not in view.ip_families:
                self.api.delete("endpointslices", view.key.namespace, name_of(slice_))

    def _carry_out(
        self, service: Document, family: str, plan: Packing, labels: dict[str, str]
    ) -> None:
        for slice_ in plan.delete:
            self.api.delete("endpointslices", namespace_of(slice_), name_of(slice_))
        for slice_, ports, endpoints in plan.update:
            changed = copy.deepcopy(slice_)
            changed["ports"], changed["endpoints"] = _port_documents(ports), endpoints or None
            changed["metadata"]["labels"] = labels
            self.api.update("endpointslices", changed)
        for ports, endpoints in plan.create:
            self.api.create(
                "endpointslices",
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "generateName": f"{name_of(service)}-",
                        "namespace": namespace_of(service),
                        "labels": labels,
                        "ownerReferences": [owner_reference(service)],
                    },
                    "addressType": family,
                    "ports": _port_documents(ports),
                    "endpoints": endpoints or None,
                },
            )


def desired_endpoints(
    service: Service, pods: Iterable[Document], nodes: Mapping[str, Document]
) -> dict[str, dict[PortMap, dict[str, Document]]]:
    """family → ports → Pod name → endpoint document, for the Pods behind `service`.

    Left out: Pods that ended, have no address of the family, or whose Node is gone (unless
    publishNotReadyAddresses).
    """
    wanted: dict[str, dict[PortMap, dict[str, Document]]] = {}
    selector = service.selector or {}
    for document in pods:
        pod = Pod.from_document(document)
        if not selector.items() <= pod.labels.items() or pod.phase in TERMINAL_PHASES:
            continue
        node = nodes.get(pod.node_name)
        if node is None and not service.publish_not_ready:
            continue
        ports = tuple(_resolved_ports(service, pod))
        for address in pod.ips:
            family = family_of(address)
            if family in service.ip_families and family not in _families_seen(pod, address):
                group = wanted.setdefault(family, {}).setdefault(ports, {})
                group[pod.key.name] = _endpoint(service, pod, address, node)
    return wanted


def _families_seen(pod: Pod, address: str) -> set[str]:
    """Families of the Pod's addresses before `address`: only the first of a family counts."""
    return {family_of(a) for a in pod.ips[: pod.ips.index(address)]}


def _resolved_ports(service: Service, pod: Pod) -> Iterable[tuple[str, int, str, str]]:
    for port in service.ports:
        number = target_port(port, pod)
        if number is not None:
            yield port.name, number, port.protocol, port.app_protocol or ""


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """The number of a Service port's target on `pod`; None where no container port has the name."""
    if isinstance(port.target_port, int):
        return port.target_port
    for container_port in pod.ports:
        if (container_port.name, container_port.protocol) == (port.target_port, port.protocol):
            return container_port.port
    return None


def _endpoint(service: Service, pod: Pod, address: str, node: Document | None) -> Document:
    ready = service.publish_not_ready or (pod.ready and not pod.terminating)
    endpoint: Document = {
        "addresses": [address],
        "conditions": {
            "ready": ready,
            "serving": pod.ready,
            "terminating": pod.terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.key.namespace,
            "name": pod.key.name,
            "uid": pod.uid,
        },
    }
    if not pod.uid:
        del endpoint["targetRef"]["uid"]
    if pod.node_name:
        endpoint["nodeName"] = pod.node_name
    zone = ((node or {}).get("metadata", {}).get("labels") or {}).get(LABEL_ZONE)
    if zone:
        endpoint["zone"] = zone
    if pod.hostname and pod.subdomain == service.key.name:
        endpoint["hostname"] = pod.hostname
    hints = _hints(service, pod, zone, ready)
    if hints:
        endpoint["hints"] = hints
    return endpoint


def _hints(service: Service, pod: Pod, zone: str | None, ready: bool) -> Document:
    """Hints of trafficDistribution: each ready endpoint for its own zone, and node."""
    if not ready or service.traffic_distribution is None or _topology_annotation(service):
        return {}
    hints: Document = {}
    if zone:
        hints["forZones"] = [{"name": zone}]
    if service.traffic_distribution == "PreferSameNode" and pod.node_name:
        hints["forNodes"] = [{"name": pod.node_name}]
    return hints


def _topology_annotation(service: Service) -> bool:
    """Whether an annotation asks for topology hints, which wins over trafficDistribution."""
    for name in ("topology-aware-hints", "topology-mode"):
        value = service.annotations.get(f"service.kubernetes.io/{name}")
        if value is not None:
            return value in ("Auto", "auto")
    return False


def slice_labels(service: Service) -> dict[str, str]:
    """Labels of the Service's slices: the Service's own and the controller's."""
    labels = {k: v for k, v in service.labels.items() if k not in RESERVED_LABELS}
    labels[LABEL_MANAGED_BY] = MANAGER
    labels[LABEL_SERVICE_NAME] = service.key.name
    if service.headless:
        labels[LABEL_HEADLESS] = ""
    return labels


@dataclass
class Packing:
    """What to do to the slices of one Service and family; endpoints as lists of documents."""

    create: list[tuple[PortMap, list[Document]]] = field(default_factory=list)
    update: list[tuple[Document, PortMap, list[Document]]] = field(default_factory=list)
    delete: list[Document] = field(default_factory=list)


def pack(
    wanted: Mapping[PortMap, Mapping[str, Document]],
    existing: list[Document],
    labels: Mapping[str, str],
) -> Packing:
    """Bring the slices of one family to `wanted` with few writes.

    Slices that change anyway are filled first, fullest first; then one unchanged slice with just
    enough room; then new slices. Without endpoints one empty slice without ports remains.
    """
    plan = Packing()
    by_ports: dict[PortMap, list[Document]] = {}
    for slice_ in existing:
        by_ports.setdefault(_ports_of(slice_), []).append(slice_)
    groups: dict[PortMap, Mapping[str, Document]] = dict(wanted) or {(): {}}
    for ports, endpoints in groups.items():
        _pack_group(plan, ports, endpoints, by_ports.pop(ports, []), labels)
    plan.delete += [slice_ for slices in by_ports.values() for slice_ in slices]
    # A slice to create takes the place of one to delete: one write instead of two.
    while plan.create and plan.delete:
        ports, members = plan.create.pop()
        plan.update.append((plan.delete.pop(), ports, members))
    return plan


def _pack_group(
    plan: Packing,
    ports: PortMap,
    wanted: Mapping[str, Document],
    slices: list[Document],
    labels: Mapping[str, str],
) -> None:
    left = dict(wanted)
    touched: list[tuple[Document, list[Document]]] = []
    unchanged: list[tuple[Document, list[Document]]] = []
    for slice_ in slices:
        before = slice_.get("endpoints") or []
        kept = []
        for endpoint in before:
            new = left.pop((endpoint.get("targetRef") or {}).get("name", ""), None)
            if new is not None:
                kept.append(new)
        if before and not kept and (len(slices) > 1 or ports):
            plan.delete.append(slice_)
        elif kept != before or slice_["metadata"].get("labels") != labels:
            touched.append((slice_, kept))
        else:
            unchanged.append((slice_, kept))
    for _, members in sorted(touched, key=lambda entry: -len(entry[1])):
        _fill(members, left)
    if 0 < len(left) < MAX_ENDPOINTS:
        fitting = [entry for entry in unchanged if len(entry[1]) + len(left) <= MAX_ENDPOINTS]
        if fitting:
            chosen = max(fitting, key=lambda entry: len(entry[1]))
            unchanged.remove(chosen)
            _fill(chosen[1], left)
            touched.append(chosen)
    plan.update += [(slice_, ports, members) for slice_, members in touched]
    while left:
        members = []
        _fill(members, left)
        plan.create.append((ports, members))
    if not wanted and not slices:
        plan.create.append((ports, []))


def _fill(members: list[Document], left: dict[str, Document]) -> None:
    while left and len(members) < MAX_ENDPOINTS:
        members.append(left.pop(next(iter(left))))


def _ports_of(slice_: Document) -> PortMap:
    return tuple(
        (p.get("name") or "", p.get("port") or 0, p["protocol"], p.get("appProtocol") or "")
        for p in slice_.get("ports") or ()
    )


def _port_documents(ports: PortMap) -> list[Document] | None:
    documents: list[Document] = []
    for name, port, protocol, app_protocol in ports:
        document: Document = {"name": name, "port": port, "protocol": protocol}
        if app_protocol:
            document["appProtocol"] = app_protocol
        documents.append(document)
    return documents or None


def _node_matters(node: Document) -> str | None:
    return (node["metadata"].get("labels") or {}).get(LABEL_ZONE)
