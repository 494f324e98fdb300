"""Which program stands for an image, and what is said where it isn't installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.errors import UsageError
from testbed.runtime.images import Image, Images, Invocation, Refusal, agnhost_ports, repository_of


def argv(images: Images, image: str, **container: Any) -> list[str] | None:
    found = images.resolve({"name": "c", "image": image, **container})
    assert not isinstance(found, Refusal), found
    return list(found.argv) if isinstance(found, Invocation) else None


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("redis", "redis"),
        ("redis:7-alpine", "redis"),
        ("docker.io/library/redis:7", "redis"),
        ("localhost:5000/team/app:1", "team/app"),
        ("registry.k8s.io/e2e-test-images/agnhost:2.53", "e2e-test-images/agnhost"),
        ("curlimages/curl@sha256:0123", "curlimages/curl"),
    ],
)
def test_an_image_is_known_by_its_repository(image: str, repository: str) -> None:
    assert repository_of(image) == repository


def test_an_unknown_image_is_the_echo_application_unless_a_command_is_given() -> None:
    images = Images()
    assert argv(images, "example.com/web:1") is None
    assert argv(images, "example.com/web:1", args=["--verbose"]) is None
    assert argv(images, "example.com/web:1", command=["sh"], args=["-c", "x"]) == ["sh", "-c", "x"]


def test_arguments_take_the_place_of_an_images_own() -> None:
    images = Images({"app": Image(("sh",), ("-c", "default"))})
    assert argv(images, "app") == ["sh", "-c", "default"]
    assert argv(images, "app", args=["-c", "mine"]) == ["sh", "-c", "mine"]
    assert argv(images, "app", args=["sh", "-c", "mine"]) == ["sh", "-c", "mine"]
    assert argv(images, "busybox") == ["sh"]


def test_a_program_that_is_missing_names_its_package() -> None:
    images = Images({"app": Image(("no-such-program",), (), "some-package")})
    assert images.resolve({"image": "app"}) == Refusal(
        "ErrImagePull",
        "program 'no-such-program' is not installed on this machine: apt-get install some-package",
    )


def test_a_command_is_looked_for_in_the_container_and_not_on_the_machine() -> None:
    found = Images().resolve({"image": "busybox", "command": ["/scripts/of-a-volume"]})
    assert isinstance(found, Invocation)
    assert found.argv == ("/scripts/of-a-volume",)


def test_a_users_file_adds_to_the_table(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_text(
        "080196/hello-redis: sh -c 'sleep 1'\n"
        "team/app: {program: [sh], package: dash, scratch: [/var/lib/app]}\n"
        "redis: echo-application\n"
    )
    images = Images.load(file)
    assert argv(images, "080196/hello-redis") == ["sh", "-c", "sleep 1"]
    assert images.find("registry.local/team/app:2").scratch == ("/var/lib/app",)
    assert argv(images, "redis") is None


@pytest.mark.parametrize("text", ["- a list\n", "app: 5\n", "app: {programm: sh}\n", "{"])
def test_a_file_that_says_something_else_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "images.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"images\.yaml") as refused:
        Images.load(file)
    assert "\n" not in str(refused.value)


def test_agnhosts_arguments_name_its_ports() -> None:
    netexec = ["netexec", "--http-port=8083", "--udp-port", "8081"]
    assert agnhost_ports({"args": netexec}) == {("TCP", 8083), ("UDP", 8081)}
