"""What kubelet asks of whoever makes namespaces and runs applications (testbed.runtime)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from testbed.api.documents import Document
from testbed.api.volumes import HostPath, Volume
from testbed.control.controllers.base import Key

#: Told how a check or a hook went: "" for success, otherwise what went wrong.
Outcome: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What the runtime needs to give a Pod its namespaces. Host-network Pods use the node's.

    `files` are text files by their place in the Pod (/etc/hosts, /etc/resolv.conf).
    """

    uid: str
    key: Key
    node: str
    addresses: tuple[str, ...]
    host_network: bool
    document: Document
    hostname: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


class StartProblem(Protocol):
    """Why a container can't be started: kubelet's `reason` (ErrImagePull …) and a message."""

    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


class PodRuntime(Protocol):
    """Makes sandboxes and runs containers.

    Calls return at once; programs report their end by `Kubelet.exited`, checks by their `Outcome`.
    """

    def create(self, sandboxes: Sequence[Sandbox]) -> dict[str, str]:
        """Make all sandboxes in one go; returns uid → reason for those that failed."""

    def made(self) -> Collection[str]:
        """The uids of the Pods whose sandboxes can outlive this kubelet; () where none can."""

    def running(self, uid: str) -> Collection[str]:
        """The containers that run in a sandbox already: an earlier kubelet has started them."""

    def destroy(self, uids: Sequence[str]) -> None:
        """End what runs in the sandboxes and remove them."""

    def start(
        self, uid: str, container: Document, environment: Callable[[], Mapping[str, str]]
    ) -> StartProblem | None:
        """Start a container; returns why it can't be started, or None.

        `environment` is asked only where a program is started.
        """

    def check_path(self, volume: HostPath) -> str:
        """What is wrong with a path of the machine, or "". Makes it where its type says so."""

    def set_volumes(self, uid: str, volumes: Mapping[str, Volume]) -> None:
        """The volumes of a sandbox, all of them, by name; those that run see the change."""

    def stands_in(self, container: Document) -> bool:
        """Whether the echo application runs in the place of an image that nobody knows."""

    def stop(self, uid: str, container: str) -> bool:
        """Ask a container to end (SIGTERM); True if it has ended already."""

    def kill(self, uid: str, container: str) -> None:
        """End a container (SIGKILL); its end is reported as that of any program."""

    def listen(self, uid: str, document: Document, ports: Iterable[tuple[str, int]]) -> list[str]:
        """Have the echo application of a Pod listen on these ports; returns what failed."""

    def check(
        self, uid: str, container: Document, action: Document, timeout: float, done: Outcome
    ) -> None:
        """Run a probe or hook and tell `done`, unless the sandbox goes first.

        `action` has one of httpGet, tcpSocket, grpc and exec; `timeout` is in seconds of real time.
        Connections come from the node, commands run in the Pod.
        """

    def host_ports(self, node: str, pods: Sequence[tuple[Document, tuple[str, ...]]]) -> str:
        """Map the hostPorts of these Pods (with their addresses) on a node, and no others.

        Returns "" or what went wrong.
        """
