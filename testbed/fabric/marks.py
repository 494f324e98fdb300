"""A lab's marks: the lock that says it lives, its mounts and names, its processes.

A lab owns its run directory: `lock` (held while the lab's process lives), `netns/` (one bind mount
per namespace), and what others keep there. `/run/netns/<lab>-<name>` is a link into `netns/`, so
`ip netns exec`, `list` and `pids` work and the link's target says whose it is. The bind mount keeps
the namespace, so its inode can't be another's while the mount stands, even after `kill -9`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import signal
from collections.abc import Collection, Iterable
from pathlib import Path

from testbed.errors import CannotRunError, UsageError
from testbed.fabric.syscalls import bind_mount, detach_mount, share_mount
from testbed.naming import LAB_VARIABLE, run_directory, run_root

IP_NETNS = Path("/run/netns")
LOCK = "lock"
MOUNTS = "netns"
_MARK = f"{LAB_VARIABLE}=".encode()


def lock_lab(lab: str) -> int:
    """Take `lab`'s lock (made with its run directory); the descriptor that holds it.

    Raises UsageError where the lab lives, CannotRunError where the directory can't be made.
    """
    directory = run_directory(lab)
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # a clean-up removed the directory in between
        except OSError as error:
            raise CannotRunError(f"run directory {directory}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UsageError(
                f"lab {lab!r} is running already: end it with `testbed down --lab {lab}`, "
                "or take another name with --lab"
            ) from None
        if _same_file(lock, directory / LOCK):
            return lock
        os.close(lock)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def is_alive(lab: str) -> bool:
    """Whether a process holds `lab`'s lock."""
    try:
        probe = os.open(run_directory(lab) / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(probe)
    return False


def prepare_mounts(lab: str) -> Path:
    """The directory for the lab's bind mounts: one mount of its own, so it goes in one piece.

    It is shared: a copy of this mount namespace (a service starting meanwhile) loses the namespaces
    when we do. Copies that are private lose them when the mount points are unlinked.
    """
    directory = run_directory(lab) / MOUNTS
    try:
        directory.mkdir()
        bind_mount(str(directory), str(directory))
        share_mount(str(directory))
        IP_NETNS.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRunError(f"mount {directory}: {error.strerror}") from None
    return directory


def link_name(lab: str, name: str) -> Path:
    """Where `ip netns` finds namespace `name` of `lab`."""
    return IP_NETNS / f"{lab}-{name}"


def publish(lab: str, names: Iterable[str]) -> None:
    """Make the namespaces known to `ip netns` as `<lab>-<name>`."""
    target = f"{run_directory(lab)}/{MOUNTS}"
    for name in names:
        link = f"{IP_NETNS}/{lab}-{name}"
        try:
            os.symlink(f"{target}/{name}", link)
        except FileExistsError:
            if not _is_ours(link, target):
                raise UsageError(
                    f"{link} exists and isn't this lab's: remove it with "
                    f"`ip netns delete {lab}-{name}`, or take another name with --lab"
                ) from None


def _is_ours(link: str | Path, target: str) -> bool:
    try:
        return os.readlink(link).startswith(f"{target}/")
    except OSError:
        return False


def withdraw(lab: str, name: str) -> None:
    """Take back one namespace's name and mount."""
    target = f"{run_directory(lab)}/{MOUNTS}"
    if _is_ours(link := link_name(lab, name), target):
        link.unlink(missing_ok=True)
    path = Path(target, name)
    _detach(path)
    path.unlink(missing_ok=True)


def _detach(path: Path) -> bool:
    try:
        detach_mount(str(path))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # not a mount, not there
            return False
        raise
    return True


def mounted_namespaces(lab: str) -> dict[int, str]:
    """Inode → name of the namespaces that are mounted in the lab's run directory."""
    directory = run_directory(lab) / MOUNTS
    found: dict[int, str] = {}
    try:
        own = os.stat(directory).st_dev
        for entry in os.scandir(directory):
            status = os.stat(entry.path)
            if status.st_dev != own:
                found[status.st_ino] = entry.name
    except FileNotFoundError:
        pass
    return found


def remove_directory(lab: str) -> list[str]:
    """`remove_mounts`, and the run directory."""
    gone = remove_mounts(lab)
    directory = run_directory(lab)
    if directory.exists():
        shutil.rmtree(directory, ignore_errors=True)
        gone.append(f"directory {directory}")
    return gone


def remove_mounts(lab: str) -> list[str]:
    """Undo the mounts and the links in /run/netns; what went, a line each."""
    mounts = run_directory(lab) / MOUNTS
    gone = [f"namespace {lab}-{name}" for name in sorted(mounted_namespaces(lab).values())]
    while _detach(mounts):
        gone.append(f"mount {mounts}")
    for link in _links(str(mounts)):
        link.unlink(missing_ok=True)
        gone.append(f"link {link}")
    shutil.rmtree(mounts, ignore_errors=True)
    return gone


def _links(target: str) -> list[Path]:
    try:
        entries = sorted(os.scandir(IP_NETNS), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    return [Path(e.path) for e in entries if e.is_symlink() and _is_ours(e.path, target)]


def linked_labs() -> set[str]:
    """Labs of this run root that links in /run/netns speak of."""
    root = f"{run_root()}/"
    found: set[str] = set()
    try:
        for entry in os.scandir(IP_NETNS):
            if entry.is_symlink() and (target := os.readlink(entry.path)).startswith(root):
                found.add(target[len(root) :].split("/", 1)[0])
    except FileNotFoundError:
        pass
    return found


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def marked_lab(pid: int) -> str | None:
    """The lab of this run root that process `pid` was started by, by its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return None
    if _MARK not in data:
        return None
    pairs = (item.partition(b"=") for item in data.split(b"\0"))
    environment = {name: value for name, _, value in pairs}
    lab = environment.get(LAB_VARIABLE.encode())
    root = environment.get(b"TESTBED_RUN_DIR", b"/run/testbed")
    if lab is None or root != os.fsencode(run_root()):
        return None
    return lab.decode(errors="replace")


def marked_labs() -> set[str]:
    """Every lab that a process of this run root carries the mark of."""
    return {lab for pid in _processes() if (lab := marked_lab(pid)) is not None}


def _inside(pid: int, inodes: Collection[int]) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino in inodes
    except OSError:
        return False


def ourselves() -> set[int]:
    """This process and its ancestors: never to be ended by a clean-up."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found


def lock_holders(labs: Iterable[str]) -> dict[int, str]:
    """Process → the living lab whose lock it holds, for the labs asked about."""
    locks = {str(run_directory(lab) / LOCK): lab for lab in labs if is_alive(lab)}
    holders: dict[int, str] = {}
    if not locks:
        return holders
    for pid in _processes():
        try:
            for entry in os.scandir(f"/proc/{pid}/fd"):
                if (lab := locks.get(os.readlink(entry.path))) is not None:
                    holders[pid] = lab
        except OSError:
            continue
    return holders


def end_processes(lab: str, inodes: Collection[int], spared: Collection[int]) -> list[str]:
    """Kill and await what carries `lab`'s mark or is in one of its namespaces; a line each."""

    def is_lab_s(pid: int) -> bool:
        return _inside(pid, inodes) or marked_lab(pid) == lab

    return kill(pid for pid in _processes() if pid not in spared and is_lab_s(pid))


def kill(pids: Iterable[int]) -> list[str]:
    """Kill the processes, then wait until all are dead; a line each."""
    ended: list[tuple[int, str]] = []
    for pid in pids:
        name = _command(pid)
        try:
            handle = os.pidfd_open(pid)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            continue
        ended.append((handle, f"process {pid} ({name})"))
    for handle, _ in ended:
        death = select.poll()
        death.register(handle, select.POLLIN)
        death.poll(5000)
        os.close(handle)
    return [line for _, line in ended]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
