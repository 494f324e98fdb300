"""EndpointSlice: the Pods behind every Service with a selector, in slices of at most 100.

Source: staging/src/k8s.io/endpointslice (reconciler.go, utils.go) of Kubernetes 1.36. What a slice
should hold is computed purely (`desired_endpoints`); packing keeps slices stable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
from testbed.control.controllers import hints
from testbed.control.controllers.base import (
    ClusterApi,
    Controller,
    Key,
    is_owned_by,
    owner_reference,
)
from testbed.control.controllers.packing import PortMap, identity, pack, write_packing
from testbed.control.pods import TERMINAL_PHASES
from testbed.control.store import Event, Store

LABEL_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
#: Labels that the controller sets itself and never copies from the Service.
RESERVED_LABELS = (LABEL_SERVICE_NAME, LABEL_MANAGED_BY, LABEL_HEADLESS)


class EndpointSliceController(Controller):
    resources = ("services", "pods", "nodes", "endpointslices")

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        #: The last Event about topology hints, by Service uid and family.
        self._told: dict[tuple[str, str], str] = {}

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "services":
            yield from super().keys_for(event)
        elif event.resource == "pods":
            yield from selecting(self.store, event)
        elif event.resource == "endpointslices":
            labels = event.object["metadata"].get("labels") or {}
            if labels.get(LABEL_MANAGED_BY) == MANAGER and LABEL_SERVICE_NAME in labels:
                yield namespace_of(event.object), labels[LABEL_SERVICE_NAME]
        elif event.old is None or _node_matters(event.old) != _node_matters(event.object):
            for service in self.store.list("services"):
                yield namespace_of(service), name_of(service)

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
        if wants_zone_hints(view):
            self._hint(service, wanted, nodes.values())
        labels = slice_labels(view)
        for family in view.ip_families:
            current = [s for s in existing if s["addressType"] == family]
            plan = pack(wanted.get(family, {}), current, labels)
            meta = {
                "generateName": f"{name_of(service)}-",
                "namespace": namespace_of(service),
                "labels": labels,
                "ownerReferences": [owner_reference(service)],
            }
            write_packing(self.api, plan, family, meta)
        for slice_ in existing:
            if slice_["addressType"] not in view.ip_families:
                self.api.delete("endpointslices", view.key.namespace, name_of(slice_))

    def _hint(
        self,
        service: Document,
        wanted: Mapping[str, Mapping[PortMap, Mapping[str, Document]]],
        nodes: Iterable[Document],
    ) -> None:
        """Give ready endpoints the zones they are for, or nobody one; Events tell of a change."""
        for family, groups in wanted.items():
            ready = [e for group in groups.values() for e in group.values()]
            ready = [e for e in ready if e["conditions"]["ready"]]
            try:
                zones = hints.zones_for(ready, hints.zone_ratios(nodes))
            except hints.NoHintsError as problem:
                self._tell(service, "Warning", "TopologyAwareHintsDisabled", f"{problem}", family)
                continue
            for endpoint, zone in zip(ready, zones, strict=True):
                endpoint["hints"] = {"forZones": [{"name": zone}]}
            self._tell(service, "Normal", "TopologyAwareHintsEnabled", hints.ENABLED, family)

    def _tell(self, service: Document, kind: str, reason: str, message: str, family: str) -> None:
        told = service["metadata"]["uid"], family
        if self._told.get(told) != message:
            self._told[told] = message
            self.api.event(service, kind, reason, f"{message}, addressType: {family}")


def selecting(store: Store, event: Event) -> Iterable[Key]:
    """The Services that select, or selected, the Pod of an event."""
    namespace = namespace_of(event.object)
    states = [event.object, *([event.old] if event.old else [])]
    labels = [state["metadata"].get("labels") or {} for state in states]
    for service in store.list("services", namespace):
        selector = service["spec"].get("selector")
        if selector and any(selector.items() <= each.items() for each in labels):
            yield namespace, name_of(service)


def desired_endpoints(
    service: Service, pods: Iterable[Document], nodes: Mapping[str, Document]
) -> dict[str, dict[PortMap, dict[str, Document]]]:
    """family → ports → identity → endpoint document, for the Pods behind `service`.

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
                endpoint = _endpoint(service, pod, address, node)
                group[identity(endpoint)] = endpoint
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
    wanted = _distribution_hints(service, pod, zone, ready)
    if wanted:
        endpoint["hints"] = wanted
    return endpoint


def _distribution_hints(service: Service, pod: Pod, zone: str | None, ready: bool) -> Document:
    """Hints of trafficDistribution: each ready endpoint for its own zone, and node."""
    if not ready or service.traffic_distribution is None or wants_zone_hints(service):
        return {}
    wanted: Document = {}
    if zone:
        wanted["forZones"] = [{"name": zone}]
    if service.traffic_distribution == "PreferSameNode" and pod.node_name:
        wanted["forNodes"] = [{"name": pod.node_name}]
    return wanted


def wants_zone_hints(service: Service) -> bool:
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


def _node_matters(node: Document) -> tuple[object, ...]:
    """What of a Node endpoints depend on."""
    labels = node["metadata"].get("labels") or {}
    return labels.get(LABEL_ZONE), hints.is_ready(node), hints.node_cpu(node)
