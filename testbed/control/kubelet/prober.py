"""Probes: startup, readiness and liveness of running containers, on the lab's clock.

Source: pkg/kubelet/prober (worker.go, prober_manager.go). Every probe is a worker with a timer: it
runs first when its initial delay is over, then every period; one that is still under way at its
next turn is waited for. Nothing but the startup probe runs until that has succeeded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from testbed.api.documents import Document
from testbed.clock import Clock, Timer
from testbed.control.kubelet.runtime import PodRuntime
from testbed.control.kubelet.state import Container, RunningPod

STARTUP, READINESS, LIVENESS = "startup", "readiness", "liveness"
KINDS = (STARTUP, READINESS, LIVENESS)


@dataclass(frozen=True, slots=True)
class Result:
    """What a probe found: `problem` is "" for success.

    `verdict` is what the thresholds make of it: True, False, or None while they aren't reached.
    """

    pod: RunningPod
    container: Container
    kind: str
    problem: str
    verdict: bool | None


class Prober:
    """Runs the probes of all containers that `begin` names, until they end.

    `heard(node)` is False while the node's kubelet is stopped, which stops its probes.
    """

    def __init__(
        self,
        clock: Clock,
        runtime: PodRuntime,
        heard: Callable[[str], bool],
        found: Callable[[Result], None],
    ) -> None:
        self.clock = clock
        self.runtime = runtime
        self.heard = heard
        self.found = found
        self._workers: dict[tuple[str, str], list[_Worker]] = {}

    def begin(self, pod: RunningPod, container: Container) -> None:
        """A run of `container` has begun: probe it as its spec says."""
        probes = [(kind, container.spec.get(f"{kind}Probe")) for kind in KINDS]
        workers = [_Worker(self, pod, container, kind, probe) for kind, probe in probes if probe]
        if workers:
            self._workers[pod.sandbox.uid, container.name] = workers
            self._start_due(workers, container)

    def end(self, uid: str, container: str, *kinds: str) -> None:
        """Stop the container's probes: all, or those of some kinds."""
        workers = self._workers.pop((uid, container), [])
        kept = [worker for worker in workers if kinds and worker.kind not in kinds]
        for worker in workers:
            if worker not in kept:
                worker.stop()
        if kept:
            self._workers[uid, container] = kept

    def started(self, uid: str, container: Container) -> None:
        """The startup probe has succeeded: the others begin."""
        self.end(uid, container.name, STARTUP)
        self._start_due(self._workers.get((uid, container.name), []), container)

    def _start_due(self, workers: list[_Worker], container: Container) -> None:
        for worker in list(workers):
            if container.started or worker.kind == STARTUP:
                worker.start()


class _Worker:
    """One probe of one run of a container."""

    def __init__(
        self, prober: Prober, pod: RunningPod, container: Container, kind: str, probe: Document
    ) -> None:
        self.kind = kind
        self._prober = prober
        self._pod = pod
        self._container = container
        self._probe = probe
        self._timer: Timer | None = None
        self._stopped = False
        self._under_way = False
        self._same = 0
        self._latest: bool | None = None

    def start(self) -> None:
        delay = float(self._probe.get("initialDelaySeconds") or 0)
        left = self._container.begun + delay - self._prober.clock.now()
        if left > 0:
            self._timer = self._prober.clock.call_later(left, self._turn)
        else:
            self._turn()

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        period = float(self._probe.get("periodSeconds") or 10)
        self._timer = self._prober.clock.call_later(period, self._turn)
        if self._under_way or not self._prober.heard(self._pod.sandbox.node):
            return
        self._under_way = True
        timeout = float(self._probe.get("timeoutSeconds") or 1)
        uid = self._pod.sandbox.uid
        self._prober.runtime.check(uid, self._container.spec, self._probe, timeout, self._done)

    def _done(self, problem: str) -> None:
        self._under_way = False
        if self._stopped:
            return
        good = not problem
        self._same = self._same + 1 if good is self._latest else 1
        self._latest = good
        name = "successThreshold" if good else "failureThreshold"
        needed = int(self._probe.get(name) or (1 if good else 3))
        verdict = good if self._same >= needed else None
        self._prober.found(Result(self._pod, self._container, self.kind, problem, verdict))
