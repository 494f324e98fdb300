"""Typed, frozen views of the objects that Service networking depends on.

A view holds what the data plane and the oracle read, nothing else. It is made from a document by
`from_document` and never written back. A view trusts its document no further than its shape:
addresses stay strings, so that a bad one is the reader's to report (kube-proxy programs the rest).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from testbed.api.documents import Document

Labels: TypeAlias = Mapping[str, str]

IPV4 = "IPv4"
IPV6 = "IPv6"

LABEL_SERVICE_NAME = "kubernetes.io/service-name"
LABEL_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
LABEL_HEADLESS = "service.kubernetes.io/headless"
LABEL_ZONE = "topology.kubernetes.io/zone"
LABEL_HOSTNAME = "kubernetes.io/hostname"
LABEL_EXCLUDE_BALANCER = "node.kubernetes.io/exclude-from-external-load-balancers"


@dataclass(frozen=True, slots=True, order=True)
class NamespacedName:
    """The key of a namespaced object; printed `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One entry of `spec.ports`. `target_port` is a number, or the name of a container port."""

    name: str
    protocol: str
    port: int
    target_port: int | str
    node_port: int = 0
    app_protocol: str | None = None

    @classmethod
    def from_document(cls, doc: Document) -> ServicePort:
        port = int(doc.get("port") or 0)
        return cls(
            name=doc.get("name") or "",
            protocol=doc.get("protocol") or "TCP",
            port=port,
            target_port=doc.get("targetPort") or port,
            node_port=int(doc.get("nodePort") or 0),
            app_protocol=doc.get("appProtocol"),
        )


@dataclass(frozen=True, slots=True)
class LoadBalancerIngress:
    """One entry of `status.loadBalancer.ingress`; `ip_mode` is VIP unless it says Proxy."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str = "VIP"


@dataclass(frozen=True, slots=True)
class Service:
    """A core/v1 Service. Times in seconds."""

    key: NamespacedName
    uid: str
    labels: Labels
    annotations: Labels
    type: str
    selector: Labels | None
    ports: tuple[ServicePort, ...]
    cluster_ips: tuple[str, ...]
    ip_families: tuple[str, ...]
    external_ips: tuple[str, ...]
    external_name: str
    session_affinity: str
    affinity_timeout: int
    external_traffic_policy: str
    internal_traffic_policy: str
    load_balancer_class: str | None
    load_balancer_ip: str
    source_ranges: tuple[str, ...]
    health_check_node_port: int
    publish_not_ready: bool
    traffic_distribution: str | None
    ingress: tuple[LoadBalancerIngress, ...]

    @property
    def headless(self) -> bool:
        return self.cluster_ips[:1] == ("None",)

    @classmethod
    def from_document(cls, doc: Document) -> Service:
        spec = doc.get("spec") or {}
        meta = doc.get("metadata") or {}
        cluster_ip = spec.get("clusterIP")
        cluster_ips = spec.get("clusterIPs") or ([cluster_ip] if cluster_ip else [])
        client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        balancer = (doc.get("status") or {}).get("loadBalancer") or {}
        return cls(
            key=_key(meta),
            uid=meta.get("uid") or "",
            labels=meta.get("labels") or {},
            annotations=meta.get("annotations") or {},
            type=spec.get("type") or "ClusterIP",
            selector=spec.get("selector"),
            ports=tuple(ServicePort.from_document(p) for p in spec.get("ports") or ()),
            cluster_ips=tuple(cluster_ips),
            ip_families=tuple(spec.get("ipFamilies") or ()),
            external_ips=tuple(spec.get("externalIPs") or ()),
            external_name=spec.get("externalName") or "",
            session_affinity=spec.get("sessionAffinity") or "None",
            affinity_timeout=int(client_ip.get("timeoutSeconds") or 10800),
            external_traffic_policy=spec.get("externalTrafficPolicy") or "",
            internal_traffic_policy=spec.get("internalTrafficPolicy") or "Cluster",
            load_balancer_class=spec.get("loadBalancerClass"),
            load_balancer_ip=spec.get("loadBalancerIP") or "",
            source_ranges=tuple(spec.get("loadBalancerSourceRanges") or ()),
            health_check_node_port=int(spec.get("healthCheckNodePort") or 0),
            publish_not_ready=bool(spec.get("publishNotReadyAddresses")),
            traffic_distribution=spec.get("trafficDistribution"),
            ingress=tuple(
                LoadBalancerIngress(
                    i.get("ip") or "", i.get("hostname") or "", i.get("ipMode") or "VIP"
                )
                for i in balancer.get("ingress") or ()
            ),
        )


@dataclass(frozen=True, slots=True)
class EndpointPort:
    """One entry of a slice's `ports`; `port` and `name` are None where left out."""

    name: str | None
    protocol: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of a slice; conditions are None where the slice leaves them out."""

    addresses: tuple[str, ...]
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target: NamespacedName | None = None
    for_zones: tuple[str, ...] = ()
    for_nodes: tuple[str, ...] = ()

    @classmethod
    def from_document(cls, doc: Document) -> Endpoint:
        conditions = doc.get("conditions") or {}
        hints = doc.get("hints") or {}
        ref = doc.get("targetRef") or {}
        return cls(
            addresses=tuple(doc.get("addresses") or ()),
            ready=conditions.get("ready"),
            serving=conditions.get("serving"),
            terminating=conditions.get("terminating"),
            hostname=doc.get("hostname") or "",
            node_name=doc.get("nodeName") or "",
            zone=doc.get("zone") or "",
            target=_key(ref) if ref.get("kind") == "Pod" else None,
            for_zones=tuple(h.get("name") or "" for h in hints.get("forZones") or ()),
            for_nodes=tuple(h.get("name") or "" for h in hints.get("forNodes") or ()),
        )


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """A discovery.k8s.io/v1 EndpointSlice; `service` is the Service its label names, if any."""

    key: NamespacedName
    labels: Labels
    service: NamespacedName | None
    address_type: str
    endpoints: tuple[Endpoint, ...]
    ports: tuple[EndpointPort, ...]

    @classmethod
    def from_document(cls, doc: Document) -> EndpointSlice:
        meta = doc.get("metadata") or {}
        labels = meta.get("labels") or {}
        key = _key(meta)
        name = labels.get(LABEL_SERVICE_NAME)
        return cls(
            key=key,
            labels=labels,
            service=NamespacedName(key.namespace, name) if name else None,
            address_type=doc.get("addressType") or "",
            endpoints=tuple(Endpoint.from_document(e) for e in doc.get("endpoints") or ()),
            ports=tuple(
                EndpointPort(p.get("name", ""), p.get("protocol") or "TCP", p.get("port"))
                for p in doc.get("ports") or ()
            ),
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A core/v1 Node: its addresses as (type, address), in the object's order."""

    name: str
    labels: Labels
    addresses: tuple[tuple[str, str], ...]
    pod_cidrs: tuple[str, ...]
    ready: bool = True
    taints: tuple[str, ...] = ()
    deleting: bool = False

    @property
    def zone(self) -> str:
        return self.labels.get(LABEL_ZONE, "")

    @classmethod
    def from_document(cls, doc: Document) -> Node:
        meta = doc.get("metadata") or {}
        spec = doc.get("spec") or {}
        status = doc.get("status") or {}
        conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
        cidrs = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
        return cls(
            name=meta.get("name") or "",
            labels=meta.get("labels") or {},
            addresses=tuple((a["type"], a["address"]) for a in status.get("addresses") or ()),
            pod_cidrs=tuple(cidrs),
            ready=conditions.get("Ready", "True") == "True",
            taints=tuple(t.get("key") or "" for t in spec.get("taints") or ()),
            deleting=bool(meta.get("deletionTimestamp")),
        )


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """One entry of a container's `ports`."""

    name: str
    protocol: str
    port: int
    host_port: int = 0
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """A core/v1 Pod as far as traffic to it is concerned."""

    key: NamespacedName
    uid: str
    labels: Labels
    node_name: str
    host_network: bool
    ips: tuple[str, ...]
    host_ips: tuple[str, ...]
    phase: str
    ready: bool
    terminating: bool
    hostname: str
    subdomain: str
    ports: tuple[ContainerPort, ...] = field(default=())

    @classmethod
    def from_document(cls, doc: Document) -> Pod:
        meta = doc.get("metadata") or {}
        spec = doc.get("spec") or {}
        status = doc.get("status") or {}
        conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
        return cls(
            key=_key(meta),
            uid=meta.get("uid") or "",
            labels=meta.get("labels") or {},
            node_name=spec.get("nodeName") or "",
            host_network=bool(spec.get("hostNetwork")),
            ips=_addresses(status, "podIP"),
            host_ips=_addresses(status, "hostIP"),
            phase=status.get("phase") or "Pending",
            ready=conditions.get("Ready") == "True",
            terminating=bool(meta.get("deletionTimestamp")),
            hostname=spec.get("hostname") or "",
            subdomain=spec.get("subdomain") or "",
            ports=tuple(_container_ports(spec)),
        )


def _addresses(status: Document, name: str) -> tuple[str, ...]:
    """`status.podIPs` (or hostIPs) as strings; the singular field where the plural is missing."""
    listed = tuple(entry["ip"] for entry in status.get(f"{name}s") or () if entry.get("ip"))
    return listed or ((status[name],) if status.get(name) else ())


def _container_ports(spec: Document) -> list[ContainerPort]:
    """Ports of the containers, then of the restartable init containers: the order of name lookup.

    Source: pkg/api/v1/service FindPort (catalogue E-12).
    """
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return [
        ContainerPort(
            name=p.get("name") or "",
            protocol=p.get("protocol") or "TCP",
            port=int(p.get("containerPort") or 0),
            host_port=int(p.get("hostPort") or 0),
            host_ip=p.get("hostIP") or "",
        )
        for container in [*(spec.get("containers") or ()), *sidecars]
        for p in container.get("ports") or ()
    ]


def _key(meta: Mapping[str, Any]) -> NamespacedName:
    return NamespacedName(meta.get("namespace") or "default", meta.get("name") or "")


def family_of(address: str) -> str:
    """IPv4 or IPv6, by the address's look; the address itself isn't checked."""
    return IPV6 if ":" in address else IPV4
