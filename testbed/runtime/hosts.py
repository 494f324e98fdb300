"""Where the applications of Pods run: in the lab's own process, or in its keeper."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from testbed.fabric.namespace import Namespace
from testbed.runtime.echo import EchoServer, Identity, Port
from testbed.runtime.programs import Program, launch

#: Takes a line of a log.
Line: TypeAlias = Callable[[str], None]


class Echo(Protocol):
    """The echo application of one Pod (runtime.echo.EchoServer)."""

    healthy: bool

    def listen(self, ports: Iterable[Port]) -> list[str]: ...

    def close(self) -> None: ...


class RunningProgram(Protocol):
    """A program in a Pod (runtime.programs.Program)."""

    @property
    def inner_pid(self) -> int | None: ...

    @property
    def code(self) -> int | None: ...

    def write(self, data: bytes) -> int: ...

    def end_input(self) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Launch:
    """A container's program: `argv` as shell.in_pod_namespaces makes it."""

    uid: str
    container: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    interactive: bool = False
    tty: bool = False


class Host(Protocol):
    """Runs applications. `output` gets what a program prints, `exited` its exit code."""

    def echo(self, uid: str, identity: Identity, namespace: Namespace, log: Line) -> Echo:
        """The echo application of a Pod, listening nowhere yet."""

    def launch(
        self, asked: Launch, output: Callable[[bytes], None], exited: Callable[[int], None]
    ) -> RunningProgram:
        """Start a program; raises FileNotFoundError where its working directory isn't there."""


class InProcess:
    """Applications in this process, on `loop`: they end with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def echo(self, uid: str, identity: Identity, namespace: Namespace, log: Line) -> Echo:
        """See `Host`."""
        return EchoServer(self._loop, identity, namespace.socket, log)

    def launch(
        self, asked: Launch, output: Callable[[bytes], None], exited: Callable[[int], None]
    ) -> Program:
        """See `Host`."""
        return launch(
            asked.argv,
            self._loop,
            output,
            exited,
            environment=asked.environment,
            directory=asked.directory,
            interactive=asked.interactive,
            tty=asked.tty,
        )
