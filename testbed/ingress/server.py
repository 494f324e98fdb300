"""nginx in the Pods of the Ingress controller: started, checked, reloaded without a gap, ended."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from testbed.errors import TestbedError
from testbed.fabric.namespace import Namespace, marks_of
from testbed.ingress.certificate import self_signed
from testbed.ingress.model import DEFAULT_CERTIFICATE, Configuration, render
from testbed.runtime.programs import Program, launch
from testbed.shell import CommandError, find_program, namespace_prefix

#: Seconds that nginx may take to start or to take a configuration over.
PATIENCE = 5.0
_POLL = 0.002
_LEAVING = b"shutting down"
_CHANGING = re.compile(r"^\d+#\d+: (?:\*\d+ )?| in \S+/check\.conf:\d+$")


class Fleet:
    """The proxies of one lab's Ingress controller: all of them serve one configuration.

    `directory` is for their files. Belongs to the event loop's thread; `settled` waits until every
    proxy serves what was last applied.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path) -> None:
        self._loop = loop
        self._directory = directory
        self._configuration = Configuration()
        self._members: set[Nginx] = set()

    def start(
        self, pod: tuple[str, str], namespace: Namespace, log: Callable[[str], None]
    ) -> Nginx:
        """Start nginx in a Pod with the present configuration; raises TestbedError."""
        directory = self._directory / "ingress" / "-".join(pod)
        member = Nginx(self._loop, namespace, directory, log, self._members.discard)
        member.start(self._configuration)
        self._members.add(member)
        return member

    def check(self, configuration: Configuration) -> str:
        """What nginx says against a configuration; "" where it takes it (or doesn't run)."""
        for member in self._members:
            return member.check(configuration)
        return ""

    def apply(self, configuration: Configuration) -> None:
        """Serve a configuration from now on."""
        if configuration != self._configuration:
            self._configuration = configuration
            for member in self._members:
                member.apply(configuration)

    async def settled(self) -> None:
        """Wait until the last configuration is served and no older one any more."""
        for member in list(self._members):
            await member.settled()


class Nginx:
    """One nginx, in a Pod's network namespace."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        namespace: Namespace,
        directory: Path,
        log: Callable[[str], None],
        gone: Callable[[Nginx], None],
    ) -> None:
        self._loop = loop
        self._namespace = namespace
        self._directory = directory
        self._log = log
        self._gone = gone
        self._rest = b""
        self._program: Program | None = None
        #: Worker processes of configurations that are to go.
        self._old: set[int] = set()
        self._nginx = find_program("nginx", "nginx-light")

    def start(self, configuration: Configuration) -> None:
        """Start it; raises TestbedError where it can't be."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._write(configuration, "nginx.conf")
        argv = [*namespace_prefix(self._namespace.fd), *self._argv("nginx.conf")]
        self._program = launch(
            [*argv, "-g", "daemon off;"],
            self._loop,
            self._printed,
            self._ended,
            environment=marks_of(self._namespace.lab),
        )

    def check(self, configuration: Configuration) -> str:
        """nginx's complaint about a configuration, in one line; "" where there is none."""
        self._write(configuration, "check.conf")
        try:
            self._namespace.run([*self._argv("check.conf"), "-t", "-q"])
        except CommandError as error:
            return complaint(error.output)
        return ""

    def apply(self, configuration: Configuration) -> None:
        """Take a configuration over: new workers serve it, old ones finish their requests."""
        self._write(configuration, "nginx.conf")
        self._old |= self._workers()
        if self._program is not None:
            self._program.hang_up()

    async def settled(self) -> None:
        """Wait until workers of the present configuration serve, and no others."""
        deadline = self._loop.time() + PATIENCE
        while self._program is not None:
            serving = {pid for pid in self._workers() if not _is_leaving(pid)}
            if serving and not serving & self._old:
                self._old.clear()
                return
            if self._loop.time() > deadline:
                raise TestbedError(f"nginx in {self._namespace.name} takes no configuration")
            await asyncio.sleep(_POLL)

    def close(self) -> None:
        """End it, with its connections."""
        self._gone(self)
        program, self._program = self._program, None
        if program is not None:
            program.end()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _argv(self, file: str) -> list[str]:
        place = str(self._directory)
        return [self._nginx, "-p", place, "-c", f"{place}/{file}", "-e", "stderr"]

    def _write(self, configuration: Configuration, file: str) -> None:
        pems = {DEFAULT_CERTIFICATE: self_signed(), **configuration.certificates}
        for name, text in pems.items():
            path = self._directory / f"{name}.pem"
            path.touch(mode=0o600)
            path.write_text(text)
        (self._directory / file).write_text(render(configuration, str(self._directory)))

    def _workers(self) -> set[int]:
        if self._program is None:
            return set()
        pid = self._program.pid
        try:
            return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
        except OSError:
            return set()

    def _printed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._log(line.decode(errors="replace"))

    def _ended(self, code: int) -> None:
        self._program = None
        self._gone(self)
        self._log(f"nginx ended with status {code}")


def complaint(output: str) -> str:
    """What nginx -t has against a configuration: one line, the same for the same fault.

    Its process id and the line of the configuration, which nobody else sees, are left out.
    """
    lines = [line for line in output.splitlines() if "[emerg] " in line]
    text = lines[0].partition("[emerg] ")[2] if lines else output.strip() or "refused"
    return _CHANGING.sub("", text)


def _is_leaving(pid: int) -> bool:
    try:
        return _LEAVING in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
