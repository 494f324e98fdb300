"""kubelet's controller: one object serves all nodes.

It decides what must run; the `PodRuntime` it is given makes namespaces and runs applications.
Source: pkg/kubelet (kubelet.go SyncPod, SyncTerminatingPod; kuberuntime computePodActions).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import Pod
from testbed.control import pods
from testbed.control.controllers.base import (
    REFUSED_RETRY,
    ClusterApi,
    Controller,
    Key,
    RetryError,
)
from testbed.control.ipam import NodeAddresses
from testbed.control.kubelet import deadline, echo_ports
from testbed.control.kubelet.containers import Containers, grace_of
from testbed.control.kubelet.files import pod_files
from testbed.control.kubelet.host_ports import HostPorts
from testbed.control.kubelet.leases import NodeLeases
from testbed.control.kubelet.mounting import VolumeManager
from testbed.control.kubelet.nodes import Nodes, internal_addresses
from testbed.control.kubelet.recall import recall
from testbed.control.kubelet.runtime import PodRuntime, Sandbox
from testbed.control.kubelet.state import RunningPod, containers_of
from testbed.control.kubelet.status import phase_of, pod_status
from testbed.control.store import ConflictError, Event, EventType, NotFoundError
from testbed.dns.resolv import ResolvConf

#: That of nodes which know no DNS server.
NO_RESOLVER = ResolvConf(())
#: Seconds until a sandbox that couldn't be made is tried again.
SANDBOX_RETRY = 10.0


class Kubelet(Controller):
    """Makes sandboxes, keeps containers running, sees Pods off, writes their status."""

    resources = ("pods", "services", "nodes", "configmaps", "secrets", "serviceaccounts")

    def __init__(
        self, api: ClusterApi, runtime: PodRuntime, node_resolver: ResolvConf = NO_RESOLVER
    ) -> None:
        super().__init__(api)
        self._runtime = runtime
        self.node_resolver = node_resolver
        self.volumes = VolumeManager(api, runtime)
        self._running: dict[str, RunningPod] = {}
        self._addresses: dict[str, NodeAddresses] = {}
        self.nodes = Nodes(api)
        self._deleted: list[str] = []
        #: Seconds until a Pod without a sandbox is looked at again, by uid.
        self._waits: dict[str, float] = {}
        #: When a Pod whose sandbox could not be made is tried again, by uid.
        self._retries: dict[str, float] = {}
        self._host_ports = HostPorts(api, runtime)
        #: Pods whose sandboxes go, and objects that go with them, at the end of a pass.
        self._leaving: list[RunningPod] = []
        self._ended: list[Key] = []
        self.leases = NodeLeases(api, self.nodes.is_heard)
        self._containers = Containers(api, runtime, self._look_again, self.nodes.is_heard)

    # nodes

    def start_node(self, node: str) -> list[Key]:
        """The node's kubelet is heard again; the Pods that it must look at."""
        self.nodes.hear(node)
        keys = [
            (namespace_of(pod), name_of(pod))
            for pod in self.store.list("pods")
            if pod["spec"].get("nodeName") == node
        ]
        keys += [p.sandbox.key for p in self._running.values() if p.sandbox.node == node]
        return list(dict.fromkeys(keys))

    # what to look at

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods":
            if event.type is EventType.DELETED:
                self._deleted.append(event.object["metadata"]["uid"])
            yield from super().keys_for(event)
        elif event.resource == "services":
            # The echo application follows the target ports of the Services that select the Pod.
            states = [event.object, *([event.old] if event.old else [])]
            if event.type is EventType.MODIFIED and not echo_ports.differ(*states):
                return
            for pod in self.store.list("pods", namespace_of(event.object)):
                labels = pod["metadata"].get("labels") or {}
                if any(echo_ports.selects(state, labels) for state in states):
                    yield namespace_of(pod), name_of(pod)
        elif event.resource != "nodes":
            named = event.resource, namespace_of(event.object), name_of(event.object)
            yield from self.volumes.users_of(*named)
        elif event.old is None:
            for pod in self.store.list("pods"):
                if pod["spec"].get("nodeName") == name_of(event.object):
                    yield namespace_of(pod), name_of(pod)

    def exited(self, uid: str, container: str, code: int, message: str = "") -> None:
        """The runtime says that a container's program has ended, with its termination message."""
        pod = self._running.get(uid)
        if pod is not None:
            self._containers.ended(pod, pod.containers[container], code, message)
            self.requeue(pod.sandbox.key)

    def _look_again(self, pod: RunningPod) -> None:
        self.requeue(pod.sandbox.key)

    def reconcile_all(self, keys: Sequence[Key]) -> dict[Key, RetryError]:
        """Remove, create and update in three steps, so that sandboxes are made in one batch."""
        again: dict[Key, RetryError] = {}
        self._forget_deleted()
        self._remove_sandboxes()
        found = [self.store.find("pods", *key) for key in keys]
        documents = [
            document
            for document in found
            if document is not None and self.nodes.is_heard(document["spec"].get("nodeName") or "")
        ]
        self._start([document for document in documents if self._may_start(document)])
        for document in documents:
            key = pods.key_of(document)
            try:
                wait = self._bring_on(document)
            except (ConflictError, NotFoundError) as error:
                again[key] = RetryError(REFUSED_RETRY, str(error))
            except Exception as error:
                again[key] = self.unforeseen(key, error)
            else:
                if wait is not None:
                    again[key] = RetryError(max(wait, 0.001), "a container waits")
        self._remove_sandboxes()
        self._host_ports.map(self._running.values())
        return again

    def _bring_on(self, document: Document) -> float | None:
        """Bring one Pod to its state; returns the seconds until it must be looked at again."""
        current = self.store.find("pods", *pods.key_of(document))
        pod = self._running.get(document["metadata"]["uid"])
        if current is None or pod is None:
            self._finish_unstarted(current)
            if current is None or not self._wants_sandbox(current):
                self._fail_unstarted(current)
                return None
            uid = current["metadata"]["uid"]
            retry = self._retries.get(uid, 0.0) - self.api.clock.now()
            wait = self._waits.get(uid, retry if retry > 0 else SANDBOX_RETRY)
            return _sooner(wait, self._seconds_left(current))
        if pods.is_terminating(current):
            return self._terminate(current, pod)
        return self._keep_running(current, pod)

    # starting

    def _may_start(self, pod: Document) -> bool:
        """Whether it gets a sandbox now: not at once where that has just failed."""
        retry = self._retries.get(pod["metadata"]["uid"], 0.0)
        return retry <= self.api.clock.now() and self._wants_sandbox(pod)

    def _wants_sandbox(self, pod: Document) -> bool:
        """One that is being deleted or past its deadline keeps an earlier kubelet's."""
        uid = pod["metadata"]["uid"]
        if self.store.find("nodes", "", pod["spec"].get("nodeName") or "") is None:
            return False
        active = pods.is_active(pod)
        if pods.is_terminating(pod) or (active and self._is_expired(pod)):
            return uid in self._runtime.made() and uid not in self._running
        return active and uid not in self._running

    def _start(self, documents: Sequence[Document]) -> None:
        mounted = [pod for each in documents if (pod := self._with_volumes(each)) is not None]
        sandboxes = [s for pod in mounted if (s := self._sandbox_for(pod)) is not None]
        if not sandboxes:
            return
        failed = self._runtime.create(sandboxes)
        now = self.store.timestamp()
        for sandbox in sandboxes:
            if reason := failed.get(sandbox.uid):
                self._release(sandbox)
                self._retries[sandbox.uid] = self.api.clock.now() + SANDBOX_RETRY
                self.api.event(
                    sandbox.document,
                    "Warning",
                    "FailedCreatePodSandBox",
                    f"Failed to create pod sandbox: {reason}",
                )
                self._report_waiting(sandbox.document)
                continue
            self.volumes.give(sandbox.uid)
            self._retries.pop(sandbox.uid, None)
            self._running[sandbox.uid] = self._taken_up(sandbox, now)
            self._host_ports.changed(sandbox)

    def _with_volumes(self, document: Document) -> Document | None:
        """The Pod with all its volumes, set up; None where they can't be had yet."""
        pod = self.volumes.complete(document)
        wait = self.volumes.set_up(pod, self.nodes.facts(pod, ()))
        if wait is None:
            self._waits.pop(pod["metadata"]["uid"], None)
            return pod
        self._waits[pod["metadata"]["uid"]] = wait
        self._report_waiting(document)
        return None

    def _taken_up(self, sandbox: Sandbox, now: str) -> RunningPod:
        """The Pod of a sandbox that is there now; an earlier kubelet's containers run already."""
        containers = containers_of(sandbox.document)
        running = self._runtime.running(sandbox.uid)
        if not running and not sandbox.document.get("status", {}).get("containerStatuses"):
            return RunningPod(sandbox, now, containers)
        moment = self.api.clock.now(), self.api.clock.wall()
        going_on = recall(sandbox.document, containers, running, moment, now)
        started = sandbox.document["status"].get("startTime") or now
        pod = RunningPod(sandbox, started, containers)
        self._containers.go_on(pod, going_on)
        return pod

    def _sandbox_for(self, pod: Document) -> Sandbox | None:
        node = self.nodes.get(pod["spec"]["nodeName"])
        host_network = bool(pod["spec"].get("hostNetwork"))
        recorded = Pod.from_document(pod).ips
        if host_network:
            addresses: tuple[str, ...] | None = internal_addresses(node)
        else:
            pool = self._addresses.setdefault(node.name, NodeAddresses(node.pod_cidrs))
            if recorded:
                pool.claim(recorded)
            addresses = recorded or pool.take()
        if not addresses:
            message = f"Failed to create pod sandbox: node {node.name} has no free address"
            self._retries[pod["metadata"]["uid"]] = self.api.clock.now() + SANDBOX_RETRY
            self.api.event(pod, "Warning", "FailedCreatePodSandBox", message)
            return None
        made = pod_files(pod, addresses, self.store.find, self.node_resolver)
        for problem in made.problems:
            self.api.event(pod, "Warning", "DNSConfigForming", problem)
        hostname = node.name if host_network else made.hostname
        return Sandbox(
            pod["metadata"]["uid"],
            (namespace_of(pod), name_of(pod)),
            node.name,
            addresses,
            host_network,
            pod,
            hostname,
            {**made.files, "/etc/hostname": f"{hostname}\n"},
        )

    def _release(self, sandbox: Sandbox) -> None:
        if not sandbox.host_network and sandbox.node in self._addresses:
            self._addresses[sandbox.node].release(sandbox.addresses)

    # running

    def _keep_running(self, document: Document, pod: RunningPod) -> float | None:
        if pod.over:
            return None
        left = self._seconds_left(document, pod.started)
        if left is not None and left <= 0:
            return self._expire(document, pod)
        facts = self.nodes.facts(document, pod.sandbox.addresses)
        wait = _sooner(self.volumes.refresh(document, facts), self._containers.keep(facts, pod))
        if phase_of(document, pod) in pods.TERMINAL_PHASES:
            self._leave_sandbox(pod)
        else:
            self._listen(document, pod)
        self._report(document, pod)
        return _sooner(wait, left)

    def _listen(self, document: Document, pod: RunningPod) -> None:
        services = self.store.list("services", namespace_of(document))
        problems = self._runtime.listen(
            pod.sandbox.uid, document, echo_ports.echo_ports(document, services)
        )
        for problem in problems:
            self.api.event(document, "Warning", "FailedToListen", problem)

    def _leave_sandbox(self, pod: RunningPod) -> None:
        """Nothing of the Pod runs any more: its namespace and address go, its logs stay."""
        if pod.over:
            return
        pod.over = True
        self._leaving.append(pod)
        for container in pod.containers.values():
            self._containers.forget(pod, container)
        self.volumes.forget(pod.sandbox.uid)

    def _remove_sandboxes(self) -> None:
        """Remove in one go what was left in this pass, then the objects of deleted Pods."""
        leaving, self._leaving = self._leaving, []
        if leaving:
            self._runtime.destroy([pod.sandbox.uid for pod in leaving])
        for pod in leaving:
            self._release(pod.sandbox)
            self._host_ports.changed(pod.sandbox)
        ended, self._ended = self._ended, []
        for key in ended:
            self.api.delete("pods", *key, grace=0)

    # ending

    def _seconds_left(self, document: Document, started: str = "") -> float | None:
        started = started or (document.get("status") or {}).get("startTime") or ""
        return deadline.seconds_left(document, started, self.api.clock.wall())

    def _is_expired(self, document: Document) -> bool:
        left = self._seconds_left(document)
        return left is not None and left <= 0

    def _expire(self, document: Document, pod: RunningPod) -> float | None:
        """Its deadline is over: its containers end as those of a deleted Pod, the object stays."""
        if not pod.expired:
            pod.expired = True
            self.api.event(document, "Normal", deadline.REASON, deadline.MESSAGE)
        wait = self._containers.stop_all(document, pod, grace_of(document))
        if not any(container.running for container in pod.containers.values()):
            self._leave_sandbox(pod)
        self._report(document, pod)
        return wait

    def _fail_unstarted(self, document: Document | None) -> None:
        """A Pod whose deadline is over before it has got a sandbox fails all the same."""
        if (
            document is None
            or document["metadata"]["uid"] in self._running
            or not pods.is_active(document)
            or not self._is_expired(document)
        ):
            return
        self.api.event(document, "Normal", deadline.REASON, deadline.MESSAGE)
        self.volumes.forget(document["metadata"]["uid"])
        self._report_waiting(document, expired=True)

    def _terminate(self, document: Document, pod: RunningPod) -> float | None:
        """Main containers end side by side, then sidecars from the last to the first."""
        grace = float(document["metadata"].get("deletionGracePeriodSeconds") or 0)
        wait = self._containers.stop_all(document, pod, grace)
        if any(container.running for container in pod.containers.values()):
            self._report(document, pod)
            return wait
        self._leave_sandbox(pod)
        del self._running[pod.sandbox.uid]
        self._ended.append(pods.key_of(document))
        return None

    def _finish_unstarted(self, document: Document | None) -> None:
        """A Pod that is deleted before it ran has nothing to end."""
        if document is not None and pods.is_terminating(document):
            self.api.delete("pods", namespace_of(document), name_of(document), grace=0)

    def _forget_deleted(self) -> None:
        """Remove what runs for Pods that are gone from the store (forced deletion)."""
        left: list[str] = []
        for uid in self._deleted:
            pod = self._running.get(uid)
            self._waits.pop(uid, None)
            self._retries.pop(uid, None)
            if pod is None:
                self.volumes.forget(uid)
                continue
            if self.nodes.is_heard(pod.sandbox.node):
                self._leave_sandbox(pod)
                del self._running[uid]
            else:
                left.append(uid)
        self._deleted = left

    # reporting

    def _report_waiting(self, document: Document, *, expired: bool = False) -> None:
        """The status of a Pod that has no sandbox yet."""
        uid, node = document["metadata"]["uid"], document["spec"]["nodeName"]
        sandbox = Sandbox(uid, pods.key_of(document), node, (), False, document)
        started = (document.get("status") or {}).get("startTime") or self.store.timestamp()
        pod = RunningPod(sandbox, started, containers_of(document), expired=expired)
        self._report(document, pod)

    def _report(self, document: Document, pod: RunningPod) -> None:
        current = self.store.find("pods", *pod.sandbox.key)
        if current is None:
            return
        host_addresses = internal_addresses(self.nodes.get(pod.sandbox.node))
        status = pod_status(current, pod, host_addresses, self.store.timestamp())
        if status != current.get("status"):
            self.api.update("pods", {**current, "status": status}, status=True)


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
