"""The composition root: a topology, a control plane and a data plane as one context manager.

with Cluster("three_nodes") as lab:
    lab.apply(Path("app.yaml"))
    path = lab.probe("client", "172.18.0.11:30007")
"""

from __future__ import annotations

import importlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path as FilePath
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from testbed.api.documents import Document, load_documents, load_file
from testbed.api.objects import Node, Pod, Service
from testbed.control.names import made_for
from testbed.emu.load import absolute, load_topology
from testbed.errors import UsageError
from testbed.fabric.fabric import Fabric
from testbed.lab.around import Surroundings
from testbed.lab.core import LabCore
from testbed.lab.loop import LoopThread
from testbed.lab.objects import key_of
from testbed.lab.options import LabOptions
from testbed.lab.packets import Packets
from testbed.lab.record import LabRecord
from testbed.naming import check_lab_name
from testbed.runtime.sandbox import namespace_name
from testbed.shell import use_system_programs

if TYPE_CHECKING:
    from testbed.emu.net import Net
    from testbed.lab.explain import Explanation
    from testbed.lab.twin import Twin
    from testbed.probe.observe import Observation
    from testbed.report.stops import Place

T = TypeVar("T")
#: What can be applied: YAML text, a file, or objects.
Manifest = str | FilePath | Document | Iterable[Document]


class Cluster(Packets, Surroundings):
    """A lab: `topology` is a name of topologies/, a file, or a Topo; `options` are LabOptions.

    `from_objects` makes it the twin of a recorded cluster instead: the nodes, Pods and Services of
    a dump at their recorded addresses (lab.twin).

    Every method may be called from any thread; a change returns when the lab has come to rest.
    Raises UsageError for a bad name or topology, CannotRunError where namespaces can't be made.
    """

    def __init__(
        self,
        topology: Any = "three_nodes",
        *,
        from_objects: Manifest | None = None,
        name: str | None = None,
        tell: Callable[[str], None] = lambda line: None,
        resumed: LabRecord | None = None,
        **options: Any,
    ) -> None:
        use_system_programs()
        self.name = name or f"lab-{os.getpid()}"
        twin = None if from_objects is None else _twin_of(from_objects)
        self.options = LabOptions(**{**(twin.options if twin else {}), **options})
        self._thread: LoopThread | None = None
        named = isinstance(topology, str | FilePath)
        topo = twin or (load_topology(topology) if named else topology)
        self.topology = topo.spec()
        self.options.check_programs()
        self.options.check_nodes([machine.name for machine in self.topology.nodes])
        if self.options.api:
            threading.Thread(target=_import_server, daemon=True, name="import").start()
        self._topo = topo
        self._net: Net | None = None
        if self.options.keep and (twin is not None or not named):
            raise UsageError("a lab that outlives its control plane needs a topology with a name")
        self._topology_words = absolute(topology) if named else ""
        self.fabric = Fabric(check_lab_name(self.name), resume=resumed is not None)
        try:
            if resumed is None:
                LabRecord.discard(self.name)
                self.fabric.deploy(self.topology.plan())
            else:
                self.fabric.take_over(self.topology.plan())
            tell(f"{len(self.topology.machines)} namespaces: topology {self.topology.name}")
            self._thread = LoopThread(self.name)
            loop = self._thread.loop
            self.core: LabCore = self._thread.call(
                lambda: LabCore(self.fabric, self.topology, self.options, loop, twin, resumed)
            )
            self._thread.wait(self.core.start(tell))
            #: The latest observations, the last one last: evidence where a check fails.
            self.observations: deque[Observation] = deque(maxlen=16)
            self._record()
        except BaseException:
            if resumed is None:
                self.close()
            else:
                self._let_go()
            raise

    @classmethod
    def resume(cls, name: str, tell: Callable[[str], None] = lambda line: None) -> Cluster:
        """Take up lab `name`, made with `keep`, whose process was killed; nothing in it is changed.

        Raises UsageError where there is no such lab or its process lives, TestbedError where it
        isn't whole any more; then everything stays as it is.
        """
        record = LabRecord.read(check_lab_name(name))
        options = {f.name: getattr(record.options, f.name) for f in fields(record.options)}
        return cls(record.topology, name=name, tell=tell, resumed=record, **options)

    def _record(self) -> None:
        """Write down what `resume` has to know."""
        core = self.core
        if core.options.keep:
            port = core.api.port if core.api is not None else 0
            stopped = core.control.kubelet.nodes.silent
            LabRecord(self._topology_words, core.options, port, stopped).write(self.name)

    def _let_go(self) -> None:
        """Leave the lab as it stands."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
        self.fabric.let_go()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the lab; nothing of it remains. May be called again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            # Whatever goes wrong on the way, the namespaces must go.
            try:
                if hasattr(self, "core"):
                    thread.wait(self.core.close())
                thread.close()
                if self._net is not None:
                    self._net.stop()
            finally:
                self.fabric.close()
        else:
            self.fabric.close()

    @property
    def net(self) -> Net:
        """Mininet's view of the machines: `lab.net["w1"].cmd("ip route")`, pingAll, CLI."""
        if self.core.twin is not None:
            raise UsageError("a twin has no topology in Mininet's words: use lab.fabric")
        if self._net is None:
            # Mininet takes a good part of a lab's start to import: only who uses it waits for it.
            from testbed.emu.net import Net

            self._net = Net(self._topo, fabric=self.fabric)
        return self._net

    @property
    def kubeconfig(self) -> FilePath:
        """The kubeconfig of a lab with `api=True`; raises UsageError without."""
        if self.core.api is None:
            raise UsageError(f"lab {self.name!r} has no API server: give it api=True")
        return self.core.api.kubeconfig

    # changing

    def apply(
        self, *manifests: Manifest, tell: Callable[[str], None] = lambda line: None
    ) -> list[str]:
        """Apply manifests and wait until the lab has come to rest; one line per object.

        `tell` gets each line as soon as its object is applied.

        Raises UsageError for what can't be read, StatusError for what is refused.
        """
        documents = [d for manifest in manifests for d in documents_of(manifest)]
        return self._change(lambda: self.core.apply(documents, tell))

    def delete(self, *manifests: Manifest) -> list[str]:
        """Delete what the manifests name, and wait likewise."""
        documents = [d for manifest in manifests for d in documents_of(manifest)]
        return self._change(lambda: self.core.delete(documents))

    def scale(self, workload: str, replicas: int) -> None:
        """Scale `deployment/NAME` (or replicaset, statefulset) in namespace default."""
        self._change(lambda: self.core.scale(workload, replicas))

    def patch(
        self, resource: str, name: str, patch: Document, *, subresource: str = ""
    ) -> Document:
        """Merge-patch object `name` (or `namespace/name`) of a resource such as `services`."""
        key = key_of(name)
        return self._change(lambda: self.core.patch(resource, key, patch, subresource))

    def stop_node(self, name: str) -> None:
        """A node fails: its links go down and its kubelet falls silent. Its Pods run on, unseen."""
        self._change(lambda: self.core.stop_node(name))
        self._record()

    def start_node(self, name: str) -> None:
        """A stopped node comes back."""
        self._change(lambda: self.core.start_node(name))
        self._record()

    def set_proxy(self, mode: str, node: str | None = None) -> None:
        """Change the proxy mode of one node, or of all; the other mode's rules are removed."""
        nodes = self.node_names() if node is None else [node]
        self.options.with_proxy(nodes[0], mode).check_nodes(self.node_names())

        try:
            for each in nodes:
                self._running.wait(self.core.set_proxy(each, mode))
        finally:
            self.settle()
        self._record()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on the lab's clock, and come to rest."""
        self._running.wait(self.core.advance(seconds))

    def settle(self) -> None:
        """Wait until nothing is left to do."""
        self._running.wait(self.core.settle())

    def _change(self, work: Callable[[], T]) -> T:
        try:
            return self._running.call(work)
        finally:
            self.settle()

    @property
    def _running(self) -> LoopThread:
        if self._thread is None:
            raise UsageError(f"lab {self.name!r} has ended")
        return self._thread

    # reading

    def get(self, resource: str, name: str) -> Document:
        """The object `name` (or `namespace/name`) of a resource such as `services`."""
        key = key_of(name)
        return self._running.call(lambda: self.core.find(resource, key))

    def service(self, name: str) -> Service:
        """Service `name` (or `namespace/name`)."""
        return Service.from_document(self.get("services", name))

    def endpoint_slices(self, service: str) -> list[Document]:
        """The EndpointSlices of Service `name` (or `namespace/name`), in order of their names."""
        key = key_of(service)
        return self._running.call(lambda: self.core.slices_of(key))

    def pods(self, prefix: str = "") -> list[Pod]:
        """The Pods of namespace default: all, or Pod `prefix` and those of a workload so named."""
        found = self._running.call(lambda: self.core.pods("default"))
        return [p for p in found if not prefix or made_for(p.key.name, prefix)]

    def all_pods(self) -> list[Pod]:
        """The Pods of every namespace, in order of namespace and name."""
        return self._running.call(self.core.pods)

    def nodes(self) -> list[Node]:
        """The Nodes, in order of their names."""
        return self._running.call(self.core.nodes)

    def node_names(self) -> list[str]:
        """The Nodes' names, in order."""
        return [node.name for node in self.nodes()]

    def node_addresses(self, name: str) -> list[str]:
        """A node's own addresses, the primary one first."""
        for node in self.nodes():
            if node.name == name:
                return [address for kind, address in node.addresses if kind == "InternalIP"]
        raise UsageError(f"no node {name!r}; known are {', '.join(self.node_names())}")

    def node_of(self, namespace: str) -> str:
        """The node that a namespace (a Pod's `default.web-0`, or a node's own) is on, or ""."""
        for pod in self._running.call(self.core.pods):
            if namespace_name((pod.key.namespace, pod.key.name)) == namespace:
                return pod.node_name
        return namespace if namespace in self.node_names() else ""

    def services(self) -> list[Service]:
        """Every Service, in order of namespace and name."""
        return self._running.call(self.core.services)

    def documents(self) -> list[Document]:
        """Every object of the cluster but Secrets."""
        store = self.core.control.store
        return self._running.call(
            lambda: [d for r in store.resources() if r != "secrets" for d in store.list(r)]
        )

    def places(self) -> list[Place]:
        """The lab's machines and Pods with their roles, for pictures."""
        from testbed.report.stops import Place

        machines = [Place(m.name, m.role) for m in self.topology.machines]
        return machines + [
            Place(namespace_name((pod.key.namespace, pod.key.name)), "pod", pod.node_name)
            for pod in self.all_pods()
            if not pod.host_network
        ]

    def explain(self, source: str, target: str, **more: Any) -> Explanation:
        """Probe, and judge what was seen by what the Service promises; see lab.explain.explain.

        `more` are port, protocol (tcp, udp, sctp, icmp), family, repeat, fields of Request.
        """
        from testbed.lab.explain import explain

        return explain(self, source, target, **more)

    def in_loop(self, work: Callable[[], T]) -> T:
        """Have `work` done in the lab's own thread, which `core` belongs to."""
        return self._running.call(work)


def documents_of(manifest: Manifest) -> list[Document]:
    """The objects of a manifest: YAML text, the path of a file, a document, or several."""
    if isinstance(manifest, FilePath):
        return load_file(manifest)
    if isinstance(manifest, str):
        if "\n" not in manifest and manifest.endswith((".yaml", ".yml", ".json")):
            return load_file(manifest)
        return load_documents(manifest, "manifest")
    return [manifest] if isinstance(manifest, dict) else list(manifest)


def _import_server() -> None:
    """Import what the API server is made of while the kernel makes namespaces: aiohttp reads the
    machine's certificates for longer than all of its modules."""
    for name in ("aiohttp.web", "cryptography.x509"):
        importlib.import_module(name)


def _twin_of(objects: Manifest) -> Twin:
    from testbed.lab.twin import read_twin

    return read_twin(documents_of(objects))
