"""What every namespace has: ServiceAccount `default` and ConfigMap `kube-root-ca.crt`.

Source: pkg/controller/serviceaccount/serviceaccounts_controller.go,
pkg/controller/certificates/rootcacertpublisher.
"""

from __future__ import annotations

from collections.abc import Iterable

from testbed.api.documents import Document, namespace_of
from testbed.control.controllers.base import ClusterApi, Controller, Key
from testbed.control.store import Event

ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters."
)


class NamespaceDefaultsController(Controller):
    """Keeps both in every living namespace.

    `root_ca` is the CA's PEM text; without it (no API server listens) there is no ConfigMap.
    """

    resources = ("namespaces", "serviceaccounts", "configmaps")

    def __init__(self, api: ClusterApi, root_ca: str = "") -> None:
        super().__init__(api)
        self._root_ca = root_ca

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "namespaces":
            yield from super().keys_for(event)
        elif event.object["metadata"]["name"] in (ACCOUNT, ROOT_CA):
            yield "", namespace_of(event.object)

    def reconcile(self, key: Key) -> None:
        namespace = self.store.find("namespaces", *key)
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return
        name = key[1]
        if self.store.find("serviceaccounts", name, ACCOUNT) is None:
            meta: Document = {"name": ACCOUNT, "namespace": name}
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
            self.api.create("serviceaccounts", account)
        if self._root_ca:
            self._publish(name)

    def _publish(self, name: str) -> None:
        data = {"ca.crt": self._root_ca}
        found = self.store.find("configmaps", name, ROOT_CA)
        if found is None:
            annotations = {"kubernetes.io/description": _DESCRIPTION}
            meta = {"name": ROOT_CA, "namespace": name, "annotations": annotations}
            config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
            self.api.create("configmaps", config)
        elif found.get("data") != data:
            self.api.update("configmaps", {**found, "data": data})
