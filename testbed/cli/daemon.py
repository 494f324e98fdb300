"""A lab that goes on in the background, and how other commands talk to it.

The lab's process listens on a socket in its run directory. A request is one line of JSON (`verb`,
`arguments`); the answer is lines of JSON: any number of `{"line": …}` while it works, then one
`{"result": …}` or `{"error": …, "code": …}`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from testbed.errors import EXIT_CHECK_FAILED, CannotRunError, TestbedError, UsageError
from testbed.naming import check_lab_name, run_directory, run_root

if TYPE_CHECKING:
    from testbed.cluster import Cluster

SOCKET_NAME = "control.sock"
LOG_NAME = "lab.log"
_PR_SET_PDEATHSIG = 1
_LATER = ("testbed.probe.observe", "testbed.lab.explain")

#: How long a lab may take over a word that needs no work of it, in seconds.
_PATIENCE = {"list": 10.0, "down": 10.0}

Arguments: TypeAlias = dict[str, Any]
#: Does a verb in a running lab: (cluster, arguments, tell a line of progress) → JSON value.
Handler: TypeAlias = "Callable[[Running, Arguments, Tell], Any]"
#: Takes a line of progress.
Tell: TypeAlias = Callable[[str], None]
#: What runs in the background.
Running: TypeAlias = "Cluster"


# the lab's side


class Server:
    """Serves one running lab until `down` or a signal ends it."""

    def __init__(self, cluster: Running, handlers: dict[str, Handler]) -> None:
        self._cluster = cluster
        self._handlers = {**handlers, "down": self._down}
        self._ended = threading.Event()
        path = run_directory(cluster.name) / SOCKET_NAME
        path.unlink(missing_ok=True)  # of a process that was killed
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(64)

    def serve(self) -> None:
        """Answer requests, each in a thread of its own; returns when the lab shall end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ended.set())
        threading.Thread(target=self._accept, daemon=True, name="control-socket").start()
        self._ended.wait()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rw") as stream:

            def send(**message: Any) -> None:
                with contextlib.suppress(OSError, ValueError):
                    stream.write(json.dumps(message) + "\n")
                    stream.flush()

            line = stream.readline()
            if not line:
                return  # somebody looked whether the lab answers
            try:
                request = json.loads(line)
                handler = self._handlers.get(request["verb"])
                if handler is None:
                    raise UsageError(f"the lab doesn't know {request['verb']!r}: another version?")
                arguments = request["arguments"]
                send(result=handler(self._cluster, arguments, lambda line: send(line=line)))
            except TestbedError as error:
                send(error=str(error), code=error.exit_code)
            except Exception as error:
                traceback.print_exc()
                send(error=f"{type(error).__name__}: {error} (see {LOG_NAME})", code=1)

    def _down(self, cluster: Running, arguments: Arguments, tell: Tell) -> None:
        self._ended.set()


def start_in_background(
    name: str, build: Callable[[Tell], Running], handlers: dict[str, Handler]
) -> Iterator[str]:
    """Build a lab in a process of its own and leave it serving; yields its progress, line by line.

    The process dies with this one until the lab is ready, so that an interrupted start leaves only
    marked parts behind. Raises what building raised.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            status = _background(name, build, handlers, writing)
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as progress:
        for line in progress:
            message = json.loads(line)
            if "line" in message:
                yield message["line"]
            elif "error" in message:
                os.waitpid(child, 0)
                failure = TestbedError(message["error"])
                failure.exit_code = message["code"]
                raise failure
            else:
                return
    raise CannotRunError(f"lab {name!r} ended while it was starting; `testbed clean` removes it")


def _background(
    name: str,
    build: Callable[[Tell], Running],
    handlers: dict[str, Handler],
    writing: int,
) -> int:
    parent = os.getppid()
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return 1
    os.setsid()
    channel = os.fdopen(writing, "w")

    def send(**message: Any) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    gc.disable()  # what is made until the lab is ready stays
    try:
        cluster = build(lambda line: send(line=line))
        _detach_output(run_directory(name) / LOG_NAME)
        server = Server(cluster, handlers)
    except TestbedError as error:
        send(error=str(error), code=error.exit_code)
        return error.exit_code
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}:{place.lineno}"
        send(error=f"{type(error).__name__}: {error} ({where})", code=EXIT_CHECK_FAILED)
        return EXIT_CHECK_FAILED
    libc.prctl(_PR_SET_PDEATHSIG, 0)
    send(ready=True)
    channel.close()
    gc.freeze()
    gc.enable()
    threading.Thread(target=_import_ahead, daemon=True, name="import").start()
    try:
        server.serve()
    finally:
        cluster.close()
    return 0


def _import_ahead() -> None:
    """Import what a lab comes up without and the first probe needs, while nobody waits."""
    for name in _LATER:
        importlib.import_module(name)


def _detach_output(log: Path) -> None:
    """Standard streams of a background process: nothing in, the log out."""
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)


# the other side


def running_labs() -> list[str]:
    """Names of the labs whose control socket answers."""
    found = sorted(path.parent.name for path in run_root().glob(f"*/{SOCKET_NAME}"))
    return [name for name in found if _connect(name) is not None]


def _connect(name: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(run_directory(name) / SOCKET_NAME))
    except OSError:
        connection.close()
        return None
    return connection


def ask(name: str, verb: str, tell: Tell = lambda line: None, **arguments: Any) -> Any:
    """Have lab `name` do `verb`; returns its result.

    Raises UsageError where no such lab runs, TestbedError where it doesn't answer, and what the lab
    raised otherwise.
    """
    connection = _connect(check_lab_name(name))
    if connection is None:
        if os.geteuid() != 0:
            raise CannotRunError("labs belong to root: run it with sudo")
        from testbed.lab.record import is_orphaned

        if is_orphaned(name):
            raise UsageError(
                f"the control plane of lab {name!r} has died: testbed resume --lab {name} starts "
                f"it again, testbed clean --lab {name} removes the lab"
            )
        others = running_labs()
        hint = f"running: {', '.join(others)}" if others else "start one with `testbed up`"
        raise UsageError(f"no lab {name!r} is running; {hint}")
    connection.settimeout(_PATIENCE.get(verb))
    try:
        with connection, connection.makefile("rw") as stream:
            stream.write(json.dumps({"verb": verb, "arguments": arguments}) + "\n")
            stream.flush()
            for line in stream:
                message = json.loads(line)
                if "line" in message:
                    tell(message["line"])
                elif "error" in message:
                    failure = TestbedError(message["error"])
                    failure.exit_code = message["code"]
                    raise failure
                else:
                    return message["result"]
    except TimeoutError:
        raise TestbedError(
            f"lab {name!r} doesn't answer; testbed clean --force --lab {name} removes it"
        ) from None
    raise TestbedError(f"lab {name!r} ended before it answered")
