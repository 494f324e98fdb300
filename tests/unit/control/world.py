"""A small cluster without a kernel: a store, a manager and a fake runtime."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.api.documents import Document
from testbed.api.volumes import HostPath, Volume
from testbed.clock import ManualClock
from testbed.control import names
from testbed.control.controllers.base import Controller, Manager
from testbed.control.controllers.daemonset import DaemonSetController
from testbed.control.controllers.deployment import DeploymentController
from testbed.control.controllers.endpoints import EndpointsController
from testbed.control.controllers.endpointslice import EndpointSliceController
from testbed.control.controllers.garbage import GarbageCollector
from testbed.control.controllers.mirroring import EndpointSliceMirroringController
from testbed.control.controllers.node_lifecycle import NodeLifecycleController
from testbed.control.controllers.replicaset import ReplicaSetController
from testbed.control.controllers.scheduler import Scheduler
from testbed.control.controllers.service_cidr import ServiceCIDRController
from testbed.control.controllers.statefulset import StatefulSetController
from testbed.control.kubelet import Kubelet, Sandbox
from testbed.control.kubelet.runtime import Outcome
from testbed.control.store import NotFoundError, Store


class StoreApi:
    """A ClusterApi that writes to a store and does nothing else."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.store = Store(clock)
        self.events: list[tuple[str, str, str]] = []

    def create(self, resource: str, document: Document) -> Document:
        return self.store.create(resource, document)

    def update(self, resource: str, document: Document, *, status: bool = False) -> Document:
        return self.store.update(resource, document, status=status)

    def delete(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        grace: int | None = None,
        propagation: str = "",
    ) -> None:
        self.store.delete(resource, namespace, name, grace=grace)

    def event(self, involved: Document, kind: str, reason: str, message: str) -> None:
        self.events.append((kind, reason, message))


class PlainApi(StoreApi):
    """A ClusterApi that admits everything as it is."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._random = random.Random(1)

    def create(self, resource: str, document: Document) -> Document:
        document = copy.deepcopy(document)
        meta = document["metadata"]
        if "name" not in meta:
            meta["name"] = names.generate(meta["generateName"], self._random)
        return self.store.create(resource, document)

    def delete(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        grace: int | None = None,
        propagation: str = "",
    ) -> None:
        found = self.store.find(resource, namespace, name)
        if found is None:
            raise NotFoundError(resource, namespace, name)
        if resource == "pods" and grace is None:
            grace = found["spec"].get("terminationGracePeriodSeconds", 30)
            grace = grace if found["spec"].get("nodeName") else 0
        held = {"Orphan": ("orphan",), "Foreground": ("foregroundDeletion",)}
        finalizers = held.get(propagation, ())
        self.store.delete(resource, namespace, name, grace=grace, finalizers=finalizers)

    def bind(self, pod: Document, node: str) -> Document:
        bound = copy.deepcopy(pod)
        bound["spec"]["nodeName"] = node
        return self.store.update("pods", bound, status=True)


@dataclass(frozen=True)
class Problem:
    reason: str
    message: str


class FakeRuntime:
    """Runs nothing, remembers everything. Checks succeed unless `problems` names their Pod.

    A container whose name is in `stubborn` is a program that ignores SIGTERM.
    """

    def __init__(self) -> None:
        self.sandboxes: dict[str, Sandbox] = {}
        self.ports: dict[str, set[tuple[str, int]]] = {}
        self.missing_images: set[str] = set()
        self.missing_programs: set[str] = set()
        self.unknown_images: set[str] = set()
        self.environments: dict[str, Mapping[str, str]] = {}
        self.problems: dict[str, str] = {}
        self.bad_paths: dict[str, str] = {}
        #: Why no sandbox can be made for a Pod, by its name; and how often that was tried.
        self.refused: dict[str, str] = {}
        self.tries = 0
        #: What Pods were given, by their names.
        self.volumes: dict[str, Mapping[str, Volume]] = {}
        self.stubborn: set[str] = set()
        self.calls: list[str] = []
        self.checks: list[tuple[str, Document]] = []
        self.held: list[Outcome] | None = None
        self.mapped: dict[str, list[str]] = {}
        #: What an earlier kubelet left: sandboxes, and in them containers.
        self.left_standing: set[str] = set()
        self.left_running: dict[str, set[str]] = {}
        self.exited: Callable[[str, str, int], None] = lambda uid, container, code: None

    def create(self, sandboxes: Sequence[Sandbox]) -> dict[str, str]:
        self.tries += len(sandboxes)
        failed = {s.uid: self.refused[s.key[1]] for s in sandboxes if s.key[1] in self.refused}
        self.sandboxes.update({s.uid: s for s in sandboxes if s.uid not in failed})
        return failed

    def made(self) -> set[str]:
        return self.left_standing

    def running(self, uid: str) -> set[str]:
        return self.left_running.get(uid, set())

    def destroy(self, uids: Sequence[str]) -> None:
        for uid in uids:
            del self.sandboxes[uid]

    def start(
        self, uid: str, container: Document, environment: Callable[[], Mapping[str, str]]
    ) -> Problem | None:
        image = container["image"]
        if image in self.missing_images:
            return Problem("ErrImagePull", f"no image {image}")
        if image in self.missing_programs:
            return Problem("RunContainerError", f"no program in {image}")
        self.calls.append(f"start {container['name']}")
        self.environments[container["name"]] = environment()
        return None

    def check_path(self, volume: HostPath) -> str:
        return self.bad_paths.get(volume.path, "")

    def set_volumes(self, uid: str, volumes: Mapping[str, Volume]) -> None:
        self.volumes[self.sandboxes[uid].key[1]] = volumes

    def stands_in(self, container: Document) -> bool:
        return str(container["image"]) in self.unknown_images

    def stop(self, uid: str, container: str) -> bool:
        self.calls.append(f"stop {container}")
        return container not in self.stubborn

    def kill(self, uid: str, container: str) -> None:
        self.calls.append(f"kill {container}")
        self.exited(uid, container, 137)

    def listen(self, uid: str, document: Document, ports: Iterable[tuple[str, int]]) -> list[str]:
        self.ports[uid] = set(ports)
        return []

    def check(
        self, uid: str, container: Document, action: Document, timeout: float, done: Outcome
    ) -> None:
        name = self.sandboxes[uid].key[1]
        self.checks.append((name, action))
        if self.held is not None:
            self.held.append(done)
        else:
            done(self.problems.get(name, ""))

    def host_ports(self, node: str, pods: Sequence[tuple[Document, tuple[str, ...]]]) -> str:
        self.mapped[node] = [pod["metadata"]["name"] for pod, _ in pods]
        return ""


class Bench:
    """Some controllers alone: nobody runs the Pods, so a test says what their status is."""

    def __init__(self, *kinds: Callable[[PlainApi], Controller], nodes: int = 1) -> None:
        self.clock = ManualClock(wall=1_800_000_000)
        self.api = PlainApi(self.clock)
        self.store = self.api.store
        self.manager = Manager(self.store, self.clock)
        self.manager.add(*(kind(self.api) for kind in kinds))
        for index in range(1, nodes + 1):
            self.store.create("nodes", node(f"w{index}", "a", index))

    def run(self, seconds: float = 0) -> None:
        self.clock.advance(seconds)
        self.manager.run()

    def create(self, resource: str, document: Document) -> Document:
        made = self.api.create(resource, document)
        self.run()
        return made

    def pods(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.store.list("pods")]

    def set_status(self, pod: str, phase: str = "Running", *, ready: bool = True) -> None:
        """Give a Pod a phase and a Ready condition, then run."""
        changed = copy.deepcopy(self.store.get("pods", "default", pod))
        now = self.store.timestamp()
        entry = {"type": "Ready", "status": str(ready), "lastTransitionTime": now}
        changed["status"] = {"phase": phase, "conditions": [entry]}
        self.store.update("pods", changed, status=True)
        self.run()


class World:
    """Nodes w1 … w3 (zones a, a, b) and every controller; `run` brings it to rest."""

    def __init__(self, nodes: Sequence[tuple[str, str]] = (("w1", "a"), ("w2", "a"), ("w3", "b"))):
        self.clock = ManualClock(wall=1_800_000_000)
        self.api = PlainApi(self.clock)
        self.store = self.api.store
        self.runtime = FakeRuntime()
        self.kubelet = Kubelet(self.api, self.runtime)
        self.runtime.exited = self.kubelet.exited
        self.lifecycle = NodeLifecycleController(self.api, self.kubelet.nodes.silent_for)
        self.manager = Manager(self.store, self.clock)
        self.manager.add(
            DeploymentController(self.api),
            ReplicaSetController(self.api),
            Scheduler(self.api),
            self.kubelet,
            StatefulSetController(self.api),
            DaemonSetController(self.api),
            EndpointSliceController(self.api),
            EndpointsController(self.api),
            EndpointSliceMirroringController(self.api),
            ServiceCIDRController(self.api),
            self.lifecycle,
            GarbageCollector(self.api),
        )
        for index, (name, zone) in enumerate(nodes, 1):
            self.store.create("nodes", node(name, zone, index))
        self.run()

    def run(self) -> None:
        self.manager.run()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run()

    def create(self, resource: str, document: Document) -> Document:
        made = self.api.create(resource, document)
        self.run()
        return made

    def change(self, resource: str, name: str, **spec: Any) -> None:
        document = copy.deepcopy(self.store.get(resource, "default", name))
        document["spec"].update(spec)
        self.store.update(resource, document)
        self.run()

    def delete(self, resource: str, name: str, grace: int | None = None) -> None:
        self.api.delete(resource, "default", name, grace=grace)
        self.run()

    def stop_node(self, name: str) -> None:
        self.kubelet.nodes.silence(name)
        self.manager.enqueue(self.lifecycle, ("", name))
        self.run()

    def start_node(self, name: str) -> None:
        for key in self.kubelet.start_node(name):
            self.manager.enqueue(self.kubelet, key)
        self.manager.enqueue(self.lifecycle, ("", name))
        self.run()

    def exit(self, pod: str, code: int, container: str = "c") -> None:
        uid = self.pod(pod)["metadata"]["uid"]
        self.kubelet.exited(uid, container, code)
        self.run()

    def pod(self, name: str) -> Document:
        return self.store.get("pods", "default", name)

    def pods(self) -> list[Document]:
        return self.store.list("pods", "default")

    def endpoints(self, service: str) -> list[Document]:
        return [
            endpoint
            for slice_ in self.slices(service)
            for endpoint in slice_.get("endpoints") or ()
        ]

    def slices(self, service: str) -> list[Document]:
        return [
            s
            for s in self.store.list("endpointslices", "default")
            if s["metadata"]["labels"]["kubernetes.io/service-name"] == service
        ]


def node(name: str, zone: str, index: int, taints: Sequence[Document] = ()) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone},
        },
        "spec": {
            "podCIDRs": [f"10.244.{index}.0/24", f"fd00:10:244:{index}::/64"],
            "taints": list(taints),
        },
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": f"172.18.0.{10 + index}"},
                {"type": "InternalIP", "address": f"fd00:172:18::{10 + index:x}"},
                {"type": "Hostname", "address": name},
            ]
        },
    }


def deployment(name: str = "web", replicas: int = 3, **strategy: Any) -> Document:
    rolling = {"maxSurge": "25%", "maxUnavailable": "25%", **strategy}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container()]},
            },
        },
    }


def container(name: str = "c", image: str = "web", ports: Sequence[Document] = ()) -> Document:
    return {"name": name, "image": image, "ports": list(ports)}


def service(name: str = "web", target: int | str = 8080, **spec: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": target}],
            "clusterIP": "10.96.0.50",
            "clusterIPs": ["10.96.0.50"],
            "ipFamilies": ["IPv4"],
            **spec,
        },
    }


def pod(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels or {"app": "web"}},
        "spec": {"containers": [container()], **spec},
    }
