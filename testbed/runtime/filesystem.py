"""A container's file system: this machine's, but what the container writes stays its own.

Images aren't pulled, so a container sees the programs and files of the machine. Overlays over them
take what it writes, and have the mount points that the machine doesn't: nothing is made outside.
The root belongs to a mount namespace that a thread builds, and that programs enter by its
descriptor.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import TestbedError
from testbed.fabric import syscalls
from testbed.fabric.namespace import in_thread
from testbed.naming import run_root

#: The source of a mount that is a new, empty directory.
TMPFS = "tmpfs"

_OLD = "/.testbed-machine"
#: File systems of the kernel: shown as they are.
_VIRTUAL = re.compile(
    "proc|sysfs|devpts|mqueue|hugetlbfs|cgroup2?|debugfs|tracefs|securityfs|bpf|configfs|pstore"
    "|efivarfs|fusectl|binfmt_misc|rpc_pipefs"
)
#: Looking at these could hang, or is of no use in a container.
_LEFT_OUT = frozenset({"autofs", "nsfs"})
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "fuse", "kvm", "net/tun")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


class MountError(TestbedError):
    """A container's file system can't be made as it was asked for."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the machine (or TMPFS) at a place in the container.

    One that is `optional` is left out where it can't be made. A file `of_image` is copied into the
    container's root before anything is mounted, so that mounts can hide it.
    """

    source: str
    place: str
    read_only: bool = False
    optional: bool = False
    of_image: bool = False


def make_root(directory: Path, mounts: Sequence[Mount], working: str = "/") -> int:
    """A mount namespace with these mounts and the directory `working`; its descriptor.

    `directory` is the lab's: containers see it as it is. Mounts are made from the shortest place
    to the longest. Raises MountError.
    """

    def build() -> int:
        syscalls.unshare_mounts()
        root = _Root(directory)
        root.enter()
        for each in sorted(mounts, key=lambda m: (not m.of_image, m.place.count("/"))):
            try:
                root.mount(each)
            except MountError:
                if not each.optional:
                    raise
        root.leave_machine()
        root.make(working, directory=True)
        return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    try:
        return in_thread(build)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise MountError(f"mount{where}: {error.strerror}") from error


def find_program(root: int | str, name: str, working: str = "/") -> str:
    """The path of a program in the mount namespace behind a descriptor or path.

    Raises FileNotFoundError and PermissionError, worded as the container runtimes do.
    """

    def look() -> str:
        descriptor = root if isinstance(root, int) else os.open(root, os.O_RDONLY)
        try:
            syscalls.enter_mounts(descriptor)
        finally:
            if descriptor != root:
                os.close(descriptor)
        os.chdir(working)
        if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            return found
        if "/" not in name:
            raise FileNotFoundError(f'exec: "{name}": executable file not found in $PATH')
        if not os.path.exists(name):
            raise FileNotFoundError(f'exec: "{name}": stat {name}: no such file or directory')
        raise PermissionError(f'exec: "{name}": permission denied')

    return in_thread(look)


class _Root:
    """The root of the calling thread's mount namespace, while it is being built."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._anchor = directory / "root"
        self._layers = 0
        self._machine = ""
        #: Where mount points can't be made: they would be made on the machine.
        self._foreign = ["/proc", "/sys"]

    def enter(self) -> None:
        """Overlays over the machine's file systems become the root; the machine is below _OLD.

        Where the kernel has no overlays, the machine's root stays, and nothing is made in it.
        """
        self._anchor.mkdir(mode=0o700, exist_ok=True)
        machine = _mounted()
        syscalls.mount("tmpfs", str(self._anchor), "tmpfs", options="mode=0755")
        root = f"{self._anchor}/root"
        os.mkdir(root)
        try:
            self._overlay("/", root)
        except OSError:
            self._foreign.append("/")
            return
        ours = (f"{run_root()}/", f"{self._directory}/", "/dev/", "/proc/", "/sys/")
        for place, kind in machine:
            if place not in ("/", "/dev") and kind not in _LEFT_OUT and not place.startswith(ours):
                self._show(place, kind, root)
        self._show_lab(root + self._directory)
        self._devices(f"{root}/dev")
        os.mkdir(root + _OLD)
        syscalls.pivot_root(root, root + _OLD)
        os.chdir("/")
        self._machine = _OLD

    def _show_lab(self, place: str) -> None:
        """The lab's directory, without what is mounted in it where that may be left out."""
        try:
            syscalls.mount(self._directory, place, "none", syscalls.MS_BIND)
        except OSError:
            _bind(self._directory, place)

    def leave_machine(self) -> None:
        """Nothing leads to the machine's own root any more."""
        if self._machine:
            syscalls.detach_mount(self._machine)
            os.rmdir(self._machine)

    def _show(self, place: str, kind: str, root: str) -> None:
        """A further file system of the machine: to be written to only where it can be overlaid."""
        target = root + place
        if not _VIRTUAL.fullmatch(kind) and os.path.isdir(place):
            with contextlib.suppress(OSError):
                self._overlay(place, target)
                return
        self._foreign.append(place)
        with contextlib.suppress(OSError):
            _bind(place, target)
            if not _VIRTUAL.fullmatch(kind):
                _make_read_only(target)

    def _overlay(self, lower: str, target: str) -> None:
        """What is in `lower` at `target`, writable."""
        self._layers += 1
        layer = f"{self._anchor}/{self._layers}"
        upper, work = f"{layer}/upper", f"{layer}/work"
        os.makedirs(upper)
        os.mkdir(work)
        found = os.stat(lower)
        os.chown(upper, found.st_uid, found.st_gid)
        os.chmod(upper, stat.S_IMODE(found.st_mode))
        paths = f"lowerdir={_escaped(lower)},upperdir={_escaped(upper)},workdir={_escaped(work)}"
        syscalls.mount("overlay", target, "overlay", options=paths)

    def _devices(self, place: str) -> None:
        """/dev as container runtimes make it."""
        syscalls.mount("tmpfs", place, "tmpfs", options="mode=0755")
        for name in _DEVICES:
            if os.path.exists(f"/dev/{name}"):
                os.makedirs(os.path.dirname(f"{place}/{name}"), exist_ok=True)
                os.close(os.open(f"{place}/{name}", os.O_CREAT))
                _bind(f"/dev/{name}", f"{place}/{name}")
        for name in ("pts", "mqueue"):
            if os.path.isdir(f"/dev/{name}"):
                os.mkdir(f"{place}/{name}")
                _bind(f"/dev/{name}", f"{place}/{name}")
        os.mkdir(f"{place}/shm")
        os.chmod(f"{place}/shm", 0o1777)
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, f"{place}/{name}")

    def mount(self, wanted: Mount) -> None:
        """Put a file or directory of the machine at its place."""
        if os.path.realpath(wanted.place) == "/":
            raise MountError("mount /: nothing can be mounted over the container's root")
        if wanted.source == TMPFS:
            place = self.make(wanted.place, directory=True)
            syscalls.mount("tmpfs", place, "tmpfs", options="mode=0755")
            return
        source = self._machine + wanted.source
        if wanted.of_image and self._machine:
            shutil.copyfile(source, self.make(wanted.place, directory=False))
            return
        place = self.make(wanted.place, directory=os.path.isdir(source))
        _bind(source, place)
        if wanted.read_only:
            _make_read_only(place)
        self._foreign = [each for each in self._foreign if not _is_below(each, place)]

    def make(self, place: str, *, directory: bool) -> str:
        """An empty file or directory where there is none; the place without symbolic links."""
        place = os.path.realpath(place)
        if os.path.lexists(place):
            if os.path.isdir(place) is not directory:
                raise MountError(
                    f"mount {place}: not a directory: are you trying to mount a directory onto a "
                    "file (or vice-versa)?"
                )
            return place
        if any(_is_below(place, each) for each in self._foreign):
            raise MountError(f"mount {place}: there is no such place, and none can be made")
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if directory:
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL, 0o644))
        return place


def _bind(source: str, target: str) -> None:
    syscalls.mount(source, target, "none", syscalls.MS_BIND | syscalls.MS_REC)


def _make_read_only(place: str) -> None:
    flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
    syscalls.mount("none", place, "none", flags)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


def _escaped(path: str) -> str:
    """A path in an overlay's options."""
    return re.sub(r"([\\:,])", r"\\\1", path)


def _mounted() -> list[tuple[str, str]]:
    """(place, type) of this mount namespace's mounts, in the order in which they were made."""
    found: dict[str, str] = {}
    for line in Path("/proc/thread-self/mountinfo").read_text().splitlines():
        words = line.split(" ")
        place = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), words[4])
        found[place] = words[words.index("-") + 1]
    return list(found.items())
