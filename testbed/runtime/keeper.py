"""The keeper: a process that runs the Pods' applications, so that they outlive the control plane.

As containers outlive kubelet. It holds the echo applications' sockets and is the parent of the
Pods' programs; what they print waits here while no control plane is connected. It serves a Unix
socket, which it gets as standard input: a request is a line of JSON (`do`, and the arguments of the
method of that name), its answer a line `{"result": …}` or `{"error": …}`. A connection that does
`events` gets from then on what happens, in order: `{"number": …, "key": …, "printed": base64}`,
`{…, "line": text}`, `{…, "exited": code}`. It says `{"do": "seen", "number": …}`, which has no
answer, when it has taken the events up to a number; what it hasn't, the next connection gets. An
echo's key is its Pod's uid, a program's `uid/container`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import resource
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.fabric.namespace import in_thread
from testbed.fabric.syscalls import enter_network
from testbed.runtime.echo import EchoServer, Identity, SocketOpener
from testbed.runtime.outbox import Outbox
from testbed.runtime.programs import Program, launch


class Keeper:
    """The applications of one lab. Public methods are what a control plane may ask for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._echoes: dict[str, EchoServer] = {}
        self._programs: dict[str, Program] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._outbox = Outbox(self._pace)
        self._listener: asyncio.StreamWriter | None = None

    def state(self) -> dict[str, Any]:
        """What runs: the echoes' ports, the programs' process ids and environments.

        A program whose end nobody has been told of runs, as far as a control plane may know.
        """
        ended = {key: {"pid": 0, "environment": {}} for key in self._outbox.ended()}
        return {
            "echoes": {key: sorted(echo.ports) for key, echo in self._echoes.items()},
            "programs": {**ended, **self._facts},
        }

    # echo applications

    def echo(self, key: str, identity: Sequence[str], namespace: str) -> None:
        """An echo application in the namespace that is mounted at a path."""
        if key in self._echoes:
            self._echoes[key].close()
        self._echoes[key] = EchoServer(
            self._loop,
            Identity(*identity),
            _opener(namespace),
            lambda line: self._outbox.add(key, line=line),
        )

    def listen(self, key: str, ports: Sequence[Sequence[Any]]) -> list[str]:
        """Listen on exactly these ports; what couldn't be opened."""
        return self._echoes[key].listen((protocol, number) for protocol, number in ports)

    def set_healthy(self, key: str, healthy: bool) -> None:
        """What /healthz and /readyz answer."""
        self._echoes[key].healthy = healthy

    def close(self, key: str) -> None:
        """End an echo application."""
        if echo := self._echoes.pop(key, None):
            echo.close()

    # programs

    def launch(
        self,
        key: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        interactive: bool,
        tty: bool,
    ) -> int:
        """Start a program in the place of any that has the key; its process id."""
        self.end(key)
        program = launch(
            argv,
            self._loop,
            lambda data: self._outbox.add(key, printed=base64.b64encode(data).decode()),
            lambda code: self._exited(key, code),
            environment=environment,
            directory=directory,
            interactive=interactive,
            tty=tty,
        )
        self._programs[key] = program
        self._facts[key] = {"pid": program.pid, "environment": dict(environment)}
        return program.pid

    def _exited(self, key: str, code: int) -> None:
        del self._programs[key], self._facts[key]
        self._outbox.add(key, exited=code)

    def _pace(self, key: str) -> None:
        """Read what a program prints as fast as the control plane takes it."""
        if program := self._programs.get(key):
            program.pause(self._outbox.is_full(key, was=program.is_paused))

    def signal(self, key: str, number: int) -> None:
        """Send SIGTERM or SIGKILL to a program; nothing where it has ended."""
        if program := self._programs.get(key):
            program.terminate() if number == signal.SIGTERM else program.kill()

    def write(self, key: str, data: str) -> int | None:
        """Give a program input (base64): how many bytes it took; None where it has ended."""
        program = self._programs.get(key)
        return program.write(base64.b64decode(data)) if program else None

    def end_input(self, key: str) -> None:
        """A program's input is at its end."""
        if program := self._programs.get(key):
            program.end_input()

    def resize(self, key: str, columns: int, rows: int) -> None:
        """A program's terminal has this size."""
        if program := self._programs.get(key):
            program.resize(columns, rows)

    def end(self, key: str) -> None:
        """Kill a program and wait for its end, which is not told."""
        if program := self._programs.pop(key, None):
            del self._facts[key]
            program.end()
        self._outbox.forget(key)

    # the control plane's connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                request = json.loads(line)
                if request["do"] == "events":
                    self._listener = writer
                    self._outbox.send_to(writer)
                    continue
                if request["do"] == "seen":
                    self._outbox.confirmed(request["number"])
                    continue
                writer.write(json.dumps(self._answer(request)).encode() + b"\n")
                await writer.drain()
        if self._listener is writer:
            self._listener = None
            self._outbox.send_to(None)
        writer.close()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": getattr(self, request.pop("do"))(**request)}
        except FileNotFoundError as error:
            return {"error": str(error), "missing": True}
        except (OSError, KeyError) as error:
            return {"error": f"{type(error).__name__}: {error}"}


def _opener(path: str) -> SocketOpener:
    """Opens sockets in the namespace mounted at `path`."""

    def open_socket(family: int, kind: int, protocol: int = 0) -> socket.socket:
        def inside() -> socket.socket:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                enter_network(descriptor)
            finally:
                os.close(descriptor)
            return socket.socket(family, kind, protocol)

        return in_thread(inside)

    return open_socket


async def _main() -> None:
    listener = socket.socket(fileno=os.dup(0))
    listener.setblocking(False)
    keeper = Keeper(asyncio.get_running_loop())
    server = await asyncio.start_unix_server(keeper.serve, sock=listener, limit=1 << 24)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    _, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))
    asyncio.run(_main())
