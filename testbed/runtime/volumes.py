"""The volumes of one Pod on disk, and where its containers mount them.

Files change as kubelet changes them: a new directory is written, then one symbolic link, `..data`,
is moved to it. Source: pkg/volume/util/atomic_writer.go, pkg/volume/hostpath, pkg/kubelet/
kubelet_pods.go (makeMounts), pkg/volume/util/subpath.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from testbed.api.documents import Document
from testbed.api.volumes import EmptyDir, File, Files, HostPath, Volume
from testbed.errors import TestbedError
from testbed.runtime.filesystem import Mount

_DATA, _NEW_DATA = "..data", "..data_tmp"
#: Volumes that nobody has asked for begin so.
_IMPLIED = "kube-api-access-"
#: What a path of a type must be, and how kubelet calls it.
_TYPES: Mapping[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


class VolumeMountError(TestbedError):
    """A container can't mount a volume as it asks for."""


def check_host_path(volume: HostPath) -> str:
    """What is wrong with a hostPath, as kubelet words it, or "". Makes what `…OrCreate` asks for.

    One of no type is made as a directory where it is missing, as containerd does.
    """
    path, kind = Path(volume.path), volume.kind
    try:
        if not path.exists():
            if kind in ("", "DirectoryOrCreate"):
                path.mkdir(mode=0o755, parents=True)
                return ""
            if kind == "FileOrCreate":
                path.touch(mode=0o644)
                return ""
            return f"hostPath {path} doesn't exist"
        mode = path.stat().st_mode
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}"
    if not kind:
        return ""
    fits, words = _TYPES[kind.removesuffix("OrCreate")]
    if fits(mode):
        return ""
    found = next((name for name, (is_one, _) in _TYPES.items() if is_one(mode)), "")
    return f"hostPath type check failed: {path} is not a {words}, it's a {found}"


class PodVolumes:
    """The volumes below `directory`, written once a container needs them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._volumes: Mapping[str, Volume] = {}
        self._written = directory.exists()

    def set(self, volumes: Mapping[str, Volume]) -> None:
        """These are the Pod's volumes now; what is on disk follows."""
        changed = {name: v for name, v in volumes.items() if self._volumes.get(name) != v}
        self._volumes = volumes
        if self._written:
            self._write(changed)

    def mounts(self, container: Document, expand: Callable[[str], str]) -> list[Mount]:
        """A container's volume mounts; `expand` replaces the variables of a subPathExpr.

        Raises VolumeMountError.
        """
        if not self._written and container.get("volumeMounts"):
            self._written = True
            self._write(self._volumes)
        found = []
        for mount in container.get("volumeMounts") or ():
            name, place = str(mount["name"]), os.path.join("/", mount["mountPath"])
            volume = self._volumes[name]
            source = volume.path if isinstance(volume, HostPath) else str(self._directory / name)
            below = mount.get("subPath") or expand(mount.get("subPathExpr") or "")
            if below:
                what = f'volumeMount "{name}" of container "{container["name"]}"'
                source = _sub_path(source, below, what, make=not isinstance(volume, Files))
            read_only = bool(mount.get("readOnly")) or isinstance(volume, Files)
            implied = name.startswith(_IMPLIED)
            found.append(Mount(os.path.realpath(source), place, read_only, implied))
        return found

    def _write(self, volumes: Mapping[str, Volume]) -> None:
        for name, volume in volumes.items():
            place = self._directory / name
            if isinstance(volume, HostPath):
                continue
            place.mkdir(parents=True, exist_ok=True)
            if isinstance(volume, EmptyDir):
                place.chmod(0o777)
            else:
                write_files(place, volume.entries)


def write_files(place: Path, entries: Mapping[str, File]) -> None:
    """Bring the files in directory `place` to `entries`, all at the same moment."""
    wanted = {path: (_bytes(file), file.mode) for path, file in entries.items()}
    current = place / _DATA
    if current.is_symlink() and _read(current.resolve()) == wanted:
        return
    now = datetime.now(UTC)
    new = place / f"..{now:%Y_%m_%d_%H_%M_%S}.{secrets.randbelow(10**9)}"
    new.mkdir(mode=0o755)
    for path, (data, mode) in wanted.items():
        file = new / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)
    before = current.resolve() if current.is_symlink() else None
    temporary = place / _NEW_DATA
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(new.name)
    temporary.replace(current)
    _link_names(place, {path.split("/")[0] for path in wanted})
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)


def _link_names(place: Path, names: set[str]) -> None:
    """What a user sees: a link into `..data` for every name at the top, and no others."""
    for name in names:
        with contextlib.suppress(FileExistsError):
            (place / name).symlink_to(f"{_DATA}/{name}")
    for link in place.iterdir():
        if not link.name.startswith("..") and link.name not in names:
            link.unlink()


def _read(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(directory)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in directory.rglob("*")
        if path.is_file()
    }


def _bytes(file: File) -> bytes:
    return file.data if isinstance(file.data, bytes) else file.data()


def _sub_path(volume: str, below: str, what: str, *, make: bool) -> str:
    """The real path of a subPath, which stays in its volume; made as a directory if missing."""
    inside = os.path.realpath(volume)
    found = os.path.realpath(os.path.join(volume, below))
    if (
        os.path.isabs(below)
        or ".." in below.split("/")
        or os.path.commonpath([inside, found]) != (inside)
    ):
        raise VolumeMountError(f"failed to prepare subPath for {what}")
    if not os.path.lexists(found):
        if not make:
            raise VolumeMountError(f"failed to create subPath directory for {what}")
        os.makedirs(found, mode=0o755)
    return found
