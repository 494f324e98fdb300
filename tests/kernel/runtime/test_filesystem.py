"""The root of a container: an overlay of its own, or the machine's where the kernel has none."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.fabric import syscalls
from testbed.runtime.filesystem import TMPFS, Mount, MountError, find_program, make_root

pytestmark = pytest.mark.kernel


def inside(root: int, script: str) -> str:
    enter = ["nsenter", f"--mount=/proc/{os.getpid()}/fd/{root}", "sh", "-c", script]
    done = subprocess.run(enter, capture_output=True, text=True, check=False)
    os.close(root)
    return done.stdout + done.stderr


def file(directory: Path, text: str = "said\n") -> str:
    (directory / "file").write_text(text)
    return str(directory / "file")


def test_mount_points_are_made_in_the_container_alone(tmp_path: Path) -> None:
    mounts = [
        Mount(file(tmp_path), "/new/deep/file"),
        Mount(TMPFS, "/var/lib/of-its-own"),
        Mount(str(tmp_path), "/var/run/secrets/x", read_only=True),
    ]
    root = make_root(tmp_path, mounts, "/work/here")
    script = "cat /new/deep/file /var/run/secrets/x/file; ls -d /work/here; touch /etc/mine && pwd"
    assert inside(root, script) == "said\nsaid\n/work/here\n/\n"
    assert not any(map(os.path.exists, ("/new", "/work/here", "/etc/mine", "/run/secrets/x")))


def test_nothing_leads_from_the_container_to_the_machine(tmp_path: Path) -> None:
    root = make_root(tmp_path, [])
    name = f"made-{os.getpid()}"
    script = (
        f"ls -a / | grep testbed; for d in / /tmp /var/tmp /usr /root; do touch $d/{name}; done"
    )
    assert inside(root, script) == ""
    assert not any(os.path.exists(f"{d}/{name}") for d in ("", "/tmp", "/var/tmp", "/usr", "/root"))


def test_permissions_of_the_machine_stay(tmp_path: Path) -> None:
    modes = inside(make_root(tmp_path, []), "stat -c %a / /tmp /root /etc/passwd").split()
    assert modes == [
        f"{os.stat(p).st_mode & 0o7777:o}" for p in ("/", "/tmp", "/root", "/etc/passwd")
    ]


def test_a_file_of_the_image_can_be_hidden_by_a_mount(tmp_path: Path) -> None:
    image, volume = tmp_path / "image", tmp_path / "volume"
    image.write_text("of the image")
    volume.mkdir()
    (volume / "mine.conf").write_text("")
    of_image = Mount(str(image), "/etc/app/conf.d/default.conf", of_image=True)
    shown = inside(make_root(tmp_path, [of_image]), "cat /etc/app/conf.d/default.conf")
    assert shown == "of the image"
    mounts = [Mount(str(volume), "/etc/app/conf.d", read_only=True), of_image]
    assert inside(make_root(tmp_path, mounts), "ls /etc/app/conf.d") == "mine.conf\n"


@pytest.mark.parametrize(
    ("mount", "problem"),
    [
        (("file", "/etc"), "not a directory: are you trying to mount a directory onto a file"),
        (("", "/etc/passwd"), "not a directory: are you trying to mount a directory onto a file"),
        (("", "/proc/mine"), "mount /proc/mine: there is no such place, and none can be made"),
        (("", "/sys/mine"), "there is no such place"),
        (("", "/"), "mount /: nothing can be mounted over the container's root"),
        (("", "/usr/../"), "mount /: nothing can be mounted over the container's root"),
        (("missing", "/data"), "No such file or directory"),
    ],
)
def test_what_cannot_be_mounted_says_why(
    tmp_path: Path, mount: tuple[str, str], problem: str
) -> None:
    file(tmp_path)
    with pytest.raises(MountError) as caught:
        make_root(tmp_path, [Mount(str(tmp_path / mount[0]).rstrip("/"), mount[1])])
    assert problem in str(caught.value)


def test_without_overlays_what_is_there_can_be_mounted_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = syscalls.mount

    def no_overlays(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
        if kind == "overlay":
            raise OSError(errno.ENODEV, "No such device", target)
        mount(source, target, kind, flags, options)

    monkeypatch.setattr(syscalls, "mount", no_overlays)
    place = tmp_path / "place"
    place.touch()
    mounts = [
        Mount(file(tmp_path), str(place)),
        Mount(file(tmp_path), "/not/here", optional=True),
    ]
    assert inside(make_root(tmp_path, mounts), f"cat {place}; ls /not") == (
        "said\nls: cannot access '/not': No such file or directory\n"
    )
    with pytest.raises(MountError, match="there is no such place, and none can be made"):
        make_root(tmp_path, [Mount(file(tmp_path), "/not/here")])
    with pytest.raises(MountError):
        make_root(tmp_path, [], "/not/here")
    assert place.read_text() == ""


def test_programs_are_looked_for_in_the_container(tmp_path: Path) -> None:
    script = tmp_path / "tools" / "run"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    root = make_root(tmp_path, [Mount(str(script.parent), "/opt/tools")], "/opt")
    assert find_program(root, "sh").endswith("/sh")
    with pytest.raises(PermissionError, match='exec: "/opt/tools/run": permission denied'):
        find_program(root, "/opt/tools/run")
    script.chmod(0o755)
    assert find_program(root, "tools/run", "/opt") == "tools/run"
    with pytest.raises(FileNotFoundError, match="executable file not found in"):
        find_program(root, "no-such-program")
    with pytest.raises(FileNotFoundError, match="stat /opt/none: no such file or directory"):
        find_program(root, "/opt/none")
    os.close(root)


#: Prints what a container sees of the file system mounted at argv[2], which can't be overlaid if
#: there is a third argument.
LOOK = """
import os, subprocess, sys
from pathlib import Path
from testbed.fabric import syscalls
from testbed.runtime.filesystem import make_root
lab, place = sys.argv[1:3]
mount = syscalls.mount
def refusing(source, target, kind, flags=0, options=""):
    if f"lowerdir={place}," in options and sys.argv[3:]:
        raise OSError(22, "Invalid argument")
    mount(source, target, kind, flags, options)
syscalls.mount = refusing
root = make_root(Path(lab), [])
script = f"cat {place}/file; touch {place}/mine; ls {place}"
enter = ["nsenter", f"--mount=/proc/{os.getpid()}/fd/{root}", "sh", "-c", script]
subprocess.run(enter, stderr=subprocess.STDOUT)
print("outside", *sorted(os.listdir(place)))
"""


@pytest.mark.parametrize(
    ("refuse", "seen"),
    [
        ([], "said\nfile\nmine\noutside file\n"),
        (
            ["refuse"],
            "said\ntouch: cannot touch '{place}/mine': Read-only file system\nfile\noutside file\n",
        ),
    ],
)
def test_further_file_systems_of_the_machine_are_shown_and_not_written_to(
    tmp_path: Path, refuse: list[str], seen: str
) -> None:
    lab, place = tmp_path / "lab", tmp_path / "disk"
    lab.mkdir()
    place.mkdir()
    prepare = f'mount -t tmpfs disk {place} && echo said > {place}/file && exec "$@"'
    words = [sys.executable, "-u", "-c", LOOK, str(lab), str(place), *refuse]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", prepare, "sh", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == seen.format(place=place), done.stderr
