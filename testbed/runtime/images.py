"""What a container runs: images are names of host programs, or of the echo application.

Images aren't pulled. One table says which program of this machine stands for which image; users add
to it by a YAML file. An image that no entry knows is the echo application.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from testbed.api.documents import Document
from testbed.errors import UsageError

#: Read where a lab's options name no other file.
USER_FILE = Path("~/.config/testbed/images.yaml")

_NGINX = """\
daemon off;
pid /var/lib/nginx/nginx.pid;
error_log stderr;
events {}
http {
  access_log /dev/stdout;
  include /etc/nginx/mime.types;
  include /etc/nginx/conf.d/*.conf;
}
"""
_NGINX_SERVER = """\
server {
  listen 80;
  listen [::]:80;
  root /usr/share/nginx/html;
}
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A program that stands for an image.

    `entrypoint` and `arguments` as in the image (empty entrypoint: the echo application); `package`
    is the Debian package of the program. `scratch` are directories of which every container gets
    its own, empty one; `files` are texts by the place of the file they hide.
    """

    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    package: str = ""
    scratch: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


ECHO = Image()
_SHELL = Image((), ("sh",))
_BASH = Image((), ("bash",))

#: By repository, without registry and tag; the last part alone matches too.
BUILT_IN: Mapping[str, Image] = {
    "alpine": _SHELL,
    "bash": Image(("bash",), (), "bash"),
    "busybox": _SHELL,
    "centos": _BASH,
    "curlimages/curl": Image(("curl",), (), "curl"),
    "debian": _BASH,
    "fedora": _BASH,
    "haproxy": Image(("haproxy",), ("-f", "/usr/local/etc/haproxy/haproxy.cfg"), "haproxy"),
    "memcached": Image(("memcached",), ("-u", "nobody"), "memcached"),
    "netshoot": _BASH,
    "nginx": Image(
        ("nginx",),
        (),
        "nginx-light",
        scratch=("/var/lib/nginx", "/var/log/nginx"),
        files={
            "/etc/nginx/nginx.conf": _NGINX,
            "/etc/nginx/conf.d/default.conf": _NGINX_SERVER,
        },
    ),
    "pause": Image(("sleep",), ("infinity",), "coreutils"),
    "python": Image(("python3",), (), "python3"),
    "redis": Image(
        ("redis-server",),
        ("--protected-mode", "no", "--save", ""),
        "redis-server",
        scratch=("/var/lib/redis",),
    ),
    "ubuntu": _BASH,
    "valkey": Image(("valkey-server",), ("--protected-mode", "no", "--save", ""), "valkey-server"),
    "e2e-test-images/agnhost": ECHO,
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """What to run for a container: the argv, and the image that it comes from."""

    argv: tuple[str, ...]
    image: Image


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a container can't be started: kubelet's reason, and a message."""

    reason: str
    message: str


class Images:
    """The table of one lab: the built-in entries, and the user's before them."""

    def __init__(self, more: Mapping[str, Image] | None = None) -> None:
        self._table = {**BUILT_IN, **(more or {})}

    @classmethod
    def load(cls, path: Path | None = None) -> Images:
        """The built-in table and the entries of a file; without `path`, the user's, if there is.

        Raises UsageError for a file that can't be read or says something else.
        """
        file = path or USER_FILE.expanduser()
        if path is None and not file.exists():
            return cls()
        try:
            loaded = yaml.safe_load(file.read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(f"{file}: {str(error).splitlines()[0]}") from None
        if not isinstance(loaded, dict):
            raise UsageError(f"{file}: image names and their programs are expected")
        return cls({str(name): _entry(file, name, value) for name, value in loaded.items()})

    def find(self, image: str) -> Image:
        """The entry of an image; the echo application for one that isn't known."""
        return self._known(image) or ECHO

    def stands_in(self, container: Document) -> bool:
        """Whether a container is the echo application because no entry knows its image."""
        return not container.get("command") and self._known(container.get("image") or "") is None

    def _known(self, image: str) -> Image | None:
        repository = repository_of(image)
        last = repository.rpartition("/")[2]
        return self._table.get(repository) or self._table.get(last)

    def resolve(self, container: Document) -> Invocation | Refusal | None:
        """What a container runs; None for the echo application.

        Whether there is the program of a `command` is seen in the container alone.
        """
        image = self.find(container.get("image") or "")
        command = container.get("command")
        if image == ECHO and not command:
            return None
        argv = _argv(image, command, container.get("args"))
        if command or not image.package or find_program(argv[0]):
            return Invocation(tuple(argv), image)
        message = f"program {argv[0]!r} is not installed on this machine"
        return Refusal("ErrImagePull", f"{message}: apt-get install {image.package}")


def _argv(image: Image, command: list[str] | None, arguments: list[str] | None) -> list[str]:
    if command:
        return [*command, *(arguments or ())]
    if arguments is None:
        return [*image.entrypoint, *image.arguments]
    # `args: [redis-server, …]`: the images' entrypoint scripts take the program's own name too.
    if image.entrypoint and arguments[:1] == list(image.entrypoint[:1]):
        return list(arguments)
    return [*image.entrypoint, *arguments]


def find_program(name: str) -> str | None:
    """The path of a program, also of one in /usr/sbin."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def repository_of(image: str) -> str:
    """`redis` of `docker.io/library/redis:7@sha256:…`: no registry, tag or digest."""
    name = image.partition("@")[0]
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        name = rest
    path, slash, last = name.rpartition("/")
    return (path + slash + last.partition(":")[0]).removeprefix("library/")


def agnhost_ports(container: Document) -> set[tuple[str, int]]:
    """Ports that the arguments of agnhost's netexec and serve-hostname ask for."""
    arguments = [*(container.get("command") or ()), *(container.get("args") or ())]
    protocols = {"--http-port": "TCP", "--port": "TCP", "--udp-port": "UDP", "--sctp-port": "SCTP"}
    found: set[tuple[str, int]] = set()
    for index, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if not equals and index + 1 < len(arguments):
            value = arguments[index + 1]
        if name in protocols and value.isdigit() and 0 < int(value) < 65536:
            found.add((protocols[name], int(value)))
    return found


def _entry(file: Path, name: object, value: object) -> Image:
    """An entry of the user's file: a command line, a list, or a mapping with `program`."""
    settings: dict[str, Any] = value if isinstance(value, dict) else {"program": value}
    program = settings.get("program")
    unknown = set(settings) - {"program", "package", "scratch"}
    if unknown or not isinstance(program, str | list) or not program:
        raise UsageError(f"{file}: image {name}: write a command line, or program and package")
    argv = shlex.split(program) if isinstance(program, str) else [str(word) for word in program]
    if argv == ["echo-application"]:
        return ECHO
    return Image(
        tuple(argv[:1]),
        tuple(argv[1:]),
        str(settings.get("package") or argv[0]),
        tuple(settings.get("scratch") or ()),
    )
