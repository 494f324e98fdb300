"""Service default/kubernetes and what stands behind it: made again when somebody deletes them.

Source: pkg/controlplane/controller/kubernetesservice, pkg/controlplane/reconcilers.
"""

from __future__ import annotations

from collections.abc import Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import LABEL_SERVICE_NAME, family_of
from testbed.control.controllers.base import ClusterApi, Controller, Key
from testbed.control.store import Event

KEY: Key = ("default", "kubernetes")
#: Where the API server listens inside the lab, on the router's address in the node network.
API_PORT = 6443


class KubernetesServiceController(Controller):
    """Keeps the Service at `cluster_ip`, and its endpoint at `server`, the API server's address.

    Without `server` (no API server listens) there are no endpoints.
    """

    resources = ("services", "endpoints", "endpointslices")

    def __init__(self, api: ClusterApi, cluster_ip: str, server: str = "") -> None:
        super().__init__(api)
        self._cluster_ip = cluster_ip
        self._server = server

    def keys_for(self, event: Event) -> Iterable[Key]:
        if (namespace_of(event.object), name_of(event.object)) == KEY:
            yield KEY

    def reconcile(self, key: Key) -> None:
        if self.store.find("services", *key) is None:
            self.api.create("services", kubernetes_service(self._cluster_ip))
        if self._server:
            self._keep("endpointslices", kubernetes_slice(self._server), ("endpoints", "ports"))
            self._keep("endpoints", kubernetes_endpoints(self._server), ("subsets",))

    def _keep(self, resource: str, wanted: Document, fields: tuple[str, ...]) -> None:
        found = self.store.find(resource, *KEY)
        if found is None:
            self.api.create(resource, wanted)
        elif any(found.get(field) != wanted[field] for field in fields):
            self.api.update(resource, {**found, **{field: wanted[field] for field in fields}})


def kubernetes_service(cluster_ip: str) -> Document:
    """Service default/kubernetes, as the API server makes it: without a selector."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": API_PORT}],
        },
    }


def kubernetes_slice(address: str) -> Document:
    """The slice behind Service kubernetes, which the API server writes itself."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {LABEL_SERVICE_NAME: "kubernetes"},
        },
        "addressType": family_of(address),
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "protocol": "TCP", "port": API_PORT}],
    }


def kubernetes_endpoints(address: str) -> Document:
    """The Endpoints of Service default/kubernetes, as the API server writes them."""
    ports = [{"name": "https", "protocol": "TCP", "port": API_PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": address}], "ports": ports}],
    }
