"""Sandboxes: a namespace per Pod on the fabric, the echo application and programs inside it.

It implements `PodRuntime` (control.kubelet) for a running lab.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from testbed.api.documents import Document
from testbed.errors import TestbedError
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace
from testbed.fabric.specs import Plan
from testbed.naming import LAB_VARIABLE
from testbed.runtime import programs
from testbed.runtime.echo import EchoServer, Identity


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


def namespace_name(key: tuple[str, str]) -> str:
    """The fabric's name for a Pod's namespace: `default.web-0`."""
    return f"{key[0]}.{key[1]}"


@dataclass(slots=True)
class _Sandbox:
    request: SandboxRequest
    namespace: Namespace
    echo: EchoServer | None = None
    programs: dict[str, programs.Program] = field(default_factory=dict)
    ports: frozenset[tuple[str, int]] = frozenset()


class Sandboxes:
    """The Pods of one lab.

    `plan_pod(namespace, node, addresses)` is the Pod network's plan; `program_of(container)` is the
    argv of a container, or None for the echo application; `exited(uid, container, code)` is told
    when a program ends. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        fabric: Fabric,
        loop: asyncio.AbstractEventLoop,
        logs: Path,
        plan_pod: Callable[[str, str, Sequence[str]], Plan],
        program_of: Callable[[Document], Sequence[str] | None],
    ) -> None:
        self._fabric = fabric
        self._loop = loop
        self._logs = logs
        self._plan_pod = plan_pod
        self._program_of = program_of
        self._sandboxes: dict[str, _Sandbox] = {}
        self.exited: Callable[[str, str, int], None] = lambda uid, container, code: None

    def namespace_of(self, uid: str) -> Namespace:
        """The namespace that a Pod lives in; KeyError where it has no sandbox."""
        return self._sandboxes[uid].namespace

    def log_file(self, key: tuple[str, str], container: str) -> Path:
        """Where a container's output is kept."""
        return self._logs / f"{key[0]}_{key[1]}_{container}.log"

    # PodRuntime

    def create(self, requests: Sequence[SandboxRequest]) -> dict[str, str]:
        """Make all sandboxes with one plan; one by one where that fails, to find the culprit."""
        own = [r for r in requests if not r.host_network]
        failed: dict[str, str] = {}
        try:
            self._fabric.deploy(Plan.total([self._plan(r) for r in own]))
        except (TestbedError, OSError):
            for request in own:
                try:
                    self._fabric.deploy(self._plan(request))
                except (TestbedError, OSError) as error:
                    failed[request.uid] = str(error)
        for request in requests:
            if request.uid not in failed:
                name = request.node if request.host_network else namespace_name(request.key)
                self._sandboxes[request.uid] = _Sandbox(request, self._fabric.namespace(name))
        return failed

    def _plan(self, request: SandboxRequest) -> Plan:
        return self._plan_pod(namespace_name(request.key), request.node, request.addresses)

    def destroy(self, uids: Sequence[str]) -> None:
        """End applications and programs, then remove the namespaces (a node's own stays)."""
        names = []
        for uid in uids:
            sandbox = self._sandboxes.pop(uid)
            if sandbox.echo is not None:
                sandbox.echo.close()
            for program in sandbox.programs.values():
                program.kill()
            if not sandbox.request.host_network:
                names.append(sandbox.namespace.name)
        self._fabric.remove(names)

    def start(self, uid: str, container: Document) -> str | None:
        """Start a container: a program, or the Pod's echo application."""
        sandbox = self._sandboxes[uid]
        argv = self._program_of(container)
        if argv is None:
            if sandbox.echo is None:
                sandbox.echo = self._echo(sandbox)
                sandbox.echo.listen(sandbox.ports)
            return None
        return self._start_program(sandbox, container, argv)

    def _echo(self, sandbox: _Sandbox) -> EchoServer:
        namespace, name = sandbox.request.key
        first = sandbox.request.document["spec"]["containers"][0]["name"]
        log = self.log_file(sandbox.request.key, first).open("a", buffering=1)
        return EchoServer(
            self._loop,
            Identity(name, namespace, sandbox.request.node),
            sandbox.namespace.socket,
            lambda line: print(line, file=log),
        )

    def _start_program(
        self, sandbox: _Sandbox, container: Document, argv: Sequence[str]
    ) -> str | None:
        request = sandbox.request
        name = str(container["name"])
        spec = programs.ProgramSpec(
            argv=tuple(argv),
            environment={
                LAB_VARIABLE: self._fabric.lab,
                "HOSTNAME": request.key[1],
                **{e["name"]: e.get("value") or "" for e in container.get("env") or ()},
            },
            hostname=request.node if request.host_network else request.key[1],
            directory=container.get("workingDir") or "/",
        )
        try:
            program = programs.start(
                spec, sandbox.namespace.fd, self.log_file(request.key, name), self._loop
            )
        except FileNotFoundError:
            return f'program "{argv[0]}" is not installed on this machine'
        sandbox.programs[name] = program
        program.watch(lambda code: self._ended(request.uid, name, code))
        return None

    def _ended(self, uid: str, container: str, code: int) -> None:
        self._sandboxes[uid].programs.pop(container, None)
        self.exited(uid, container, code)

    def terminate(self, uid: str, container: str) -> bool:
        """SIGTERM to a program; the echo application ends at once."""
        sandbox = self._sandboxes[uid]
        program = sandbox.programs.get(container)
        if program is None:
            return True
        program.terminate()
        return False

    def listen(self, uid: str, ports: Iterable[tuple[str, int]]) -> list[str]:
        sandbox = self._sandboxes[uid]
        sandbox.ports = frozenset(ports)
        return sandbox.echo.listen(sandbox.ports) if sandbox.echo is not None else []

    def close(self) -> None:
        """End everything that runs in Pods; the fabric removes the namespaces."""
        for sandbox in self._sandboxes.values():
            if sandbox.echo is not None:
                sandbox.echo.close()
            for program in sandbox.programs.values():
                program.kill()
        self._sandboxes.clear()
