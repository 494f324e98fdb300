"""Starting, restarting and stopping the containers of Pods.

Source: pkg/kubelet/kuberuntime (computePodActions, doBackOff, killContainer) and
lifecycle/handlers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from testbed.api.documents import Document, namespace_of
from testbed.control.controllers.base import ClusterApi
from testbed.control.kubelet.environment import (
    MissingReferenceError,
    PodFacts,
    environment,
    own_environment,
)
from testbed.control.kubelet.prober import LIVENESS, READINESS, STARTUP, Prober, Result
from testbed.control.kubelet.runtime import Outcome, PodRuntime
from testbed.control.kubelet.state import Container, Role, RunningPod, Stopping, should_run
from testbed.control.kubelet.status import crash_loop

#: What a container gets after a preStop hook that used the grace period up (s).
MINIMUM_GRACE = 2.0
DEFAULT_GRACE = 30.0
#: How long a postStart hook may take (s of real time); kubelet has no limit.
HOOK_TIMEOUT = 86400.0
#: Why a container waits whose configuration isn't complete, and for how long (s): kubelet's pod
#: workers look again every backOffPeriod.
CONFIG_ERROR, CONFIG_RETRY = "CreateContainerConfigError", 10.0
#: Why a container waits whose program can't be started.
NOT_RUN = "RunContainerError"


class Containers:
    """Brings containers to the state that their Pod asks for, and runs their probes.

    `look_again(pod)` has the Pod reconciled once more; `heard(node)` is False while the node's
    kubelet is stopped.
    """

    def __init__(
        self,
        api: ClusterApi,
        runtime: PodRuntime,
        look_again: Callable[[RunningPod], None],
        heard: Callable[[str], bool],
    ) -> None:
        self._api = api
        self._runtime = runtime
        self._look_again = look_again
        self._prober = Prober(api.clock, runtime, heard, self._found)

    # running

    def keep(self, facts: PodFacts, pod: RunningPod) -> float | None:
        """Start what is to run now; returns the seconds until something may be started again.

        Init containers run one after the other; a sidecar has to have started before the next.
        """
        document = facts.document
        main = pod.of(Role.MAIN)
        initialized = any(c.running or c.ended for c in main)
        policy = document["spec"].get("restartPolicy", "Always")
        self._follow_images(document, pod)
        waits = self._keep_ephemeral(facts, pod, policy)
        over = initialized and not any(c.running or should_run(c, policy) for c in main)
        if over:
            return self.stop_all(document, pod, grace_of(document))
        for container in pod.of(Role.INIT, Role.SIDECAR):
            if container.role is Role.INIT and initialized:
                continue
            waits.append(self._keep_one(pod, container, facts, policy))
            if not initialized and not _let_through(container):
                return _soonest(waits)
        for container in main:
            waits.append(self._keep_one(pod, container, facts, policy))
            if container.starting:
                break  # as kubelet, which starts one after the other and waits for the hook
        return _soonest(waits)

    def _follow_images(self, document: Document, pod: RunningPod) -> None:
        """Take up images that have changed, all that may change of a container.

        What runs is killed for it, except for an init container that comes to its end.
        """
        spec = document["spec"]
        for wanted in [*(spec.get("initContainers") or ()), *spec["containers"]]:
            container, image = pod.containers[wanted["name"]], wanted.get("image") or ""
            if image == container.spec.get("image", ""):
                continue
            if not container.running:
                container.take(image)
            elif container.role is not Role.INIT and not container.redefined:
                container.redefined = True
                kind = "Init container" if container.role is Role.SIDECAR else "Container"
                message = f"{kind} {container.name} definition changed"
                if container.role is not Role.SIDECAR:
                    message += ", will be restarted"
                if container.stopping is None:
                    self._event(document, "Normal", "Killing", message)
                    self._begin_stopping(pod, container, grace_of(document))

    def _keep_ephemeral(self, facts: PodFacts, pod: RunningPod, policy: str) -> list[float | None]:
        """Start the containers that `kubectl debug` has added."""
        for spec in facts.document["spec"].get("ephemeralContainers") or ():
            if spec["name"] not in pod.containers:
                pod.containers[spec["name"]] = Container(spec, Role.EPHEMERAL)
        return [self._keep_one(pod, each, facts, policy) for each in pod.of(Role.EPHEMERAL)]

    def go_on(self, pod: RunningPod, running: Iterable[Container]) -> None:
        """Probe containers that an earlier kubelet has started."""
        for container in running:
            self._prober.begin(pod, container)

    def _keep_one(
        self, pod: RunningPod, container: Container, facts: PodFacts, policy: str
    ) -> float | None:
        if container.running:
            return self._go_on_stopping(pod, container) if container.stopping else None
        if not should_run(container, policy):
            container.waiting = None
            return None
        left = container.not_before - self._api.clock.now()
        if left > 0 and not self._has_come(container, facts):
            self._tell_waiting(facts.document, container)
            return left
        return self._start(pod, container, facts)

    def _has_come(self, container: Container, facts: PodFacts) -> bool:
        """Whether the object is there now that a container has waited for."""
        if not container.lacks_reference:
            return False
        try:
            own_environment(container.spec, facts, self._api.store.find)
        except MissingReferenceError:
            return False
        return True

    def _tell_waiting(self, document: Document, container: Container) -> None:
        """The waiting state and Event of a container that may not be started yet."""
        image = container.spec.get("image")
        if container.waiting is not None and container.waiting[0] == "ErrImagePull":
            message = f'Back-off pulling image "{image}"'
            self._event(document, "Normal", "BackOff", message)
            self._event(document, "Warning", "Failed", "Error: ImagePullBackOff")
            container.waiting = "ImagePullBackOff", f"{message}: {container.waiting[1]}"
        elif container.ended is not None and (
            container.waiting is None or container.waiting[0] == NOT_RUN
        ):
            delay = container.not_before - container.ended.at
            container.waiting = crash_loop(container, document, delay)
            what = container.waiting[1].split("=", 1)[1].replace(" pod=", " in pod ", 1)
            message = f"Back-off restarting failed container {what}"
            self._event(document, "Warning", "BackOff", message)

    def _start(self, pod: RunningPod, container: Container, facts: PodFacts) -> float | None:
        now, uid = self._api.clock.now(), pod.sandbox.uid
        document = facts.document
        problem = self._attempt(uid, container, facts)
        if problem is not None:
            reason, message = problem
            if reason == NOT_RUN:
                return self._fail(document, container, message)
            container.waiting = problem
            wait = CONFIG_RETRY if reason == CONFIG_ERROR else container.pull.after(0)
            container.not_before = now + wait
            if reason == "ErrImagePull":
                message = f'Failed to pull image "{container.spec.get("image")}": {message}'
                self._event(document, "Warning", "Failed", message)
                self._event(document, "Warning", "Failed", "Error: ErrImagePull")
            else:
                self._event(document, "Warning", "Failed", f"Error: {message}")
            return wait
        container.begin(now, self._api.store.timestamp())
        self._tell_created(document, container)
        self._event(document, "Normal", "Started", f"Started container {container.name}")
        if container.hook is None:
            self._prober.begin(pod, container)
        else:
            self._run_post_start(pod, container, container.hook)
        return None

    def _run_post_start(self, pod: RunningPod, container: Container, hook: Document) -> None:
        """Run the hook of a new run; where it fails, the container is killed.

        Source: kuberuntime_container.go startContainer.
        """
        container.starting, container.started, container.ready = True, False, False
        run = container.restarts

        def ended(problem: str) -> None:
            if not container.starting or container.restarts != run:
                return  # that run is over
            container.starting = False
            document = pod.sandbox.document
            if problem:
                self._event(document, "Warning", "FailedPostStartHook", "PostStartHook failed")
                self._event(document, "Normal", "Killing", "FailedPostStartHook")
                self._begin_stopping(pod, container, grace_of(document))
            else:
                container.come_up()
                self._prober.begin(pod, container)
            self._look_again(pod)

        self._run_hook(pod, container, hook, HOOK_TIMEOUT, ended)

    def _run_hook(
        self, pod: RunningPod, container: Container, hook: Document, timeout: float, done: Outcome
    ) -> None:
        """Run a lifecycle hook. Source: lifecycle/handlers.go."""
        if "sleep" in hook:
            seconds = float((hook["sleep"] or {}).get("seconds") or 0)
            self._api.clock.call_later(seconds, lambda: done(""))
        elif "exec" in hook or "httpGet" in hook:
            self._runtime.check(pod.sandbox.uid, container.spec, hook, timeout, done)
        else:
            done(f"invalid handler: {', '.join(hook)}")

    def _fail(self, document: Document, container: Container, message: str) -> float:
        """Its program can't be started: that counts as a run that has ended."""
        container.fail(message, self._api.clock.now(), self._api.store.timestamp())
        if should_run(container, document["spec"].get("restartPolicy", "Always")):
            container.waiting = NOT_RUN, message
        self._tell_created(document, container)
        self._event(document, "Warning", "Failed", f"Error: {message}")
        return max(0.0, container.not_before - self._api.clock.now())

    def _tell_created(self, document: Document, container: Container) -> None:
        image = container.spec.get("image")
        told = f'Container image "{image}" already present on machine'
        if self._runtime.stands_in(container.spec):
            told = f'Image "{image}" is not in the image table; the echo application runs'
        self._event(document, "Normal", "Pulled", told)
        self._event(document, "Normal", "Created", f"Created container: {container.name}")

    def _attempt(self, uid: str, container: Container, facts: PodFacts) -> tuple[str, str] | None:
        """Start it; returns (reason, message) where that isn't possible."""
        store, spec = self._api.store, container.spec

        def variables() -> dict[str, str]:
            namespace = namespace_of(facts.document)
            services = [s for n in {"default", namespace} for s in store.list("services", n)]
            return environment(spec, facts, services, store.find)

        try:
            own_environment(spec, facts, store.find)
        except MissingReferenceError as error:
            container.lacks_reference = True
            return CONFIG_ERROR, str(error)
        container.lacks_reference = False
        problem = self._runtime.start(uid, spec, variables)
        return None if problem is None else (problem.reason, problem.message)

    # ending

    def ended(self, pod: RunningPod, container: Container, code: int, message: str = "") -> None:
        """A container has ended."""
        if container.running:
            self._prober.end(pod.sandbox.uid, container.name)
            container.end(code, self._api.clock.now(), self._api.store.timestamp(), message)

    def forget(self, pod: RunningPod, container: Container) -> None:
        """The sandbox goes: no more probes."""
        self._prober.end(pod.sandbox.uid, container.name)

    def stop_all(self, document: Document, pod: RunningPod, grace: float) -> float | None:
        """Bring a Pod's containers nearer to their ends; the seconds after which to go on.

        All preStop hooks run at once. A sidecar gets SIGTERM when those before it have ended, at
        the latest when the grace period is over. Source: kuberuntime_termination_order.go.
        """
        turns = [*pod.of(Role.MAIN, Role.INIT, Role.EPHEMERAL), *reversed(pod.of(Role.SIDECAR))]
        waits = []
        for index, container in enumerate(turns):
            before = turns[:index] if container.role is Role.SIDECAR else ()
            turn = not any(each.running for each in before)
            waits.append(self._stop(document, pod, container, grace, turn))
        return _soonest(waits)

    def _stop(
        self, document: Document, pod: RunningPod, container: Container, grace: float, turn: bool
    ) -> float | None:
        """Bring a running container nearer to its end: preStop hook, SIGTERM, SIGKILL.

        Without its `turn`, no SIGTERM before the grace period is over. Returns the seconds after
        which to go on, None where it has ended or its end is awaited.
        """
        if not container.running:
            return None
        if container.stopping is None:
            message = f"Stopping container {container.name}"
            self._event(document, "Normal", "Killing", message)
            self._begin_stopping(pod, container, grace)
        elif container.stopping.grace > grace:
            container.stopping.grace = grace
        return self._go_on_stopping(pod, container, turn)

    def _begin_stopping(self, pod: RunningPod, container: Container, grace: float) -> None:
        uid = pod.sandbox.uid
        self._prober.end(uid, container.name, STARTUP, LIVENESS)
        stopping = container.stopping = Stopping(self._api.clock.now(), grace)
        hook = (container.spec.get("lifecycle") or {}).get("preStop")
        if not hook or grace <= 0:
            return
        stopping.hook_ended = False

        def ended(problem: str) -> None:
            if problem:
                message = "PreStopHook failed"
                self._event(pod.sandbox.document, "Warning", "FailedPreStopHook", message)
            stopping.hook_ended = True
            self._look_again(pod)

        self._run_hook(pod, container, hook, grace, ended)

    def _go_on_stopping(
        self, pod: RunningPod, container: Container, turn: bool = True
    ) -> float | None:
        stopping, uid = container.stopping, pod.sandbox.uid
        assert stopping is not None
        now = self._api.clock.now()
        end = stopping.since + stopping.grace
        waits = not stopping.hook_ended or (stopping.asked is None and not turn)
        if waits and now < end:
            return end - now
        if stopping.asked is None:
            stopping.asked = now
            if self._runtime.stop(uid, container.name):
                self.ended(pod, container, 0)
                self._look_again(pod)
                return None
        if stopping.grace > 0:
            end = max(end, stopping.asked + MINIMUM_GRACE)
        if now < end:
            return end - now
        if not stopping.killed:
            stopping.killed = True
            self._runtime.kill(uid, container.name)
        return None

    # probes

    def _found(self, result: Result) -> None:
        """A probe has run: the container becomes ready, started, or is restarted."""
        pod, container = result.pod, result.container
        if result.problem:
            message = f"{result.kind.capitalize()} probe failed: {result.problem}"
            self._event(pod.sandbox.document, "Warning", "Unhealthy", message)
        if result.verdict is None:
            return
        if result.kind == READINESS:
            if container.ready is not result.verdict:
                container.ready = result.verdict
                self._look_again(pod)
        elif not result.verdict:
            self._restart(pod, container, result.kind)
        elif result.kind == STARTUP:
            container.started = True
            container.ready = not container.spec.get("readinessProbe")
            self._prober.started(pod.sandbox.uid, container)
            self._look_again(pod)

    def _restart(self, pod: RunningPod, container: Container, kind: str) -> None:
        """A liveness or startup probe has failed for good."""
        if container.stopping is not None:
            return
        message = f"Container {container.name} failed {kind} probe, will be restarted"
        self._event(pod.sandbox.document, "Normal", "Killing", message)
        probe = container.spec[f"{kind}Probe"]
        grace = probe.get("terminationGracePeriodSeconds")
        default = grace_of(pod.sandbox.document)
        self._begin_stopping(pod, container, default if grace is None else float(grace))
        self._look_again(pod)

    def _event(self, document: Document, kind: str, reason: str, message: str) -> None:
        self._api.event(document, kind, reason, message)


def _let_through(container: Container) -> bool:
    """Whether the containers after an init container may start."""
    if container.role is Role.SIDECAR:
        return container.started and not container.starting
    return container.ended is not None and container.ended.code == 0


def grace_of(document: Document) -> float:
    """Seconds that a Pod's containers get to end."""
    grace = document["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE if grace is None else float(grace)


def _soonest(waits: list[float | None]) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)
