"""kubelet: makes the Pods that are assigned to nodes real, and reports how they are.

One object serves all nodes. It decides what must run; the `PodRuntime` it is given makes namespaces
and runs applications. Source of the status fields: pkg/kubelet (status, prober, container).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import Labels, Node, Pod, Service
from testbed.control import pods
from testbed.control.controllers.base import ClusterApi, Controller, Key, RetryError
from testbed.control.controllers.endpointslice import target_port
from testbed.control.ipam import NodeAddresses
from testbed.control.store import Event

#: Delay before a container that ended is started again: doubled each time, up to the limit (s).
BACKOFF_START = 10.0
BACKOFF_LIMIT = 300.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What the runtime needs to give a Pod its namespaces. Host-network Pods use the node's."""

    uid: str
    key: Key
    node: str
    addresses: tuple[str, ...]
    host_network: bool
    document: Document


class PodRuntime(Protocol):
    """Makes sandboxes and runs containers. Calls return at once; programs report by `exited`."""

    def create(self, sandboxes: Sequence[Sandbox]) -> dict[str, str]:
        """Make all sandboxes in one go; returns uid → reason for those that failed."""

    def destroy(self, uids: Sequence[str]) -> None:
        """End what runs in the sandboxes and remove them."""

    def start(self, uid: str, container: Document) -> str | None:
        """Start a container; returns why it can't be started, or None."""

    def terminate(self, uid: str, container: str) -> bool:
        """Ask a container to end (SIGTERM); True if it has ended already."""

    def listen(self, uid: str, ports: Iterable[tuple[str, int]]) -> list[str]:
        """Have the echo application listen on exactly these ports; returns what failed."""


@dataclass(slots=True)
class _Container:
    """State of one container of a running Pod."""

    started: str = ""
    running: bool = False
    exit_code: int | None = None
    finished: str = ""
    restarts: int = 0
    problem: str = ""
    backoff: float = BACKOFF_START
    not_before: float = 0.0

    def failed(self, now: float) -> None:
        """Wait before the next start, twice as long each time."""
        self.not_before = now + self.backoff
        self.backoff = min(BACKOFF_LIMIT, self.backoff * 2)


@dataclass(slots=True)
class _RunningPod:
    sandbox: Sandbox
    started: str
    containers: dict[str, _Container] = field(default_factory=dict)
    terminating_since: float | None = None
    asked_to_end: bool = False


class Kubelet(Controller):
    resources = ("pods", "services", "nodes")

    def __init__(self, api: ClusterApi, runtime: PodRuntime) -> None:
        super().__init__(api)
        self._runtime = runtime
        self._running: dict[str, _RunningPod] = {}
        self._addresses: dict[str, NodeAddresses] = {}
        self._silent_since: dict[str, float] = {}

    # nodes

    def stop_node(self, node: str) -> None:
        """The node's kubelet falls silent: its Pods go on, nobody starts, ends or reports them."""
        self._silent_since.setdefault(node, self.api.clock.now())

    def start_node(self, node: str) -> list[Key]:
        """The node's kubelet is back; the Pods that it must look at."""
        self._silent_since.pop(node, None)
        return [
            (namespace_of(pod), name_of(pod))
            for pod in self.store.list("pods")
            if pod["spec"].get("nodeName") == node
        ]

    def silent_for(self, node: str) -> float | None:
        """Seconds since the node's kubelet was last heard; None while it is heard."""
        since = self._silent_since.get(node)
        return None if since is None else self.api.clock.now() - since

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods":
            yield from super().keys_for(event)
        elif event.resource == "services":
            # The echo application follows the target ports of the Services that select the Pod.
            states = [event.object, *([event.old] if event.old else [])]
            for pod in self.store.list("pods", namespace_of(event.object)):
                labels = pod["metadata"].get("labels") or {}
                if any(_selects(state, labels) for state in states):
                    yield namespace_of(pod), name_of(pod)
        elif event.old is None:
            for pod in self.store.list("pods"):
                if pod["spec"].get("nodeName") == name_of(event.object):
                    yield namespace_of(pod), name_of(pod)

    def reconcile_all(self, keys: Sequence[Key]) -> dict[Key, RetryError]:
        """Remove, create and update in three steps, so that sandboxes are made in one batch."""
        again: dict[Key, RetryError] = {}
        self._forget_deleted()
        found = [self.store.find("pods", *key) for key in keys]
        documents = [
            document
            for document in found
            if document is not None and document["spec"].get("nodeName") not in self._silent_since
        ]
        starting = [document for document in documents if self._may_start(document)]
        self._start(starting)
        for document in documents:
            current = self.store.find("pods", namespace_of(document), name_of(document))
            pod = self._running.get(document["metadata"]["uid"])
            if current is None or pod is None:
                self._finish_unstarted(current)
                continue
            try:
                if pods.is_terminating(current):
                    self._terminate(current, pod)
                else:
                    self._keep_running(current, pod)
            except RetryError as retry:
                again[namespace_of(current), name_of(current)] = retry
        return again

    # starting

    def _may_start(self, pod: Document) -> bool:
        node = self.store.find("nodes", "", pod["spec"].get("nodeName") or "")
        return (
            node is not None and pods.is_active(pod) and pod["metadata"]["uid"] not in self._running
        )

    def _start(self, documents: Sequence[Document]) -> None:
        sandboxes = [s for pod in documents if (s := self._sandbox_for(pod)) is not None]
        if not sandboxes:
            return
        failed = self._runtime.create(sandboxes)
        now = self.store.timestamp()
        for sandbox in sandboxes:
            if reason := failed.get(sandbox.uid):
                self._release(sandbox)
                self.api.event(sandbox.document, "Warning", "FailedCreatePodSandBox", reason)
                continue
            names = [c["name"] for c in sandbox.document["spec"]["containers"]]
            self._running[sandbox.uid] = _RunningPod(
                sandbox, now, {name: _Container() for name in names}
            )

    def _sandbox_for(self, pod: Document) -> Sandbox | None:
        node = Node.from_document(self.store.get("nodes", "", pod["spec"]["nodeName"]))
        host_network = bool(pod["spec"].get("hostNetwork"))
        recorded = Pod.from_document(pod).ips
        if host_network:
            addresses: tuple[str, ...] | None = _internal_addresses(node)
        else:
            pool = self._addresses.setdefault(node.name, NodeAddresses(node.pod_cidrs))
            if recorded:
                pool.claim(recorded)
            addresses = recorded or pool.take()
        if addresses is None:
            self.api.event(
                pod, "Warning", "FailedCreatePodSandBox", f"node {node.name} has no free address"
            )
            return None
        key = namespace_of(pod), name_of(pod)
        return Sandbox(pod["metadata"]["uid"], key, node.name, addresses, host_network, pod)

    def _release(self, sandbox: Sandbox) -> None:
        if not sandbox.host_network and sandbox.node in self._addresses:
            self._addresses[sandbox.node].release(sandbox.addresses)

    # running

    def _keep_running(self, document: Document, pod: _RunningPod) -> None:
        waits: list[float] = []
        for container in document["spec"]["containers"]:
            wait = self._keep_container(document, pod, container)
            if wait is not None:
                waits.append(wait)
        self._listen(document, pod)
        self._report(document, pod)
        if waits:
            raise RetryError(min(waits), "waiting to restart a container")

    def _keep_container(
        self, document: Document, pod: _RunningPod, container: Document
    ) -> float | None:
        """Start the container if it should run; returns the seconds until it may start again."""
        state = pod.containers[container["name"]]
        if state.running or not self._should_run(document, state):
            return None
        now = self.api.clock.now()
        if now < state.not_before:
            return state.not_before - now
        if state.exit_code is not None:
            state.restarts += 1
        state.exit_code, state.problem = None, ""
        problem = self._runtime.start(pod.sandbox.uid, container)
        if problem is not None:
            state.problem = problem
            state.failed(now)
            self.api.event(document, "Warning", "Failed", problem)
            return state.not_before - now
        state.running, state.started = True, self.store.timestamp()
        self.api.event(document, "Normal", "Started", f"Started container {container['name']}")
        return None

    @staticmethod
    def _should_run(document: Document, state: _Container) -> bool:
        policy = document["spec"].get("restartPolicy", "Always")
        ended = state.exit_code is not None
        return not ended or policy == "Always" or (policy == "OnFailure" and state.exit_code != 0)

    def exited(self, uid: str, container: str, code: int) -> Key | None:
        """The runtime says that a container's program has ended; the key to look at again."""
        pod = self._running.get(uid)
        if pod is None:
            return None
        state = pod.containers[container]
        state.running, state.exit_code, state.finished = False, code, self.store.timestamp()
        state.failed(self.api.clock.now())
        return pod.sandbox.key

    def _listen(self, document: Document, pod: _RunningPod) -> None:
        services = self.store.list("services", namespace_of(document))
        problems = self._runtime.listen(pod.sandbox.uid, echo_ports(document, services))
        for problem in problems:
            self.api.event(document, "Warning", "FailedToListen", problem)

    # ending

    def _terminate(self, document: Document, pod: _RunningPod) -> None:
        """preStop sleep, then SIGTERM, then the end of the grace period; all on the lab's clock."""
        now = self.api.clock.now()
        if pod.terminating_since is None:
            pod.terminating_since = now
            self.api.event(document, "Normal", "Killing", "Stopping containers")
        elapsed = now - pod.terminating_since
        grace = float(document["metadata"].get("deletionGracePeriodSeconds") or 0)
        sleep = min(_pre_stop_sleep(document), grace)
        if elapsed < sleep:
            self._report(document, pod)
            raise RetryError(sleep - elapsed, "preStop sleep")
        ended = [
            self._runtime.terminate(pod.sandbox.uid, name)
            for name, state in pod.containers.items()
            if state.running
        ]
        if not all(ended) and elapsed < grace:
            self._report(document, pod)
            raise RetryError(grace - elapsed, "waiting for containers to end")
        self._remove(pod)
        self.api.delete("pods", namespace_of(document), name_of(document), grace=0)

    def _remove(self, pod: _RunningPod) -> None:
        self._runtime.destroy([pod.sandbox.uid])
        self._release(pod.sandbox)
        del self._running[pod.sandbox.uid]

    def _finish_unstarted(self, document: Document | None) -> None:
        """A Pod that is deleted before it ran has nothing to end."""
        if document is not None and pods.is_terminating(document):
            self.api.delete("pods", namespace_of(document), name_of(document), grace=0)

    def _forget_deleted(self) -> None:
        """Remove what runs for Pods that are gone from the store (forced deletion)."""
        known = {pod["metadata"]["uid"] for pod in self.store.list("pods")}
        for uid, pod in list(self._running.items()):
            if uid not in known:
                self._remove(pod)

    # reporting

    def _report(self, document: Document, pod: _RunningPod) -> None:
        changed = copy.deepcopy(document)
        node = Node.from_document(self.store.get("nodes", "", pod.sandbox.node))
        changed["status"] = pod_status(
            document, pod.sandbox, pod.started, pod.containers, node, self.store.timestamp()
        )
        self.api.update("pods", changed, status=True)


def echo_ports(document: Document, services: Iterable[Document]) -> set[tuple[str, int]]:
    """Where the echo application of a Pod listens.

    Every containerPort, and every target port of the Services that select the Pod.
    """
    pod = Pod.from_document(document)
    found = {(port.protocol, port.port) for port in pod.ports}
    for entry in services:
        if not _selects(entry, pod.labels):
            continue
        for port in Service.from_document(entry).ports:
            number = target_port(port, pod)
            if number is not None:
                found.add((port.protocol, number))
    return found


def _selects(service: Document, labels: Labels) -> bool:
    selector: Labels = service["spec"].get("selector") or {}
    return bool(selector) and selector.items() <= labels.items()


def _internal_addresses(node: Node) -> tuple[str, ...]:
    """The node's InternalIPs, one per family."""
    found: dict[bool, str] = {}
    for kind, address in node.addresses:
        if kind == "InternalIP":
            found.setdefault(":" in address, address)
    return tuple(found.values())


def _pre_stop_sleep(document: Document) -> float:
    """Longest preStop sleep of the containers, in seconds."""
    hooks = [
        ((c.get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}
        for c in document["spec"]["containers"]
    ]
    return max((float(hook.get("seconds") or 0) for hook in hooks), default=0.0)


def pod_status(
    document: Document,
    sandbox: Sandbox,
    started: str,
    containers: dict[str, _Container],
    node: Node,
    now: str,
) -> Document:
    """The Pod's status as kubelet writes it. Source: pkg/kubelet/status and kubelet_pods.go."""
    old = document.get("status") or {}
    everyone_runs = all(state.running for state in containers.values())
    gates = [
        pods.condition(document, gate["conditionType"]).get("status") == "True"
        for gate in document["spec"].get("readinessGates") or ()
    ]
    status: Document = {
        **{k: v for k, v in old.items() if k in ("qosClass", "nominatedNodeName")},
        "phase": _phase(document, containers),
        "conditions": copy.deepcopy(old.get("conditions") or []),
        "hostIP": _internal_addresses(node)[0] if node.addresses else "",
        "hostIPs": [{"ip": address} for address in _internal_addresses(node)],
        "podIP": sandbox.addresses[0],
        "podIPs": [{"ip": address} for address in sandbox.addresses],
        "startTime": started,
        "containerStatuses": [
            _container_status(entry, containers[entry["name"]], document)
            for entry in document["spec"]["containers"]
        ],
    }
    conditions = {
        "PodReadyToStartContainers": True,
        "Initialized": True,
        "ContainersReady": everyone_runs,
        "Ready": everyone_runs and all(gates),
        "PodScheduled": True,
    }
    for kind, value in conditions.items():
        set_pod_condition(status, kind, value, now)
    return status


def set_pod_condition(status: Document, kind: str, value: bool, now: str) -> None:
    """Set one of kubelet's conditions; lastTransitionTime moves only when the status does."""
    text = "True" if value else "False"
    for entry in status["conditions"]:
        if entry["type"] == kind:
            if entry["status"] != text:
                entry.update(status=text, lastTransitionTime=now)
            for name in ("reason", "message"):
                entry.pop(name, None)
            return
    status["conditions"].append(
        {"type": kind, "status": text, "lastProbeTime": None, "lastTransitionTime": now}
    )


def _phase(document: Document, containers: dict[str, _Container]) -> str:
    """Source: kubelet_pods.go getPhase."""
    policy = document["spec"].get("restartPolicy", "Always")
    if any(not c.started for c in containers.values()):
        return "Pending"
    if any(c.running for c in containers.values()) or policy == "Always":
        return "Running"
    if all(c.exit_code == 0 for c in containers.values()):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _container_status(entry: Document, state: _Container, document: Document) -> Document:
    if state.running:
        current: Document = {"running": {"startedAt": state.started}}
    elif state.exit_code is not None:
        reason = "Completed" if state.exit_code == 0 else "Error"
        current = {
            "terminated": {
                "exitCode": state.exit_code,
                "reason": reason,
                "startedAt": state.started,
                "finishedAt": state.finished,
            }
        }
    elif state.problem:
        current = {"waiting": {"reason": "ErrImagePull", "message": state.problem}}
    else:
        current = {"waiting": {"reason": "ContainerCreating"}}
    image = entry.get("image") or ""
    return {
        "name": entry["name"],
        "state": current,
        "lastState": {},
        "ready": state.running,
        "restartCount": state.restarts,
        "image": image,
        "imageID": "",
        "containerID": f"testbed://{document['metadata']['uid']}-{entry['name']}",
        "started": state.running,
    }
