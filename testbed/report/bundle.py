"""The evidence of one request in one zip: readable anywhere, without root and without a testbed.

`path.html` and `path.txt` are for people, `path.json` for programs, `network.pcapng` for Wireshark.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path as FilePath
from typing import BinaryIO

from testbed.errors import UsageError
from testbed.flow.codec import path_from_json, path_to_json
from testbed.flow.paths import Path
from testbed.flow.sightings import Frame
from testbed.report import html, pcapng, text
from testbed.report.stops import Place

#: Every file gets this time: two bundles of the same evidence are the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
#: What the files of a bundle are, by the beginning of their names.
_CONTENTS = {
    "path.html": "the path as a page with pictures",
    "path.txt": "the path as text",
    "path.json": "the path for programs (docs/path-schema.md)",
    "network.pcapng": "every packet on every interface, for Wireshark",
    "objects.yaml": "the cluster's objects",
    "reason.txt": "the check that failed",
    "expected.txt": "what should have happened",
    "verdict.txt": "whether it did: `as expected`, or the difference",
    "places.json": "the lab's machines",
    "versions.json": "kernel and tools",
    "rules/": "rules, addresses, routes of this namespace",
    "conntrack/": "conntrack entries of this namespace",
    "logs/": "log",
}


@dataclass(frozen=True)
class Bundle:
    """What goes into the zip.

    `rules` and `conntrack` are texts by namespace, `logs` by name, `versions` by program; `objects`
    is the cluster's YAML; `expected` the oracle's words, `reason` those of a check that failed;
    `verdict` says whether the path is as expected, "" where nobody compared; `places` the lab's
    machines. `path` is None where it failed before anything was sent.
    """

    path: Path | None
    frames: tuple[Frame, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    conntrack: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    objects: str = ""
    expected: str = ""
    reason: str = ""
    places: tuple[Place, ...] = ()
    verdict: str = ""

    def files(self) -> dict[str, bytes]:
        """The zip's members by name."""
        made = {
            "objects.yaml": self.objects,
            "expected.txt": self.expected,
            "reason.txt": self.reason,
            "verdict.txt": self.verdict,
            "versions.json": json.dumps(dict(self.versions), indent=1),
        }
        if self.places:
            made["places.json"] = json.dumps([asdict(place) for place in self.places], indent=1)
        if self.path is not None:
            made |= {
                "path.html": html.render(
                    self.path,
                    expected=self.expected,
                    difference=self.reason,
                    places=self.places,
                ),
                "path.txt": text.render(self.path, all_rules=True),
                "path.json": path_to_json(self.path, indent=1),
            }
        for folder, texts in (
            ("rules", self.rules),
            ("conntrack", self.conntrack),
            ("logs", self.logs),
        ):
            made |= {f"{folder}/{_file_name(name)}.txt": words for name, words in texts.items()}
        files = {name: words.encode() for name, words in made.items() if words}
        capture = io.BytesIO()
        comments = pcapng.path_comments(self.path, self.frames) if self.path else {}
        pcapng.write_frames(capture, self.frames, comments)
        return files | {"network.pcapng": capture.getvalue()}


@dataclass(frozen=True, slots=True)
class Report:
    """What a bundle says to a reader; fields as in Bundle."""

    path: Path | None
    reason: str
    expected: str
    versions: Mapping[str, str]
    places: tuple[Place, ...]
    verdict: str


def write(stream: BinaryIO, bundle: Bundle) -> None:
    """Write the zip to `stream`."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(bundle.files().items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)


def read(file: FilePath) -> Report:
    """What a bundle says. Raises UsageError where `file` is none."""
    with _opened(file) as archive:
        names = set(archive.namelist())

        def words(name: str) -> str:
            return archive.read(name).decode() if name in names else ""

        if not names & {"path.json", "reason.txt"}:
            raise KeyError("neither path.json nor reason.txt in it")
        return Report(
            path_from_json(words("path.json")) if "path.json" in names else None,
            words("reason.txt"),
            words("expected.txt"),
            json.loads(words("versions.json") or "{}"),
            tuple(Place(**each) for each in json.loads(words("places.json") or "[]")),
            words("verdict.txt"),
        )


def read_path(file: FilePath) -> Path:
    """The Path in a bundle. Raises UsageError where there is none."""
    path = read(file).path
    if path is None:
        raise UsageError(f"{file} holds no path: nothing was sent before it failed")
    return path


def read_text(file: FilePath, name: str) -> str:
    """A text in a bundle; "" where it has none of that name. Raises UsageError."""
    with _opened(file) as archive:
        return archive.read(name).decode() if name in archive.namelist() else ""


def contents(file: FilePath) -> list[tuple[str, int, str]]:
    """(name, bytes, what it is) of every file in a bundle; raises UsageError."""
    with _opened(file) as archive:
        return [
            (entry.filename, entry.file_size, _what(entry.filename)) for entry in archive.infolist()
        ]


def read_file(file: FilePath, name: str) -> bytes:
    """One file of a bundle; raises UsageError where it isn't in it."""
    with _opened(file) as archive:
        if name not in archive.namelist():
            raise UsageError(f"{file} has no {name!r}: `testbed report --list {file}`")
        return archive.read(name)


def extract(file: FilePath, directory: FilePath) -> int:
    """Unpack a bundle into `directory`, never outside of it; how many files there were."""
    with _opened(file) as archive:
        archive.extractall(directory)
        return len(archive.namelist())


@contextmanager
def _opened(file: FilePath) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file") from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError) as error:
        raise UsageError(f"{file} is no evidence bundle: {error}") from None


def _what(name: str) -> str:
    return next((words for start, words in _CONTENTS.items() if name.startswith(start)), "")


def _file_name(name: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in name)
