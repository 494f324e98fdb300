"""The only door to subprocesses."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TypeAlias

from testbed.errors import CannotRunError, TestbedError


class CommandError(TestbedError):
    """A program ended with a status other than 0.

    Carries what is needed to run it by hand: `argv`, `netns` (name or None), `status`, `output`.
    """

    def __init__(self, argv: Sequence[str], netns: str | None, status: int, output: str) -> None:
        self.argv = tuple(argv)
        self.netns = netns
        self.status = status
        self.output = output
        where = f" in {netns}" if netns else ""
        last = output.strip().splitlines()[-1] if output.strip() else "no output"
        super().__init__(f"{shlex.join(argv)}{where}: exit status {status}: {last}")


#: A started program.
Process: TypeAlias = subprocess.Popen[bytes]


#: What a program that a lab starts has of this process's environment.
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ")


def use_system_programs() -> None:
    """Look for programs in /usr/sbin and /sbin too: a plain `su` leaves them out of PATH."""
    present = os.environ.get("PATH", os.defpath).split(":")
    missing = [place for place in ("/usr/sbin", "/sbin") if place not in present]
    os.environ["PATH"] = ":".join([*present, *missing])


def find_program(name: str, package: str | None = None) -> str:
    """Path of program `name`; raise CannotRunError naming the Debian package that has it."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        hint = f"; install it with: apt-get install {package or name}"
        raise CannotRunError(f"program {name!r} is not installed{hint}")
    return path


def namespace_prefix(netns_fd: int | None) -> list[str]:
    """The argv prefix that puts a program into the network namespace behind `netns_fd`."""
    return [] if netns_fd is None else ["nsenter", f"--net=/proc/{os.getpid()}/fd/{netns_fd}"]


def run(
    argv: Sequence[str],
    *,
    input: str | bytes | None = None,
    netns_fd: int | None = None,
    netns: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> str:
    """Run `argv` to its end and return its standard output (text).

    `netns_fd` runs it in that network namespace; `netns` is that namespace's name, for messages.
    With `check`, raise CommandError for a status other than 0 (standard error is its output).
    """
    data = input.encode() if isinstance(input, str) else input
    done = subprocess.run(
        [*namespace_prefix(netns_fd), *argv],
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        env=None if env is None else dict(env),
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        raise CommandError(argv, netns, done.returncode, (done.stderr or done.stdout).decode())
    return done.stdout.decode()


#: Stands before a command whose standard input is the terminal that it is to control.
OWN_TERMINAL = ("setsid", "--ctty", "--wait")
#: Sets the hostname and the bind mounts of a Pod's program, then becomes it.
_POD_SCRIPT = """
echo "$1" > /proc/sys/kernel/hostname; shift
while [ "$1" != -- ]; do
  if [ "$1" = tmpfs ]; then mount -t tmpfs tmpfs "$2"; else mount --bind "$1" "$2"; fi || exit 125
  shift 2
done
shift
exec "$@"
"""


def in_pod_namespaces(
    argv: Sequence[str], netns_fd: int, hostname: str, mounts: Sequence[tuple[Path | str, str]] = ()
) -> list[str]:
    """The argv that runs `argv` in a network namespace, with new mount, UTS and PID namespaces.

    `mounts` are (file, place) bind mounts inside; a file called `tmpfs` is a new, empty directory.
    Raises FileNotFoundError where the program isn't installed.
    """
    program = program_path(argv[0])
    namespaces = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    script = ["sh", "-c", _POD_SCRIPT, "sh", hostname]
    binds = [word for source, place in mounts for word in (str(source), place)]
    return [*namespace_prefix(netns_fd), *namespaces, *script, *binds, "--", program, *argv[1:]]


#: Sets the hostname, goes to a directory, then becomes the program.
_CONTAINER_SCRIPT = """
echo "$1" > /proc/sys/kernel/hostname && cd "$2" && shift 2 && exec "$@"
"""


def in_container(
    argv: Sequence[str],
    netns_fd: int,
    mounts_fd: int,
    hostname: str,
    directory: str,
    beside: int | None = None,
) -> list[str]:
    """The argv that runs `argv` in a network and a mount namespace, with new UTS and PID ones.

    The first word is a path in that mount namespace, as `directory` is. `beside` is a process whose
    PID namespace is taken instead of a new one.
    """
    prefix = [*namespace_prefix(netns_fd), f"--mount=/proc/{os.getpid()}/fd/{mounts_fd}"]
    namespaces = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if beside is not None:
        prefix.append(f"--pid=/proc/{beside}/ns/pid")
        namespaces = ["unshare", "--uts", "--mount-proc"]
    return [
        *prefix,
        "--",
        *namespaces,
        "sh",
        "-c",
        _CONTAINER_SCRIPT,
        "sh",
        hostname,
        directory,
        *argv,
    ]


def in_namespaces_of(pid: int, argv: Sequence[str]) -> list[str]:
    """The argv that runs `argv` in the network, mount, UTS and PID namespaces of a process."""
    flags = ["--net", "--mount", "--uts", "--pid"]
    return ["nsenter", "--target", str(pid), *flags, "--", *argv]


def program_path(name: str) -> str:
    """The path of a program that a Pod runs; raises FileNotFoundError."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError(name)
    return found


def spawn(
    argv: Sequence[str],
    *,
    output: IO[bytes] | int,
    errors: int = subprocess.STDOUT,
    input: int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    directory: str | None = None,
) -> Process:
    """Start a program that goes on by itself, in a session of its own; its output goes to `output`.

    `errors` is the descriptor for its standard error (by default as `output`), `input` that of its
    standard input (by default none). `env` is added to the little of this process's environment
    that a container has too: PATH and the language.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return subprocess.Popen(
        list(argv),
        stdin=input,
        stdout=output,
        stderr=errors,
        env={**inherited, **(env or {})},
        cwd=directory,
        start_new_session=True,
    )


def wait_for(pidfd: int, seconds: float) -> bool:
    """Wait for the end of the process behind a descriptor of pidfd_open; False if it goes on."""
    waiting = select.poll()  # select() refuses descriptors above 1023
    waiting.register(pidfd, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def quote(argv: Sequence[str]) -> str:
    """A command as it is typed."""
    return shlex.join(argv)


def signal_process(process: Process, number: signal.Signals) -> None:
    """Send a signal to a program that `spawn` started, not to its children."""
    if process.poll() is None:
        process.send_signal(number)


def signal_pid(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; nothing if it has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def signal_group(process: Process, number: signal.Signals) -> None:
    """Send a signal to everything that `spawn` started; nothing if it has ended."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
