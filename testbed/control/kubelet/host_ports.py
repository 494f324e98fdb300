"""The hostPorts of nodes: mapped anew where a Pod that has some comes or goes."""

from __future__ import annotations

from collections.abc import Iterable

from testbed.api.documents import Document
from testbed.control.controllers.base import ClusterApi
from testbed.control.kubelet.runtime import PodRuntime, Sandbox
from testbed.control.kubelet.state import RunningPod


class HostPorts:
    """Mappings of all nodes, made in one go at the end of a pass."""

    def __init__(self, api: ClusterApi, runtime: PodRuntime) -> None:
        self._api = api
        self._runtime = runtime
        self._changed: set[str] = set()

    def changed(self, sandbox: Sandbox) -> None:
        """A sandbox has come or gone."""
        if _has_host_ports(sandbox.document):
            self._changed.add(sandbox.node)

    def map(self, running: Iterable[RunningPod]) -> None:
        """Bring the nodes of changed sandboxes to the mappings of the Pods that run."""
        if not self._changed:
            return
        mapped: dict[str, list[tuple[Document, tuple[str, ...]]]] = {}
        for pod in running:
            sandbox = pod.sandbox
            if not pod.over and not sandbox.host_network and _has_host_ports(sandbox.document):
                mapped.setdefault(sandbox.node, []).append((sandbox.document, sandbox.addresses))
        for node in sorted(self._changed):
            problem = self._runtime.host_ports(node, mapped.get(node, ()))
            for document, _ in mapped.get(node, ()) if problem else ():
                self._api.event(document, "Warning", "HostPortFailed", problem)
        self._changed.clear()


def _has_host_ports(document: Document) -> bool:
    return any(
        port.get("hostPort")
        for container in document["spec"]["containers"]
        for port in container.get("ports") or ()
    )
