"""One Pod's sandbox: its namespace, and what runs in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from testbed import shell
from testbed.api.documents import Document
from testbed.api.expansion import expand
from testbed.fabric.namespace import Namespace, marks_of
from testbed.runtime.applications import Application
from testbed.runtime.filesystem import TMPFS, Mount, find_program, make_root
from testbed.runtime.hosts import Echo, RunningProgram
from testbed.runtime.images import Image
from testbed.runtime.volumes import PodVolumes

#: Longest message of a container's end, and what is taken of its log instead.
TERMINATION_BYTES = 4096
FALLBACK_BYTES, FALLBACK_LINES = 2048, 80


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

    #: Containers as they were started, by their names.
    started: dict[str, Document] = field(default_factory=dict)
    volumes: PodVolumes = field(init=False)
    #: Mount namespaces of containers, by their names.
    _roots: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.volumes = PodVolumes(self.directory / "volumes")

    def new_root(self, container: Document, image: Image | None = None) -> int:
        """A fresh file system for a run of a container; its descriptor.

        Raises MountError and VolumeMountError.
        """
        name = str(container["name"])
        self.close_root(name)
        known = self.environments.get(name, {})
        mounts = [Mount(TMPFS, place) for place in (image.scratch if image else ())]
        mounts += self._files(image.files if image else {}, of_image=True)
        mounts += self._files(self.request.files)
        mounts.append(self._termination_log(container))
        mounts += self.volumes.mounts(container, lambda text: expand(text, known))
        lab = self.directory.parents[1]
        self._roots[name] = make_root(lab, mounts, container.get("workingDir") or "/")
        return self._roots[name]

    def close_root(self, container: str) -> None:
        """A container's run has ended: who still uses its file system keeps it."""
        if (descriptor := self._roots.pop(container, None)) is not None:
            os.close(descriptor)

    def close_roots(self) -> None:
        """All of them have ended."""
        for name in list(self._roots):
            self.close_root(name)

    def termination_message(self, container: Document, code: int, log: Path) -> str:
        """What a run that has ended says of its end.

        Source: kuberuntime_container.go getTerminationMessage, readLastStringFromContainerLogs.
        """
        file = self._termination_file(container)
        said = _end_of(file, TERMINATION_BYTES)
        fallback = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if said or not fallback or code == 0:
            return said
        lines = _end_of(log, FALLBACK_BYTES).splitlines(keepends=True)
        return "".join(lines[-FALLBACK_LINES:])

    def _termination_file(self, container: Document) -> Path:
        return self.directory / "containers" / str(container["name"]) / "termination-log"

    def _termination_log(self, container: Document) -> Mount:
        """A new, empty file in which a run can say why it ends."""
        file = self._termination_file(container)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        file.chmod(0o666)
        place = container.get("terminationMessagePath") or "/dev/termination-log"
        return Mount(str(file), place, optional=True)

    def document_of(self, container: str) -> Document:
        """What the Pod's spec says of a container."""
        if container not in self.started:
            return next(each for each in self.containers if each["name"] == container)
        return self.started[container]

    @property
    def containers(self) -> list[Document]:
        """What the Pod's spec said when the sandbox was made."""
        spec = self.request.document["spec"]
        lists = ("initContainers", "containers", "ephemeralContainers")
        return [each for name in lists for each in spec.get(name) or ()]

    def _files(self, texts: Mapping[str, str], *, of_image: bool = False) -> list[Mount]:
        """Write files of the Pod's; the mounts that put them in their places."""
        mounts = []
        for place, text in texts.items():
            file = self.directory / place.strip("/").replace("/", "_")
            self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            file.write_text(text)
            mounts.append(Mount(str(file), place, of_image=of_image))
        return mounts

    def inside(
        self, container: str, command: Sequence[str], before: Sequence[str] = ()
    ) -> list[str]:
        """The argv that runs `command` in a container: beside its program, if it has one.

        `before` stands before it, as `nice` does. Raises FileNotFoundError and PermissionError
        where the program can't be run, MountError and VolumeMountError.
        """
        document = self.document_of(container)
        working = document.get("workingDir") or "/"
        program = self.programs.get(container)
        pid = program.inner_pid if program is not None else None
        root: int | str = f"/proc/{pid}/ns/mnt"
        if pid is None:
            root = self._roots.get(container) or self.new_root(document)
        words = [*before, find_program(root, command[0], working), *command[1:]]
        if working != "/":
            words = ["env", f"--chdir={working}", *words]
        if pid is not None:
            return shell.in_namespaces_of(pid, words)
        assert isinstance(root, int)
        return shell.in_container(words, self.namespace.fd, root, self.request.hostname, "/")

    def environment_of(self, container: str) -> dict[str, str]:
        """The variables of a container's commands."""
        own = self.environments.get(container, {})
        return {**marks_of(self.namespace.lab), "HOSTNAME": self.request.hostname, **own}


def _end_of(file: Path, limit: int) -> str:
    """The last `limit` bytes of a file, as text; "" where there is none."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - limit))
            return opened.read(limit).decode(errors="replace")
    except OSError:
        return ""
