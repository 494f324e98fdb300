"""What kubelet remembers about the Pods that it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from testbed.api.documents import Document
from testbed.control.kubelet.runtime import Sandbox

#: Delay before the second restart of a container (s), doubled each time up to the limit.
BACKOFF_START = 10.0
BACKOFF_LIMIT = 300.0
#: The exit code of a program that could not be started, and when it began. Source: containerd.
NOT_STARTED = 128
NEVER = "1970-01-01T00:00:00Z"


class Role(Enum):
    """How a container takes part in its Pod.

    A sidecar is a restartable init container; an ephemeral one comes later, and runs once.
    """

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"
    EPHEMERAL = "ephemeral"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of a container ended; times as the API prints them, `at` on the lab's clock."""

    code: int
    started: str
    finished: str
    at: float
    reason: str = ""
    message: str = ""

    @property
    def document(self) -> Document:
        return {
            "exitCode": self.code,
            "reason": self.reason or ("Completed" if self.code == 0 else "Error"),
            **({"message": self.message} if self.message else {}),
            "startedAt": self.started,
            "finishedAt": self.finished,
        }


class Backoff:
    """How long to wait after a failure: not at all, then 10 s, doubled up to 300 s.

    A run that lasts twice the limit makes it forget. Source: client-go util/flowcontrol/backoff.go,
    pkg/kubelet/kuberuntime doBackOff.
    """

    def __init__(self, first: float = 0.0) -> None:
        self._first = self._next = first

    def after(self, lasted: float) -> float:
        """Seconds to wait after a run of `lasted` seconds that has just ended."""
        if lasted > 2 * BACKOFF_LIMIT:
            self._next = self._first
        wait = self._next
        self._next = min(BACKOFF_LIMIT, wait * 2) or BACKOFF_START
        return wait


@dataclass(slots=True)
class Stopping:
    """A container's way to its end: preStop hook, SIGTERM, SIGKILL; `since` on the lab's clock."""

    since: float
    grace: float
    hook_ended: bool = True
    asked: float | None = None
    killed: bool = False


@dataclass(slots=True)
class Container:
    """State of one container of a running Pod. `begun` and `not_before` on the lab's clock."""

    spec: Document
    role: Role
    running: bool = False
    started_at: str = ""
    begun: float = 0.0
    ended: Ended | None = None
    last: Ended | None = None
    restarts: int = 0
    waiting: tuple[str, str] | None = None
    #: It waits for an object that its variables name.
    lacks_reference: bool = False
    not_before: float = 0.0
    crash: Backoff = field(default_factory=Backoff)
    pull: Backoff = field(default_factory=lambda: Backoff(BACKOFF_START))
    #: What the readiness and startup probes say; without a probe, that it runs.
    ready: bool = False
    started: bool = False
    stopping: Stopping | None = None
    #: Its image has changed while it ran: it runs again, whatever the restart policy says.
    redefined: bool = False
    #: Its postStart hook is under way: until that has succeeded, it isn't reported as running.
    starting: bool = False

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    def begin(self, now: float, timestamp: str) -> None:
        """A new run has begun."""
        self.running, self.begun, self.started_at = True, now, timestamp
        self.waiting = self.stopping = None
        if self.ended is not None:
            self.restarts += 1
            self.last, self.ended = self.ended, None
        self.starting = self.redefined = False
        self.come_up()

    def come_up(self) -> None:
        """It runs: it is started and ready, unless a probe has to say so."""
        self.started = not self.spec.get("startupProbe")
        self.ready = self.started and not self.spec.get("readinessProbe")

    def take(self, image: str) -> None:
        """While it doesn't run: the next run is of another image, which hasn't failed yet."""
        self.spec = {**self.spec, "image": image}
        self.crash, self.pull = Backoff(), Backoff(BACKOFF_START)
        self.not_before = 0.0

    @property
    def hook(self) -> Document | None:
        """Its postStart hook."""
        found: Document | None = (self.spec.get("lifecycle") or {}).get("postStart")
        return found

    def end(self, code: int, now: float, timestamp: str, message: str = "") -> None:
        """The run has ended."""
        self.ended = Ended(code, self.started_at, timestamp, now, message=message)
        self.not_before = now + self.crash.after(now - self.begun)
        self.running = self.ready = self.started = self.starting = False
        self.stopping = None

    def fail(self, message: str, now: float, timestamp: str) -> None:
        """A run that ended before it began: there is no such program."""
        self.begin(now, timestamp)
        self.end(NOT_STARTED, now, timestamp)
        self.ended = Ended(NOT_STARTED, NEVER, timestamp, now, "StartError", message)


@dataclass(slots=True)
class RunningPod:
    """One Pod on a node; `containers` in the order of their start."""

    sandbox: Sandbox
    started: str
    containers: dict[str, Container]
    #: It has come to its end (phase Succeeded or Failed): its sandbox is gone.
    over: bool = False
    #: Its activeDeadlineSeconds have passed: what runs is ended, nothing is started again.
    expired: bool = False

    def of(self, *roles: Role) -> list[Container]:
        return [each for each in self.containers.values() if each.role in roles]


def containers_of(document: Document) -> dict[str, Container]:
    """Fresh containers of a Pod, init containers first."""
    spec = document["spec"]
    found = [
        Container(each, Role.SIDECAR if each.get("restartPolicy") == "Always" else Role.INIT)
        for each in spec.get("initContainers") or ()
    ]
    found += [Container(each, Role.MAIN) for each in spec["containers"]]
    found += [Container(each, Role.EPHEMERAL) for each in spec.get("ephemeralContainers") or ()]
    return {each.name: each for each in found}


def should_run(container: Container, policy: str) -> bool:
    """Whether a container runs, or is to be (re)started once its turn has come."""
    if container.ended is None or container.redefined or container.role is Role.SIDECAR:
        return True
    if container.role is Role.EPHEMERAL:
        return False
    failed = container.ended.code != 0
    if container.role is Role.INIT:
        return failed and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and failed)
