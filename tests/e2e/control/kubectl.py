"""The real kubectl against a server in this process, and recorded sessions to compare with."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.control.client import RegistryClient
from testbed.control.controllers.base import Controller, Manager
from testbed.control.controllers.deployment import DeploymentController
from testbed.control.controllers.endpointslice import EndpointSliceController
from testbed.control.controllers.garbage import GarbageCollector
from testbed.control.controllers.namespace import NamespaceController
from testbed.control.controllers.replicaset import ReplicaSetController
from tests.unit.control.apiserver.live import Live, SystemClock

GOLDEN = Path(__file__).parents[2] / "golden"
SECONDS = 60


@dataclass(frozen=True)
class Result:
    """What a command printed (standard output, then standard error) and its exit status."""

    output: str
    error: str
    code: int

    @property
    def text(self) -> str:
        return self.output + self.error


@dataclass(frozen=True)
class Step:
    """One recorded command."""

    command: str
    lines: tuple[str, ...]
    code: int


def steps(name: str) -> list[Step]:
    """The commands of a recording."""
    found = []
    pieces = re.split(r"^\$ ", (GOLDEN / name).read_text(), flags=re.MULTILINE)
    for piece in pieces[1:]:
        command, _, rest = piece.partition("\n")
        output, code = re.fullmatch(r"(.*?)\[exit (\d+)\]\s*", rest, re.DOTALL).groups()  # type: ignore[union-attr]
        found.append(Step(command.removeprefix("kubectl "), tuple(masked(output)), int(code)))
    return found


#: What differs from run to run: addresses of Services, node ports, random names, ids, times.
_MASKS = (
    (r"10\.96\.\d+\.\d+(?=\s|$)", "<ip>"),
    (r":3\d{4}/", ":<port>/"),
    (r"\b(my-(?:lb|service))-[a-z0-9]{5}\b", r"\1-<suffix>"),
    (r"\bmy-app-[a-z0-9]+\b", "my-app-<hash>"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
    (r"(resourceVersion: )\"\d+\"", r"\1<version>"),
    (r"(generation: )\d+", r"\1<count>"),
    (r"\"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\"", "<time>"),
    (r"(?<=  )(\d+[dhms])+(?=\s|$)", "<age>"),
    (r"\s{2,}(?=\S)", "  "),
)


def masked(text: str) -> list[str]:
    """The lines of `text` with what may differ replaced; columns are two blanks apart."""
    lines = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        body = line[indent:].rstrip()
        for pattern, replacement in _MASKS:
            body = re.sub(pattern, replacement, body)
        lines.append(" " * indent + body)
    return lines


class Kubectl:
    """Runs kubectl against a live server, with the controllers that need no kubelet beside it."""

    def __init__(
        self,
        live: Live,
        home: Path,
        *,
        controllers: bool = True,
        more: Sequence[Callable[[RegistryClient], Controller]] = (),
    ) -> None:
        self.live = live
        self._home = home
        self._scheduled = False
        clock = SystemClock()
        self._manager = Manager(live.registry.store, clock, self._wake)
        if controllers:
            client = RegistryClient(live.registry, clock)
            kinds = (
                DeploymentController,
                ReplicaSetController,
                EndpointSliceController,
                GarbageCollector,
                NamespaceController,
            )
            self._manager.add(*(kind(client) for kind in (*kinds, *more)))

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.live.loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        self._manager.run()

    def __call__(self, command: str, stdin: str = "", **environment: str) -> Result:
        """Run `kubectl <command>` in the home directory."""
        return self.run(shlex.split(command), stdin, **environment)

    def run(self, arguments: list[str], stdin: str = "", **environment: str) -> Result:
        async def wait() -> Result:
            process = await asyncio.create_subprocess_exec(
                "kubectl",
                *arguments,
                cwd=self._home,
                env={
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "HOME": str(self._home),
                    "KUBECONFIG": str(self.live.server.kubeconfig),
                    **environment,
                },
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                output, error = await asyncio.wait_for(process.communicate(stdin.encode()), SECONDS)
            except TimeoutError:
                process.kill()
                raise AssertionError(f"kubectl {arguments} did not end") from None
            return Result(output.decode(), error.decode(), process.returncode or 0)

        result: Result = self.live.run(wait())
        return result
