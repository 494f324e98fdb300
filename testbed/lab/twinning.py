"""The recorded objects of a twin put into a lab: stored as they are, their Pods made real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from testbed.api.documents import name_of, namespace_of
from testbed.api.objects import LABEL_SERVICE_NAME
from testbed.control.controllers.base import ClusterApi, Key, RetryError
from testbed.control.controllers.endpointslice import EndpointSliceController
from testbed.control.kubelet import Kubelet
from testbed.control.kubelet.runtime import PodRuntime
from testbed.control.store import Store
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import Plan
from testbed.lab.twin import Twin
from testbed.runtime.echo import EchoServer, Identity
from testbed.runtime.sandbox import namespace_name


class TwinKubelet(Kubelet):
    """Leaves the recorded Pods alone: they run, and stay as they were recorded."""

    def __init__(self, api: ClusterApi, runtime: PodRuntime, recorded: set[Key]) -> None:
        super().__init__(api, runtime)
        self._recorded = recorded

    def reconcile_all(self, keys: Sequence[Key]) -> dict[Key, RetryError]:
        """As kubelet, for Pods that came later."""
        return super().reconcile_all([key for key in keys if key not in self._recorded])


class TwinSlices(EndpointSliceController):
    """Leaves the Services with recorded slices alone."""

    def __init__(self, api: ClusterApi, recorded: set[Key]) -> None:
        super().__init__(api)
        self._recorded = recorded

    def reconcile(self, key: Key) -> None:
        """As the controller, for Services that came without slices."""
        if key not in self._recorded:
            super().reconcile(key)


def recorded_pods(twin: Twin) -> set[Key]:
    """The keys of the Pods in the dump."""
    return {(namespace_of(d) or "default", name_of(d)) for d in twin.documents["pods"]}


def recorded_slices(twin: Twin) -> set[Key]:
    """The keys of the Services whose slices are in the dump."""
    return {
        (namespace_of(d), (d["metadata"].get("labels") or {}).get(LABEL_SERVICE_NAME, ""))
        for d in twin.documents["endpointslices"]
    }


def store_nodes(twin: Twin, store: Store) -> None:
    """Namespaces and Nodes."""
    for resource in ("namespaces", "nodes"):
        for document in twin.documents[resource]:
            if store.find(resource, "", name_of(document)) is None:
                store.create(resource, document)


def store_rest(twin: Twin, store: Store) -> None:
    """Services, slices and Pods, unchanged."""
    for resource in ("services", "endpointslices", "pods"):
        for document in twin.documents[resource]:
            store.create(resource, document)


class TwinPods:
    """The recorded Pods: namespaces at their addresses, the echo application in each."""

    def __init__(
        self,
        twin: Twin,
        fabric: Fabric,
        loop: asyncio.AbstractEventLoop,
        plan_pod: Callable[[str, str, Sequence[str]], Plan],
    ) -> None:
        self._servers: list[EchoServer] = []
        #: Ports that couldn't be listened on, one line each.
        self.problems: list[str] = []
        plans = [
            plan_pod(namespace_name((p.key.namespace, p.key.name)), p.node_name, p.ips)
            for p in twin.pods
            if not p.host_network
        ]
        fabric.deploy(Plan.total([*plans, twin.extra]))
        for pod in twin.pods:
            key = pod.key.namespace, pod.key.name
            place = fabric.namespace(pod.node_name if pod.host_network else namespace_name(key))
            identity = Identity(pod.key.name, pod.key.namespace, pod.node_name)
            server = EchoServer(loop, identity, place.socket)
            self._servers.append(server)
            self.problems += [f"pod {pod.key}: {line}" for line in server.listen(twin.ports[key])]

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()
