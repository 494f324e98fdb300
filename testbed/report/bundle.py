"""The evidence of one request in one zip: readable anywhere, without root and without a testbed.

`path.html` and `path.txt` are for people, `path.json` for programs, `network.pcapng` for Wireshark.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import BinaryIO

from testbed.errors import UsageError
from testbed.flow.codec import path_from_json, path_to_json
from testbed.flow.paths import Path
from testbed.flow.sightings import Frame
from testbed.report import html, pcapng, text

#: Every file gets this time: two bundles of the same evidence are the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """What goes into the zip.

    `rules` and `conntrack` are texts by namespace, `logs` by name, `versions` by program; `objects`
    is the cluster's YAML; `expected` the oracle's words.
    """

    path: Path
    frames: tuple[Frame, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    conntrack: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    objects: str = ""
    expected: str = ""

    def files(self) -> dict[str, bytes]:
        """The zip's members by name."""
        capture = io.BytesIO()
        comments = pcapng.path_comments(self.path, self.frames)
        pcapng.write_frames(capture, self.frames, comments)
        made = {
            "path.html": html.render(self.path, expected=self.expected),
            "path.txt": text.render(self.path, all_rules=True),
            "path.json": path_to_json(self.path, indent=1),
            "objects.yaml": self.objects,
            "expected.txt": self.expected,
            "versions.json": json.dumps(dict(self.versions), indent=1),
        }
        for folder, texts in (
            ("rules", self.rules),
            ("conntrack", self.conntrack),
            ("logs", self.logs),
        ):
            made |= {f"{folder}/{_file_name(name)}.txt": words for name, words in texts.items()}
        files = {name: words.encode() for name, words in made.items() if words}
        return files | {"network.pcapng": capture.getvalue()}


def write(stream: BinaryIO, bundle: Bundle) -> None:
    """Write the zip to `stream`."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(bundle.files().items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)


def read_path(file: FilePath) -> Path:
    """The Path in a bundle. Raises UsageError where `file` is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return path_from_json(archive.read("path.json").decode())
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file") from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError) as error:
        raise UsageError(f"{file} is no evidence bundle: {error}") from None


def read_text(file: FilePath, name: str) -> str:
    """A text in a bundle; "" where it has none of that name."""
    with zipfile.ZipFile(file) as archive:
        return archive.read(name).decode() if name in archive.namelist() else ""


def _file_name(name: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in name)
