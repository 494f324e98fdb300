"""An evidence bundle holds everything and gives its Path back."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from path_example import delivered, frames

from testbed.errors import UsageError
from testbed.report import bundle


def made() -> bundle.Bundle:
    return bundle.Bundle(
        delivered(),
        frames(),
        rules={"w1": "*nat\nCOMMIT\n"},
        conntrack={"w1": "tcp …\n"},
        logs={"pod/web-0": "listening\n"},
        versions={"kernel": "6.18"},
        objects="kind: List\n",
        expected="delivered to one of 3",
    )


def test_every_part_has_its_file(tmp_path: Path) -> None:
    file = tmp_path / "evidence.zip"
    with file.open("wb") as stream:
        bundle.write(stream, made())
    assert sorted(zipfile.ZipFile(file).namelist()) == [
        "conntrack/w1.txt",
        "expected.txt",
        "logs/pod_web-0.txt",
        "network.pcapng",
        "objects.yaml",
        "path.html",
        "path.json",
        "path.txt",
        "rules/w1.txt",
        "versions.json",
    ]
    assert bundle.read_path(file) == delivered()


def test_the_same_evidence_makes_the_same_bytes() -> None:
    one, other = io.BytesIO(), io.BytesIO()
    bundle.write(one, made())
    bundle.write(other, made())
    assert one.getvalue() == other.getvalue()


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    with pytest.raises(UsageError, match="no such file"):
        bundle.read_path(file)
    file.write_text("no zip")
    with pytest.raises(UsageError, match="no evidence bundle"):
        bundle.read_path(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("other.txt", "x")
    with pytest.raises(UsageError, match="no evidence bundle"):
        bundle.read_path(file)
