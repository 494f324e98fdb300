"""kubectl's streams to Pods: logs, exec, attach, port-forward.

It is the `PodBackend` of control.apiserver for a lab's sandboxes. Messages are those of
pkg/kubelet/kubelet_pods.go and pkg/registry/core/pod.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from testbed import shell
from testbed.api import status
from testbed.api.documents import Document, name_of, namespace_of
from testbed.errors import TestbedError
from testbed.runtime.hosts import RunningProgram
from testbed.runtime.logs import ContainerLog, LogRequest
from testbed.runtime.sandbox import Sandbox
from testbed.runtime.sandboxes import Sandboxes

_STDOUT, _STDERR = 1, 2
_PIECE = 32768
#: How much input is offered to a program at once, in bytes.
_OFFER = 65536
#: When it is offered again to one that doesn't read (seconds).
_SOONEST, _LATEST = 0.001, 0.2
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class Streams(Protocol):
    """The client's end (control.apiserver.pods.Streams)."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes, stream: int = ...) -> None: ...

    async def resized(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class _Follow:
    """A log from now on."""

    follow: bool = True
    previous: bool = False
    timestamps: bool = False
    tail: int | None = 0
    since: float | None = None
    limit_bytes: int | None = None


class LabPods:
    """Streams to the Pods of one lab. Raises StatusError where a stream can't be had."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    async def logs(
        self, pod: Document, container: str, options: LogRequest
    ) -> AsyncGenerator[bytes, None]:
        """The wanted part of a container's log."""
        log = self._sandboxes.logs.of(_key(pod), container)
        if log is None:
            reason = _waiting_reason(pod, container)
            raise status.bad_request(
                f'container "{container}" in pod "{name_of(pod)}" is waiting to start: {reason}'
            )
        if options.previous:
            if log.previous is None:
                raise status.bad_request(
                    f'previous terminated container "{container}" in pod "{name_of(pod)}" not found'
                )
            log = log.previous
        async with contextlib.aclosing(log.read(options)) as pieces:
            async for piece in pieces:
                yield piece

    async def execute(
        self,
        pod: Document,
        container: str,
        command: Sequence[str],
        streams: Streams,
        *,
        tty: bool,
        stdin: bool,
    ) -> int:
        """Run a command in the container's namespaces; its exit status, 128 + signal if killed.

        Without `stdin` its input is at its end from the beginning.
        """
        sandbox = self._running(pod, container)
        before = shell.OWN_TERMINAL if tty else ()
        try:
            argv = sandbox.inside(container, command, before)
        except (FileNotFoundError, PermissionError, TestbedError) as error:
            raise status.internal(f"error executing command in container: {error}") from None
        environment = sandbox.environment_of(container)
        if tty:
            return await _with_terminal(argv, {**environment, "TERM": "xterm"}, streams)
        return await _with_pipes(argv, environment, streams, stdin=stdin)

    async def attach(
        self, pod: Document, container: str, streams: Streams, *, tty: bool, stdin: bool
    ) -> int:
        """Show what the container prints from now on, and give it the client's input.

        The end of the client's input is the program's only where the container says `stdinOnce`.
        """
        sandbox = self._running(pod, container)
        log = self._sandboxes.logs.of(_key(pod), container)
        assert log is not None
        program = sandbox.programs.get(container)

        async def feed() -> None:
            while data := await streams.read():
                if program is not None:
                    await _offer(program, data)
            if program is not None and _reads_once(pod, container):
                program.end_input()

        async def resize() -> None:
            while program is not None:
                program.resize(*await streams.resized())

        wanted = [work for work, asked in ((feed, stdin), (resize, tty)) if asked]
        tasks = [asyncio.create_task(work()) for work in wanted]
        try:
            await _copy(log, streams)
        finally:
            for task in tasks:
                task.cancel()
        return 0  # how the program ended stands in the Pod's status

    async def dial(
        self, pod: Document, port: int, address: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection to `port` of the Pod's `address`, or its loopback; raises OSError."""
        sandbox = self._sandboxes.find(pod["metadata"]["uid"])
        if sandbox is None:
            raise ConnectionRefusedError(f"pod {name_of(pod)} isn't running")
        refused: OSError | None = None
        places: tuple[tuple[socket.AddressFamily, str], ...] = _LOOPBACK
        if address:
            places = ((socket.AF_INET6 if ":" in address else socket.AF_INET, address),)
        for family, address in places:
            sock = sandbox.namespace.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
            except OSError as error:
                sock.close()
                refused = refused or error
            else:
                return await asyncio.open_connection(sock=sock)
        assert refused is not None
        raise refused

    def _running(self, pod: Document, container: str) -> Sandbox:
        sandbox = self._sandboxes.find(pod["metadata"]["uid"])
        phase = (pod.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            raise status.bad_request(
                f"cannot exec into a container in a completed pod; current phase is {phase}"
            )
        runs = sandbox is not None and (
            container in sandbox.programs or container in sandbox.echoes
        )
        if sandbox is None or not runs:
            raise status.internal(
                f'unable to upgrade connection: container not found ("{container}")'
            )
        return sandbox


async def _offer(program: RunningProgram, data: bytes) -> None:
    """Give a program input as fast as it reads."""
    pause = _SOONEST
    while data and program.code is None:
        taken = program.write(data[:_OFFER])
        data = data[taken:]
        if data:
            pause = _SOONEST if taken else min(2 * pause, _LATEST)
            await asyncio.sleep(pause)


def _reads_once(pod: Document, container: str) -> bool:
    spec = pod["spec"]
    entries = [*spec["containers"], *(spec.get("ephemeralContainers") or ())]
    return any(entry["name"] == container and entry.get("stdinOnce") for entry in entries)


async def _copy(log: ContainerLog, streams: Streams) -> None:
    async with contextlib.aclosing(log.read(_Follow())) as pieces:
        async for piece in pieces:
            await streams.write(piece, _STDOUT)


async def _with_pipes(
    argv: Sequence[str], environment: dict[str, str], streams: Streams, *, stdin: bool
) -> int:
    """Run `argv` with its streams connected to the client's; without `stdin` no input."""
    (our_out, their_out), (our_err, their_err) = os.pipe(), os.pipe()
    their_in, our_in = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY), None)
    try:
        process = shell.spawn(
            argv, output=their_out, errors=their_err, input=their_in, env=environment
        )
    except BaseException:
        for descriptor in (our_in, our_out, our_err):
            if descriptor is not None:
                os.close(descriptor)
        raise
    finally:
        for descriptor in (their_in, their_out, their_err):
            os.close(descriptor)
    feeding = None if our_in is None else asyncio.create_task(_feed(our_in, streams))
    try:
        await asyncio.gather(_drain(our_out, streams, _STDOUT), _drain(our_err, streams, _STDERR))
        return await _ended(process)
    finally:
        if feeding is not None:
            feeding.cancel()
        shell.signal_group(process, signal.SIGKILL)


async def _with_terminal(argv: Sequence[str], environment: dict[str, str], streams: Streams) -> int:
    """Run `argv` on a terminal of its own that is the client's."""
    ours, theirs = os.openpty()
    try:
        process = shell.spawn(argv, output=theirs, errors=theirs, input=theirs, env=environment)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)

    async def resize() -> None:
        while True:
            columns, rows = await streams.resized()
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(ours, termios.TIOCSWINSZ, size)

    tasks = [asyncio.create_task(_feed(os.dup(ours), streams)), asyncio.create_task(resize())]
    try:
        await _drain(os.dup(ours), streams, _STDOUT)
        return await _ended(process)
    finally:
        for task in tasks:
            task.cancel()
        os.close(ours)
        shell.signal_group(process, signal.SIGKILL)


async def _feed(descriptor: int, streams: Streams) -> None:
    """Write the client's input to a pipe or terminal until it ends."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", 0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        while data := await streams.read():
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the program has closed its input
    finally:
        transport.close()


async def _drain(descriptor: int, streams: Streams, stream: int) -> None:
    """Give the client what comes out of a pipe or terminal until its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    try:
        # A terminal whose last user has left answers EIO.
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE):
                await streams.write(data, stream)
    finally:
        transport.close()


async def _ended(process: shell.Process) -> int:
    """The exit status of a program that is about to end."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(process.pid)
    over = asyncio.Event()
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _key(pod: Document) -> tuple[str, str]:
    return namespace_of(pod), name_of(pod)


def _waiting_reason(pod: Document, container: str) -> str:
    found = pod.get("status") or {}
    for entry in [
        *(found.get("initContainerStatuses") or ()),
        *(found.get("containerStatuses") or ()),
    ]:
        if entry["name"] == container and "waiting" in entry["state"]:
            return str(entry["state"]["waiting"]["reason"])
    return "ContainerCreating"
