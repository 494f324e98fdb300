"""One Pod's sandbox: its namespace, and what runs in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from testbed import shell
from testbed.api.documents import Document
from testbed.fabric.namespace import Namespace, marks_of
from testbed.runtime.applications import Application
from testbed.runtime.hosts import Echo, RunningProgram


class SandboxRequest(Protocol):
    """What a sandbox is made for (control.kubelet.Sandbox)."""

    @property
    def uid(self) -> str: ...
    @property
    def key(self) -> tuple[str, str]: ...
    @property
    def node(self) -> str: ...
    @property
    def addresses(self) -> tuple[str, ...]: ...
    @property
    def host_network(self) -> bool: ...
    @property
    def document(self) -> Document: ...
    @property
    def hostname(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...


def namespace_name(key: tuple[str, str]) -> str:
    """The fabric's name for a Pod's namespace: `default.web-0`."""
    return f"{key[0]}.{key[1]}"


@dataclass(slots=True)
class Sandbox:
    """A Pod's namespace and what runs in it."""

    request: SandboxRequest
    namespace: Namespace
    directory: Path
    echo: Echo | None = None
    programs: dict[str, RunningProgram] = field(default_factory=dict)
    environments: dict[str, Mapping[str, str]] = field(default_factory=dict)
    ports: frozenset[tuple[str, int]] = frozenset()
    #: Containers that the echo application stands for.
    echoes: set[str] = field(default_factory=set)
    applications: dict[str, Application] = field(default_factory=dict)

    def files(self, more: Mapping[str, str]) -> list[tuple[Path | str, str]]:
        """Write the Pod's files, and `more`; the mounts that put them in their places."""
        mounts: list[tuple[Path | str, str]] = []
        for place, text in {**self.request.files, **more}.items():
            file = self.directory / place.strip("/").replace("/", "_")
            self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            file.write_text(text)
            mounts.append((file, place))
        return mounts

    def inside(self, container: str, command: Sequence[str]) -> list[str]:
        """The argv that runs `command` in a container: beside its program, if it has one.

        Raises FileNotFoundError where the program isn't installed.
        """
        program = self.programs.get(container)
        pid = program.inner_pid if program is not None else None
        if pid is not None:
            return shell.in_namespaces_of(pid, command)
        hostname = self.request.hostname
        return shell.in_pod_namespaces(command, self.namespace.fd, hostname, self.files({}))

    def environment_of(self, container: str) -> dict[str, str]:
        """The variables of a container's commands."""
        own = self.environments.get(container, {})
        return {**marks_of(self.namespace.lab), "HOSTNAME": self.request.hostname, **own}
