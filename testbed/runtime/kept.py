"""The control plane's side of the keeper: what runs there, in the shape of local applications."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import mmap
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import testbed
from testbed import shell
from testbed.errors import TestbedError
from testbed.fabric.namespace import Namespace, marks_of
from testbed.runtime.echo import Identity, Port
from testbed.runtime.hosts import Launch, Line
from testbed.runtime.logs import SIZE_LIMIT
from testbed.runtime.outbox import OVERHEAD
from testbed.runtime.programs import inner_pid

log = logging.getLogger(__name__)

SOCKET_NAME, LOG_NAME = "keeper.sock", "keeper.log"
#: The number of the last event that was taken: it outlives the control plane.
SEEN_NAME = "keeper.seen"
#: How long the keeper may take for an answer (seconds).
PATIENCE = 10.0


class KeeperHost:
    """A `Host` (runtime.hosts) whose applications run in the lab's keeper.

    Requests are answered at once and in order, so calls block for them: for PATIENCE, then the
    keeper counts as stuck for as long again. All methods belong to the event loop's thread. Raises
    TestbedError where the keeper is gone or stuck.
    """

    def __init__(
        self, directory: Path, loop: asyncio.AbstractEventLoop, *, resume: bool = False
    ) -> None:
        self._path = directory / SOCKET_NAME
        self._loop = loop
        self._requests = self._connect(PATIENCE)
        self._answers = self._requests.makefile("r")
        self._events = self._connect()
        self._pieces = b""
        self._silent_until = 0.0
        self._takers: dict[str, Callable[[dict[str, Any]], None]] = {}
        self._early: dict[str, _Early] = {}
        self._seen = _Seen(directory / SEEN_NAME)
        if resume:
            self._requests.sendall(self._seen.message)
        found = self.ask("state") if resume else {"echoes": {}, "programs": {}}
        #: What ran already when this host connected, by key; taken from as it is adopted.
        self.echoes: dict[str, list[Port]] = {
            key: [(protocol, number) for protocol, number in ports]
            for key, ports in found["echoes"].items()
        }
        self.programs: dict[str, dict[str, Any]] = found["programs"]
        self._events.sendall(b'{"do": "events"}\n')
        self._events.setblocking(False)
        loop.add_reader(self._events, self._readable)

    @staticmethod
    def start(lab: str, directory: Path) -> shell.Process:
        """Start the keeper of a lab whose run directory is `directory`; it ends with the fabric."""
        path = directory / SOCKET_NAME
        path.unlink(missing_ok=True)
        (directory / SEEN_NAME).unlink(missing_ok=True)
        package = str(Path(testbed.__file__).parents[1])
        search = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
            (directory / LOG_NAME).open("ab") as output,
        ):
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(8)
            return shell.spawn(
                [sys.executable, "-m", "testbed.runtime.keeper"],
                output=output,
                input=listener.fileno(),
                env={**marks_of(lab), "PYTHONPATH": search},
            )

    def _connect(self, timeout: float | None = None) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise TestbedError(f"keeper {self._path}: {error.strerror}") from None
        return connection

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Have the keeper do `verb`; its result. Raises FileNotFoundError, TestbedError."""
        if self._loop.time() < self._silent_until:
            raise TestbedError(f"keeper {self._path} doesn't answer")
        try:
            self._requests.sendall(json.dumps({"do": verb, **arguments}).encode() + b"\n")
            line = self._answers.readline()
        except TimeoutError:
            self._start_over()
            raise TestbedError(f"keeper {self._path} doesn't answer {verb}") from None
        except OSError as error:
            raise TestbedError(f"keeper {self._path}: {error.strerror}") from None
        if not line:
            raise TestbedError(f"keeper {self._path} has ended (see {LOG_NAME})")
        answer = json.loads(line)
        if answer.get("missing"):
            raise FileNotFoundError(answer["error"])
        if "error" in answer:
            raise TestbedError(f"keeper: {answer['error']}")
        return answer["result"]

    def _start_over(self) -> None:
        """A late answer must not be taken for that of the next request: connect again."""
        self._silent_until = self._loop.time() + PATIENCE
        self._answers.close()
        self._requests.close()
        self._requests = self._connect(PATIENCE)
        self._answers = self._requests.makefile("r")

    # Host

    def echo(self, uid: str, identity: Identity, namespace: Namespace, log: Line) -> KeptEcho:
        """See `Host`."""
        who = [identity.pod, identity.namespace, identity.node]
        self.ask("echo", key=uid, identity=who, namespace=str(namespace.path))
        return self._echo(uid, (), log)

    def adopt_echo(self, uid: str, log: Line) -> KeptEcho:
        """The echo application of a Pod that ran before this host was."""
        return self._echo(uid, self.echoes.pop(uid), log)

    def _echo(self, uid: str, ports: Iterable[Port], log: Line) -> KeptEcho:
        self._take(uid, lambda event: log(event["line"]))
        return KeptEcho(self, uid, frozenset(ports))

    def launch(
        self, asked: Launch, output: Callable[[bytes], None], exited: Callable[[int], None]
    ) -> KeptProgram:
        """See `Host`."""
        key = f"{asked.uid}/{asked.container}"
        pid = self.ask(
            "launch",
            key=key,
            argv=list(asked.argv),
            environment=dict(asked.environment),
            directory=asked.directory,
            interactive=asked.interactive,
            tty=asked.tty,
        )
        return self._program(key, pid, output, exited)

    def adopt_program(
        self, key: str, output: Callable[[bytes], None], exited: Callable[[int], None]
    ) -> KeptProgram:
        """A program that ran before this host was."""
        return self._program(key, self.programs.pop(key)["pid"], output, exited)

    def _program(
        self, key: str, pid: int, output: Callable[[bytes], None], exited: Callable[[int], None]
    ) -> KeptProgram:
        program = KeptProgram(self, key, pid, exited)

        def happened(event: dict[str, Any]) -> None:
            if "printed" in event:
                output(base64.b64decode(event["printed"]))
            else:
                self.forget(key)
                program.has_exited(event["exited"])

        self._take(key, happened)
        return program

    def drop_all_but(self, uids: Collection[str]) -> None:
        """End what ran before, was not adopted and is of none of these Pods."""
        for key in [key for key in self.echoes if key not in uids]:
            del self.echoes[key]
            self.ask("close", key=key)
        for key in [key for key in self.programs if key.partition("/")[0] not in uids]:
            del self.programs[key]
            self.ask("end", key=key)

    # events

    def _take(self, key: str, taker: Callable[[dict[str, Any]], None]) -> None:
        """Give `taker` the events of `key`, also those that came before anybody knew it."""
        self._takers[key] = taker
        early = self._early.pop(key, _Early())
        for event in early.events:
            self._loop.call_soon(self._deliver, event)

    def forget(self, key: str) -> None:
        """Tell nobody of `key` any more."""
        self._takers.pop(key, None)

    def _readable(self) -> None:
        try:
            data = self._events.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._events)
            log.error("keeper %s has ended, and the Pods' applications with it", self._path)
            return
        *lines, self._pieces = (self._pieces + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event["number"] > self._seen.number:
                self._deliver(event)
                self._seen.number = event["number"]
        if lines:
            self._confirm()

    def _confirm(self) -> None:
        """Tell the keeper what has been taken; the next time says it too."""
        try:
            self._events.send(self._seen.message)
        except OSError:
            return

    def _deliver(self, event: dict[str, Any]) -> None:
        taker = self._takers.get(event["key"])
        if taker is not None:
            taker(event)
        elif event["key"] in self.echoes or event["key"] in self.programs or "exited" in event:
            self._early.setdefault(event["key"], _Early()).add(event)

    def close(self) -> None:
        """Leave the keeper; what runs there goes on."""
        self._loop.remove_reader(self._events)
        self._events.close()
        self._seen.close()
        self._answers.close()
        self._requests.close()


class _Early:
    """The events of a key that nobody takes yet: the newest SIZE_LIMIT bytes, and its end."""

    def __init__(self) -> None:
        self.events: deque[dict[str, Any]] = deque()
        self._size = 0

    def add(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self._size += _size_of(event)
        while self._size > SIZE_LIMIT and "exited" not in self.events[0]:
            self._size -= _size_of(self.events.popleft())


def _size_of(event: dict[str, Any]) -> int:
    return len(event.get("printed") or event.get("line") or "") + OVERHEAD


class _Seen:
    """The number of the last event that was taken, in a file that a killed process leaves right."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, 8)
            self._memory = mmap.mmap(descriptor, 8)
        finally:
            os.close(descriptor)

    @property
    def number(self) -> int:
        return int.from_bytes(self._memory[:], "big")

    @number.setter
    def number(self, number: int) -> None:
        self._memory[:] = number.to_bytes(8, "big")

    @property
    def message(self) -> bytes:
        """What tells the keeper."""
        return json.dumps({"do": "seen", "number": self.number}).encode() + b"\n"

    def close(self) -> None:
        self._memory.close()


class KeptEcho:
    """An echo application in the keeper (see runtime.echo.EchoServer)."""

    def __init__(self, host: KeeperHost, uid: str, ports: frozenset[Port]) -> None:
        self._host = host
        self._uid = uid
        self._ports = ports
        self._healthy = True

    @property
    def healthy(self) -> bool:
        """Whether /healthz and /readyz answer 200 (or 503)."""
        return self._healthy

    @healthy.setter
    def healthy(self, healthy: bool) -> None:
        if healthy is not self._healthy:
            self._host.ask("set_healthy", key=self._uid, healthy=healthy)
            self._healthy = healthy

    def listen(self, ports: Iterable[Port]) -> list[str]:
        """Listen on exactly `ports`; returns what couldn't be opened, one line each."""
        wanted = frozenset(ports)
        if wanted == self._ports:
            return []
        problems: list[str] = self._host.ask("listen", key=self._uid, ports=sorted(wanted))
        self._ports = frozenset() if problems else wanted
        return problems

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._host.forget(self._uid)
        self._host.ask("close", key=self._uid)


class KeptProgram:
    """A program whose parent is the keeper (see runtime.programs.Program)."""

    def __init__(self, host: KeeperHost, key: str, pid: int, exited: Callable[[int], None]) -> None:
        self._host = host
        self._key = key
        self._pid = pid
        self._exited = exited
        self.code: int | None = None

    @property
    def inner_pid(self) -> int | None:
        """The process that is number 1 inside the Pod; None where it is gone."""
        return inner_pid(self._pid)

    def has_exited(self, code: int) -> None:
        """The keeper says that it has ended."""
        self.code = code
        self._exited(code)

    def write(self, data: bytes) -> int:
        """Give it input; how many bytes of it are taken (see Program.write)."""
        taken: int | None = self._host.ask(
            "write", key=self._key, data=base64.b64encode(data).decode()
        )
        return len(data) if taken is None else taken

    def end_input(self) -> None:
        """Its input is at its end."""
        self._host.ask("end_input", key=self._key)

    def resize(self, columns: int, rows: int) -> None:
        """Its terminal has this size."""
        self._host.ask("resize", key=self._key, columns=columns, rows=rows)

    def terminate(self) -> None:
        """SIGTERM; its end is told as that of any program."""
        self._host.ask("signal", key=self._key, number=int(signal.SIGTERM))

    def kill(self) -> None:
        """SIGKILL; likewise."""
        self._host.ask("signal", key=self._key, number=int(signal.SIGKILL))

    def end(self) -> None:
        """End it at once and wait; nothing is told any more."""
        self._host.forget(self._key)
        self._host.ask("end", key=self._key)
