"""EndpointSlice: the Pods behind every Service with a selector, in slices of at most 100.

Source: pkg/controller/endpointslice, staging/src/k8s.io/endpointslice (reconciler.go, utils.go) of
Kubernetes 1.36. What a slice should hold is computed purely (`desired_endpoints`); packing keeps
slices stable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import (
    IPV4,
    IPV6,
    LABEL_HEADLESS,
    LABEL_SERVICE_NAME,
    LABEL_ZONE,
    Pod,
    Service,
    ServicePort,
    family_of,
)
from testbed.control.controllers import hints
from testbed.control.controllers.addresses import canonical
from testbed.control.controllers.base import (
    ClusterApi,
    Controller,
    Key,
    RetryError,
    owner_reference,
)
from testbed.control.controllers.packing import (
    LABEL_MANAGED_BY,
    RESERVED_LABELS,
    Identity,
    Packing,
    identity,
    pack,
    write,
)
from testbed.control.controllers.port_map import PortMap, SlicePort, port_map
from testbed.control.controllers.triggers import TriggerTimes
from testbed.control.pods import TERMINAL_PHASES, is_terminating
from testbed.control.store import Event, Store

MANAGER = "endpointslice-controller.k8s.io"
#: Seconds until a Service is looked at again whose Pods name a Node that isn't there.
MISSING_NODE_RETRY = 1.0


class EndpointSliceController(Controller):
    resources = ("services", "pods", "nodes", "endpointslices")

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        self._triggers = TriggerTimes()
        #: The last Event about topology hints, and about missing Nodes, by Service uid and subject.
        self._told: dict[tuple[str, str], str] = {}

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "services":
            yield from super().keys_for(event)
        elif event.resource == "pods":
            yield from selecting(self.store, event)
        elif event.resource == "endpointslices":
            for state in (event.old, event.object):
                labels = ((state or {}).get("metadata") or {}).get("labels") or {}
                if labels.get(LABEL_MANAGED_BY) == MANAGER and LABEL_SERVICE_NAME in labels:
                    yield namespace_of(event.object), labels[LABEL_SERVICE_NAME]
        elif event.old is None or _node_matters(event.old) != _node_matters(event.object):
            for service in self.store.list("services"):
                yield namespace_of(service), name_of(service)

    def reconcile(self, key: Key) -> None:
        """Write the slices of one Service.

        What an ExternalName Service, or one without a selector, has of earlier days is left alone;
        the slices of a Service that is gone are the garbage collector's.
        """
        service = self.store.find("services", *key)
        if service is None:
            self._triggers.forget(key)
            return
        view = Service.from_document(service)
        if not view.selector or view.type == "ExternalName":
            return
        chosen = [pod for pod in self.store.list("pods", key[0]) if _selects(view.selector, pod)]
        trigger = self._triggers.take(service, chosen)
        nodes = {name_of(node): node for node in self.store.list("nodes")}
        wanted = desired_endpoints(view, chosen, nodes)
        existing = self._existing(key)
        for family in families(view):
            current = [s for s in existing if s["addressType"] == family]
            owned = [s for s in current if _is_owned(s, service)]
            plan = pack(wanted.get(family, {}), owned, slice_labels(view))
            self._hint(service, view, plan, nodes.values(), family)
            meta = {
                "generateName": f"{name_of(service)}-",
                "namespace": namespace_of(service),
                "ownerReferences": [owner_reference(service)],
            }
            write(self.api, plan, family, meta, trigger, creating=not is_terminating(service))
            self._delete(s for s in current if s not in owned)
        self._delete(s for s in existing if s["addressType"] not in families(view))
        self._check_nodes(service, view, chosen, nodes)

    def _existing(self, key: Key) -> list[Document]:
        return [
            slice_
            for slice_ in self.store.list("endpointslices", key[0])
            if (labels := slice_["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGER
            and labels.get(LABEL_SERVICE_NAME) == key[1]
            and not is_terminating(slice_)
        ]

    def _delete(self, slices: Iterable[Document]) -> None:
        for slice_ in slices:
            self.api.delete("endpointslices", namespace_of(slice_), name_of(slice_))

    def _hint(
        self,
        service: Document,
        view: Service,
        plan: Packing,
        nodes: Iterable[Document],
        family: str,
    ) -> None:
        """Say which zone or node each endpoint is for; Events tell when Auto begins and ends."""
        if wants_zone_hints(view):
            try:
                hints.add_auto(plan, hints.zone_ratios(nodes))
            except hints.NoHintsError as problem:
                hints.remove(plan)
                self._tell(service, "Warning", "TopologyAwareHintsDisabled", f"{problem}", family)
            else:
                self._tell(service, "Normal", "TopologyAwareHintsEnabled", hints.ENABLED, family)
            return
        if self._told.pop((view.uid, family), None) == hints.ENABLED:
            message = f"{hints.DISABLED}, addressType: {family}"
            self.api.event(service, "Warning", "TopologyAwareHintsDisabled", message)
        if view.traffic_distribution is not None:
            hints.add_close(plan, nodes=view.traffic_distribution == "PreferSameNode")
        else:
            hints.remove(plan)

    def _tell(self, service: Document, kind: str, reason: str, message: str, family: str) -> None:
        told = service["metadata"]["uid"], family
        if self._told.get(told) != message:
            self._told[told] = message
            self.api.event(service, kind, reason, f"{message}, addressType: {family}")

    def _check_nodes(
        self,
        service: Document,
        view: Service,
        chosen: Iterable[Document],
        nodes: Mapping[str, Document],
    ) -> None:
        """Tell of Pods that were passed over because their Node isn't there; raises RetryError."""
        if view.publish_not_ready:
            return
        full, problems = f"{view.key.namespace}/{view.key.name}", []
        for pod in map(Pod.from_document, chosen):
            if _is_listed(pod) and pod.node_name not in nodes:
                problems.append(
                    f"skipping Pod {pod.key.name} for Service {full}: Node {pod.node_name} "
                    "Not Found"
                )
        message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        told = view.uid, "nodes"
        if not problems:
            self._told.pop(told, None)
            return
        if self._told.get(told) != message:
            self._told[told] = message
            text = f"Error updating Endpoint Slices for Service {full}: {message}"
            self.api.event(service, "Warning", "FailedToUpdateEndpointSlices", text)
        raise RetryError(MISSING_NODE_RETRY, message)


def selecting(store: Store, event: Event) -> Iterable[Key]:
    """The Services that select, or selected, the Pod of an event."""
    namespace = namespace_of(event.object)
    states = [event.object, *([event.old] if event.old else [])]
    for service in store.list("services", namespace):
        selector = service["spec"].get("selector")
        if selector and any(_selects(selector, state) for state in states):
            yield namespace, name_of(service)


def _selects(selector: Mapping[str, str], pod: Document) -> bool:
    return selector.items() <= (pod["metadata"].get("labels") or {}).items()


def _is_owned(slice_: Document, service: Document) -> bool:
    """Whether the Service is an owner, by uid: a namesake isn't. Source: utils.go ownedBy."""
    return any(
        reference["uid"] == service["metadata"]["uid"] and reference["kind"] == "Service"
        for reference in slice_["metadata"].get("ownerReferences") or ()
    )


def families(service: Service) -> tuple[str, ...]:
    """The address types of the Service's slices. Source: utils.go getAddressTypesForService."""
    if service.ip_families:
        return service.ip_families
    if service.cluster_ips and not service.headless:
        return (family_of(service.cluster_ips[0]),)
    return IPV4, IPV6


def desired_endpoints(
    service: Service, pods: Iterable[Document], nodes: Mapping[str, Document]
) -> dict[str, dict[PortMap, dict[Identity, Document]]]:
    """family → ports → identity → endpoint document, for the Pods that `service` selects.

    Left out: Pods that ended, have no address of the family, or whose Node is gone (unless
    publishNotReadyAddresses). Endpoints carry no hints yet.
    """
    wanted: dict[str, dict[PortMap, dict[Identity, Document]]] = {}
    for pod in map(Pod.from_document, pods):
        node = nodes.get(pod.node_name)
        if not _is_listed(pod) or (node is None and not service.publish_not_ready):
            continue
        ports = port_map(_resolved_ports(service, pod))
        for family in families(service):
            addresses = [a for ip in pod.ips if (a := canonical(ip)) and family_of(a) == family]
            if addresses:
                endpoint = _endpoint(service, pod, addresses, node)
                group = wanted.setdefault(family, {}).setdefault(ports, {})
                group[identity(endpoint)] = endpoint
    return wanted


def _is_listed(pod: Pod) -> bool:
    """Whether the Pod can be an endpoint at all. Source: ShouldPodBeInEndpoints."""
    return pod.phase not in TERMINAL_PHASES and bool(pod.ips)


def _resolved_ports(service: Service, pod: Pod) -> Iterable[SlicePort]:
    for port in service.ports:
        number = target_port(port, pod)
        if number is not None:
            yield port.name, number, port.protocol, port.app_protocol


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """The number of a Service port's target on `pod`; None where no container port has the name."""
    if isinstance(port.target_port, int):
        return port.target_port
    for container_port in pod.ports:
        if (container_port.name, container_port.protocol) == (port.target_port, port.protocol):
            return container_port.port
    return None


def _endpoint(service: Service, pod: Pod, addresses: list[str], node: Document | None) -> Document:
    endpoint: Document = {
        "addresses": sorted(addresses),
        "conditions": {
            "ready": service.publish_not_ready or (pod.ready and not pod.terminating),
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
    return endpoint


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
    if service.headless or not service.cluster_ips:
        labels[LABEL_HEADLESS] = ""
    return labels


def _node_matters(node: Document) -> tuple[object, ...]:
    """What of a Node endpoints depend on."""
    labels = node["metadata"].get("labels") or {}
    return labels.get(LABEL_ZONE), hints.is_ready(node), hints.node_cpu(node)
