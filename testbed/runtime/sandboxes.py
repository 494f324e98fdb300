"""Sandboxes: a namespace per Pod on the fabric, the echo application and programs inside it.

It implements `PodRuntime` (control.kubelet) for a running lab.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from testbed import shell
from testbed.api.documents import Document
from testbed.api.expansion import expand_all
from testbed.api.volumes import HostPath, Volume
from testbed.errors import TestbedError
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace, marks_of
from testbed.fabric.specs import Plan
from testbed.runtime.applications import Starter
from testbed.runtime.checker import Checker
from testbed.runtime.echo import Identity
from testbed.runtime.filesystem import MountError, find_program
from testbed.runtime.hosts import Host, InProcess, Launch
from testbed.runtime.images import Images, Invocation, Refusal, agnhost_ports, repository_of
from testbed.runtime.kept import KeeperHost
from testbed.runtime.logbook import Logbook
from testbed.runtime.logs import ContainerLog
from testbed.runtime.pending import Pending
from testbed.runtime.port_map import PortMap
from testbed.runtime.sandbox import Sandbox, SandboxRequest, namespace_name
from testbed.runtime.volumes import VolumeMountError, check_host_path

#: Annotation of a Pod: "false" makes the echo application answer 503 on /healthz and /readyz.
HEALTHY = "testbed/healthy"


#: Told of a program's end: Pod's uid, container, exit code, termination message.
Exited: TypeAlias = Callable[[str, str, int, str], None]


class Sandboxes:
    """The Pods of one lab.

    `directory` is the lab's run directory; `plan_pod(namespace, node, addresses)` is the Pod
    network's plan; `images` says what containers run; `host` runs it (by default this process).
    `exited` is told when a program ends, with what that says of it. With a keeper as host, `create`
    finds what ran before this process. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        fabric: Fabric,
        loop: asyncio.AbstractEventLoop,
        directory: Path,
        plan_pod: Callable[[str, str, Sequence[str]], Plan],
        images: Images,
        host: Host | None = None,
    ) -> None:
        self._host: Host = host or InProcess(loop)
        #: A file for every sandbox that was made, where they can outlive this process.
        self._records = directory / "sandboxes" if isinstance(host, KeeperHost) else None
        if self._records is not None:
            self._records.mkdir(mode=0o700, exist_ok=True)
        self._fabric = fabric
        self._directory = directory
        self._plan_pod = plan_pod
        self._images = images
        self._sandboxes: dict[str, Sandbox] = {}
        self.logs = Logbook(directory / "logs", outlive=self._records is not None)
        self._checker = Checker(fabric, loop)
        self._pending = Pending(loop)
        self._port_map = PortMap(fabric, plan_pod)
        self.exited: Exited = lambda uid, container, code, message: None
        #: Built-in applications by their image's repository.
        self.applications: dict[str, Starter] = {}

    def namespace_of(self, uid: str) -> Namespace:
        """The namespace that a Pod lives in; KeyError where it has no sandbox."""
        return self._sandboxes[uid].namespace

    def find(self, uid: str) -> Sandbox | None:
        """A Pod's sandbox, if it has one."""
        return self._sandboxes.get(uid)

    # what outlives the process

    def made(self) -> set[str]:
        """The uids of the Pods that have sandboxes, those of an earlier process too."""
        return set() if self._records is None else {path.name for path in self._records.iterdir()}

    def forget(self, uid: str) -> None:
        """An earlier process' sandbox is gone."""
        if self._records is not None:
            (self._records / uid).unlink(missing_ok=True)

    def _adopt(self, request: SandboxRequest, host: KeeperHost) -> None:
        """Know the sandbox of an earlier process, and what still runs in it."""
        uid, key = request.uid, request.key
        name = request.node if request.host_network else namespace_name(key)
        directory = self._directory / "pods" / uid
        sandbox = Sandbox(request, self._fabric.namespace(name), directory)
        self._sandboxes[uid] = sandbox
        for container in sandbox.containers:
            word = str(container["name"])
            log = self.logs.go_on(key, word)
            if log is None:
                continue
            if (program := f"{uid}/{word}") in host.programs:
                sandbox.environments[word] = host.programs[program]["environment"]
                sandbox.programs[word] = host.adopt_program(
                    program, log.append, partial(self._ended, uid, word)
                )
            elif starter := self._starter(container):
                self._fabric.end_programs(sandbox.namespace.name)  # those of the one before
                sandbox.applications[word] = starter(key, sandbox.namespace, log.append_line)
            elif uid in host.echoes and self._images.resolve(container) is None:
                sandbox.echoes.add(word)
            else:
                log.close()
        if sandbox.echoes:
            sandbox.ports = frozenset(host.echoes[uid])
            log = self.logs.of(key, min(sandbox.echoes))
            assert log is not None
            sandbox.echo = host.adopt_echo(uid, log.append_line)

    # PodRuntime: sandboxes

    def running(self, uid: str) -> frozenset[str]:
        """The containers of a sandbox that run already: those that `create` found running."""
        sandbox = self._sandboxes[uid]
        return frozenset((*sandbox.programs, *sandbox.echoes, *sandbox.applications))

    def create(self, requests: Sequence[SandboxRequest]) -> dict[str, str]:
        """Make all sandboxes with one plan; one by one where that fails, to find the culprit."""
        if isinstance(self._host, KeeperHost):
            made = self.made()
            for request in requests:
                if request.uid in made:
                    self._adopt(request, self._host)
            requests = [request for request in requests if request.uid not in made]
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
                directory = self._directory / "pods" / request.uid
                self._sandboxes[request.uid] = Sandbox(
                    request, self._fabric.namespace(name), directory
                )
                for container in request.document["spec"]["containers"]:
                    self.logs.forget(request.key, container["name"])
                if self._records is not None:
                    (self._records / request.uid).touch()
        return failed

    def _plan(self, request: SandboxRequest) -> Plan:
        return self._plan_pod(namespace_name(request.key), request.node, request.addresses)

    def destroy(self, uids: Sequence[str]) -> None:
        """End applications and programs, then remove the namespaces (a node's own stays)."""
        names = []
        for uid in uids:
            sandbox = self._sandboxes.pop(uid)
            self._end_all(sandbox)
            self.forget(uid)
            if not sandbox.request.host_network:
                names.append(sandbox.namespace.name)
        self._fabric.remove(names)

    def _end_all(self, sandbox: Sandbox) -> None:
        if sandbox.echo is not None:
            sandbox.echo.close()
        for program in sandbox.programs.values():
            program.end()
        self._pending.forget(sandbox.request.uid)
        for application in sandbox.applications.values():
            application.close()
        sandbox.close_roots()
        for container in [*sandbox.programs, *sandbox.echoes, *sandbox.applications]:
            self.logs.remove(sandbox.request.key, container)
        shutil.rmtree(sandbox.directory, ignore_errors=True)

    # PodRuntime: containers

    def start(
        self, uid: str, container: Document, environment: Callable[[], Mapping[str, str]]
    ) -> Refusal | None:
        """Start a container: a program, or the Pod's echo application."""
        sandbox = self._sandboxes[uid]
        sandbox.started[str(container["name"])] = container
        if starter := self._starter(container):
            return self._start_application(sandbox, container, starter)
        invocation = self._images.resolve(container)
        if isinstance(invocation, Refusal):
            return invocation
        log = self.logs.begin(sandbox.request.key, str(container["name"]))
        if invocation is None:
            self._start_echo(sandbox, container, log)
            return None
        return self._start_program(sandbox, container, invocation, environment(), log)

    def check_path(self, volume: HostPath) -> str:
        """What is wrong with a path of the machine, or ""."""
        return check_host_path(volume)

    def set_volumes(self, uid: str, volumes: Mapping[str, Volume]) -> None:
        """The volumes of a sandbox; containers see the change in those that they mount."""
        self._sandboxes[uid].volumes.set(volumes)

    def stands_in(self, container: Document) -> bool:
        """Whether the echo application runs in the place of an image that nobody knows."""
        return self._starter(container) is None and self._images.stands_in(container)

    def _starter(self, container: Document) -> Starter | None:
        """What runs a container as a built-in application, if it is one."""
        starter = self.applications.get(repository_of(container.get("image") or ""))
        return None if container.get("command") else starter

    def _start_application(
        self, sandbox: Sandbox, container: Document, starter: Starter
    ) -> Refusal | None:
        key, name = sandbox.request.key, str(container["name"])
        log = self.logs.begin(key, name)
        try:
            sandbox.applications[name] = starter(key, sandbox.namespace, log.append_line)
        except (TestbedError, OSError) as error:
            return Refusal("RunContainerError", str(error))
        return None

    def _start_echo(self, sandbox: Sandbox, container: Document, log: ContainerLog) -> None:
        sandbox.echoes.add(container["name"])
        asked = agnhost_ports(container)
        if sandbox.echo is None:
            namespace, name = sandbox.request.key
            identity = Identity(name, namespace, sandbox.request.node)
            sandbox.echo = self._host.echo(
                sandbox.request.uid, identity, sandbox.namespace, log.append_line
            )
        sandbox.ports |= asked
        sandbox.echo.listen(sandbox.ports)

    def _start_program(
        self,
        sandbox: Sandbox,
        container: Document,
        invocation: Invocation,
        environment: Mapping[str, str],
        log: ContainerLog,
    ) -> Refusal | None:
        request, name = sandbox.request, str(container["name"])
        variables = {**marks_of(self._fabric.lab), "HOSTNAME": request.hostname}
        variables |= {"TERM": "xterm"} if container.get("tty") else {}
        variables |= environment
        sandbox.environments[name] = variables
        working = container.get("workingDir") or "/"
        words = expand_all(invocation.argv, environment)
        try:
            root = sandbox.new_root(container, invocation.image)
            tty = bool(container.get("tty"))
            before = shell.OWN_TERMINAL if tty else ()
            argv = [*before, find_program(root, words[0], working), *words[1:]]
            target = sandbox.programs.get(container.get("targetContainerName") or "")
            command = shell.in_container(
                argv,
                sandbox.namespace.fd,
                root,
                request.hostname,
                working,
                target.inner_pid if target is not None else None,
            )
            interactive = bool(container.get("stdin"))
            sandbox.programs[name] = self._host.launch(
                Launch(request.uid, name, command, variables, "/", interactive, tty),
                log.append,
                partial(self._ended, request.uid, name),
            )
        except VolumeMountError as error:
            return Refusal("CreateContainerConfigError", str(error))
        except (MountError, PermissionError, FileNotFoundError) as error:
            return Refusal("RunContainerError", str(error))
        return None

    def _ended(self, uid: str, container: str, code: int) -> None:
        sandbox = self._sandboxes[uid]
        sandbox.programs.pop(container, None)
        sandbox.close_root(container)
        key = sandbox.request.key
        self.logs.end(key, container)
        document, log = sandbox.document_of(container), self.logs.file(key, container)
        self.exited(uid, container, code, sandbox.termination_message(document, code, log))
        self._pending.ended((uid, container))

    def stop(self, uid: str, container: str) -> bool:
        """SIGTERM to a program; the echo application ends at once."""
        sandbox = self._sandboxes[uid]
        program = sandbox.programs.get(container)
        if program is not None:
            self._pending.await_end((uid, container))
            program.terminate()
            return False
        application = sandbox.applications.pop(container, None)
        if application is not None:
            application.close()
        sandbox.echoes.discard(container)
        if sandbox.echo is not None and not sandbox.echoes:
            sandbox.echo.close()
            sandbox.echo = None
        return True

    def kill(self, uid: str, container: str) -> None:
        """SIGKILL to a program."""
        program = self._sandboxes[uid].programs.get(container)
        if program is not None:
            self._pending.await_end((uid, container))
            program.kill()

    def listen(self, uid: str, document: Document, ports: Iterable[tuple[str, int]]) -> list[str]:
        """Have the echo application listen, and answer as the Pod's annotation says."""
        sandbox = self._sandboxes[uid]
        asked = {
            port
            for container in document["spec"]["containers"]
            if container["name"] in sandbox.echoes
            for port in agnhost_ports(container)
        }
        sandbox.ports = frozenset(ports) | asked
        if sandbox.echo is None:
            return []
        annotations = document["metadata"].get("annotations") or {}
        sandbox.echo.healthy = annotations.get(HEALTHY) != "false"
        return sandbox.echo.listen(sandbox.ports)

    # PodRuntime: checks

    def check(
        self,
        uid: str,
        container: Document,
        action: Document,
        timeout: float,
        done: Callable[[str], None],
    ) -> None:
        """Run a probe or hook in the background."""
        sandbox = self._sandboxes[uid]

        async def body() -> None:
            problem = await self._checker.check(sandbox, container, action, timeout)
            if uid in self._sandboxes:
                done(problem)

        self._pending.start(body())

    async def settled(self) -> None:
        """Wait for checks under way and for programs that were asked to end, not for long."""
        await self._pending.settled()

    # PodRuntime: hostPorts

    def host_ports(self, node: str, pods: Sequence[tuple[Document, tuple[str, ...]]]) -> str:
        """Map the hostPorts of these Pods on a node, and no others."""
        return self._port_map.set(node, pods)

    def close(self) -> None:
        """End everything that runs in Pods; the fabric removes the namespaces."""
        self._pending.close()
        for sandbox in self._sandboxes.values():
            self._end_all(sandbox)
        self._sandboxes.clear()
