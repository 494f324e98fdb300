"""Files of volumes change all at once; sub paths stay inside; hostPaths are what they must be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.api.volumes import EmptyDir, File, Files, HostPath
from testbed.runtime.volumes import PodVolumes, VolumeMountError, check_host_path, write_files


def files(**texts: str) -> dict[str, File]:
    return {name: File(text.encode(), 0o644) for name, text in texts.items()}


def seen(place: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in place.iterdir() if not p.name.startswith("..")}


def test_files_change_together_by_one_link(tmp_path: Path) -> None:
    write_files(tmp_path, files(a="1", b="2"))
    before = os.readlink(tmp_path / "..data")
    assert os.readlink(tmp_path / "a") == "..data/a"
    write_files(tmp_path, files(b="3", c="4"))
    assert seen(tmp_path) == {"b": "3", "c": "4"}
    assert os.readlink(tmp_path / "..data") != before
    assert not (tmp_path / before).exists()


def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    write_files(tmp_path, files(a="1"))
    before = os.readlink(tmp_path / "..data")
    write_files(tmp_path, files(a="1"))
    assert os.readlink(tmp_path / "..data") == before
    write_files(tmp_path, {"a": File(b"1", 0o600)})
    assert os.readlink(tmp_path / "..data") != before


def test_a_volume_without_files_is_an_empty_directory(tmp_path: Path) -> None:
    write_files(tmp_path, {})
    assert seen(tmp_path) == {}


def test_nothing_is_written_until_a_container_mounts_it(tmp_path: Path) -> None:
    made: list[str] = []

    def token() -> bytes:
        made.append("token")
        return b"secret"

    volumes = PodVolumes(tmp_path / "volumes")
    volumes.set({"v": Files({"token": File(token, 0o600)})})
    assert not made
    container = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    (mount,) = volumes.mounts(container, str)
    assert (mount.place, mount.read_only) == ("/v", True)
    assert (Path(mount.source) / "token").read_text() == "secret"


@pytest.mark.parametrize("below", ["../other", "/etc", "out", "a/../../other"])
def test_a_sub_path_stays_in_its_volume(tmp_path: Path, below: str) -> None:
    volumes = PodVolumes(tmp_path)
    volumes.set({"v": EmptyDir()})
    (tmp_path / "v" / "out").symlink_to("/etc")
    mount = {"name": "v", "mountPath": "/v", "subPath": below}
    with pytest.raises(VolumeMountError, match='failed to prepare subPath for volumeMount "v"'):
        volumes.mounts({"name": "c", "volumeMounts": [mount]}, str)


def test_a_host_path_is_of_its_type_or_made(tmp_path: Path) -> None:
    file, missing = tmp_path / "file", tmp_path / "missing"
    file.touch()
    assert check_host_path(HostPath(str(file), "File")) == ""
    assert check_host_path(HostPath(str(file))) == ""
    assert check_host_path(HostPath("/dev/null", "CharDevice")) == ""
    assert check_host_path(HostPath(str(file), "DirectoryOrCreate")) == (
        f"hostPath type check failed: {file} is not a directory, it's a File"
    )
    assert check_host_path(HostPath(str(missing), "Socket")) == f"hostPath {missing} doesn't exist"
    assert not missing.exists()
    assert check_host_path(HostPath(f"{missing}/dir")) == ""
    assert check_host_path(HostPath(f"{missing}/new", "FileOrCreate")) == ""
    assert (missing / "dir").is_dir()
    assert (missing / "new").is_file()
