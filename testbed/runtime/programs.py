"""Programs in Pods: `command:` runs in the Pod's namespaces, its output is the Pod's log."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import shell


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """What to run: the argv, its environment (added to a small default), and its hostname."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    hostname: str
    directory: str = "/"


class Program:
    """One running program; `exited(code)` is called in the event loop when it has ended."""

    def __init__(self, process: shell.Process, loop: asyncio.AbstractEventLoop) -> None:
        self._process = process
        self._loop = loop
        self._descriptor = os.pidfd_open(process.pid)
        self._exited: Callable[[int], None] | None = None

    def watch(self, exited: Callable[[int], None]) -> None:
        """Call `exited` with the exit code (128 + signal for a killed one) when it ends."""
        self._exited = exited
        self._loop.add_reader(self._descriptor, self._ended)

    def _ended(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        code = self._process.wait()
        if self._exited is not None:
            self._exited(code if code >= 0 else 128 - code)

    def terminate(self) -> None:
        """SIGTERM to the program (the first process of its PID namespace gets it too)."""
        shell.signal_group(self._process, signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, and wait until it has ended."""
        shell.signal_group(self._process, signal.SIGKILL)
        self._loop.remove_reader(self._descriptor)
        self._process.wait()
        os.close(self._descriptor)


def start(
    spec: ProgramSpec,
    netns_fd: int,
    log: Path,
    loop: asyncio.AbstractEventLoop,
    mounts: Sequence[tuple[Path, str]] = (),
) -> Program:
    """Start a program in network namespace `netns_fd`; mount, UTS and PID namespaces are its own.

    `mounts` are (file of ours, place in the Pod) bind mounts. Its output is appended to `log`.
    Raises FileNotFoundError where the program isn't installed.
    """
    argv = shell.in_pod_namespaces(spec.argv, netns_fd, spec.hostname, mounts)
    with log.open("ab") as output:
        process = shell.spawn(argv, env=spec.environment, output=output, directory=spec.directory)
    return Program(process, loop)
