"""Programs in Pods: they run in the Pod's namespaces, their output is the container's log."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testbed import shell

_PIECE = 65536
#: How much of what a program printed last is taken: as much as the largest pipe holds (bytes).
_LAST = 1 << 20
#: How long `end` waits for one that was killed (seconds).
_PATIENCE = 1.0


class Program:
    """One running program; `output` gets what it prints, `exited` its exit code at its end.

    The code of a killed one is 128 + signal. All belongs to the event loop's thread.
    """

    def __init__(
        self,
        process: shell.Process,
        loop: asyncio.AbstractEventLoop,
        printed: int,
        output: Callable[[bytes], None],
        exited: Callable[[int], None],
        input: int | None = None,
        *,
        tty: bool = False,
    ) -> None:
        self._process = process
        self._tty = tty
        self._loop = loop
        self._printed = printed
        self._output = output
        self._exited = exited
        self._input = input
        #: Its exit code, once it has ended.
        self.code: int | None = None
        self.is_paused = False
        self._pidfd = os.pidfd_open(process.pid)
        loop.add_reader(self._pidfd, self._ended)
        os.set_blocking(printed, False)
        if input is not None:
            os.set_blocking(input, False)
        loop.add_reader(printed, self._readable)

    @property
    def inner_pid(self) -> int | None:
        """The process that is number 1 inside the Pod; None where it is gone."""
        return inner_pid(self.pid)

    def write(self, data: bytes) -> int:
        """Give it input; how many bytes of it are taken, all where it wants none.

        It waits for nobody: fewer are taken while the program doesn't read.
        """
        if self._input is None:
            return len(data)
        try:
            return os.write(self._input, data)
        except BlockingIOError:
            return 0
        except OSError:  # the program has closed its input
            self._close_input()
            return len(data)

    def end_input(self) -> None:
        """Its input is at its end; that of a terminal never is."""
        if not self._tty:
            self._close_input()

    def resize(self, columns: int, rows: int) -> None:
        """Its terminal has this size."""
        if self._tty and self._input is not None:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self._input, termios.TIOCSWINSZ, size)

    def pause(self, paused: bool) -> None:
        """Leave what it prints where it is, so that it has to wait, or read on."""
        if paused is not self.is_paused and self._printed >= 0:
            self.is_paused = paused
            if paused:
                self._loop.remove_reader(self._printed)
            else:
                self._loop.add_reader(self._printed, self._readable)

    def _close_input(self) -> None:
        if self._input is not None:
            os.close(self._input)
            self._input = None

    def _readable(self) -> None:
        try:
            data = self._read()
        except BlockingIOError:
            return
        if data:
            self._output(data)
        else:
            self._close_output()

    def _read(self) -> bytes:
        """What it printed; b"" at the end. A terminal that its last user has left says EIO."""
        try:
            return os.read(self._printed, _PIECE)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""

    def _close_output(self) -> None:
        if self._printed >= 0:
            self._loop.remove_reader(self._printed)
            os.close(self._printed)
            self._printed = -1

    def _ended(self) -> None:
        self._exited(self._reap())

    def _reap(self) -> int:
        """Take what it printed last, and its exit code; it has ended."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        left = _LAST
        while self._printed >= 0 and left > 0:
            try:
                data = self._read()
            except BlockingIOError:
                break  # a descendant outside the Pod still holds the pipe
            if not data:
                break
            self._output(data)
            left -= len(data)
        self._close_output()
        self._close_input()
        self.code = code if code >= 0 else 128 - code
        return self.code

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def hang_up(self) -> None:
        """SIGHUP to the program alone: many read their configuration again."""
        shell.signal_process(self._process, signal.SIGHUP)

    def terminate(self) -> None:
        """SIGTERM to the program (the first process of its PID namespace gets it too)."""
        if self._tty and (inner := self.inner_pid) is not None:
            shell.signal_pid(inner, signal.SIGTERM)  # it has a session of its own
        shell.signal_group(self._process, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; its end is told as that of any program."""
        if self._tty and (inner := self.inner_pid) is not None:
            shell.signal_pid(inner, signal.SIGKILL)
        shell.signal_group(self._process, signal.SIGKILL)

    def end(self) -> None:
        """End it at once and wait, not for long; nothing is told any more.

        One that the kernel holds on to is taken when it lets go.
        """
        self._exited = lambda code: None
        self.kill()
        if shell.wait_for(self._pidfd, _PATIENCE):
            self._reap()
        else:
            self._close_output()


def inner_pid(pid: int) -> int | None:
    """The first process inside the PID namespace that process `pid` made, if it is there."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def launch(
    argv: Sequence[str],
    loop: asyncio.AbstractEventLoop,
    output: Callable[[bytes], None],
    exited: Callable[[int], None],
    *,
    environment: Mapping[str, str] | None = None,
    directory: str = "/",
    interactive: bool = False,
    tty: bool = False,
) -> Program:
    """Start `argv` (made by shell.in_pod_namespaces and the like), its output and errors as one.

    An `interactive` program's standard input stays open; with `tty` all three are a terminal, which
    the program has to make its own. Raises FileNotFoundError where the working directory isn't
    there.
    """
    if tty:
        return _launch_on_terminal(argv, loop, output, exited, environment, directory)
    mine, theirs = os.pipe()
    stdin, input = os.pipe() if interactive else (os.open(os.devnull, os.O_RDONLY), None)
    try:
        process = shell.spawn(
            argv, output=theirs, input=stdin, env=environment, directory=directory
        )
    except BaseException:
        os.close(mine)
        if input is not None:
            os.close(input)
        raise
    finally:
        os.close(theirs)
        os.close(stdin)
    return Program(process, loop, mine, output, exited, input)


def _launch_on_terminal(
    argv: Sequence[str],
    loop: asyncio.AbstractEventLoop,
    output: Callable[[bytes], None],
    exited: Callable[[int], None],
    environment: Mapping[str, str] | None,
    directory: str,
) -> Program:
    mine, theirs = os.openpty()
    try:
        process = shell.spawn(
            argv, output=theirs, input=theirs, env=environment, directory=directory
        )
    except BaseException:
        os.close(mine)
        raise
    finally:
        os.close(theirs)
    return Program(process, loop, mine, output, exited, os.dup(mine), tty=True)
