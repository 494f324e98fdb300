"""The store on disk: what a killed control plane needs to go on where it was.

Two files: `store.snapshot`, the whole state at one version, and `store.journal`, every change
since. Both hold lines of JSON, `[version, resource, namespace, name, document]`, where the document
is null for an object that is gone; a snapshot begins with a line that has a version alone.

A change is in the journal before anybody hears of it. It is handed to the kernel, not forced to the
disk: the lab's namespaces don't outlive the machine either. A line that was being written when the
process died is cut off; entries that the snapshot has already are passed over, so the journal can
be emptied after a new snapshot has its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from testbed.api.documents import Document
from testbed.errors import TestbedError

SNAPSHOT, JOURNAL = "store.snapshot", "store.journal"
#: A new snapshot is due when the journal has this many bytes and is so many times the snapshot.
JOURNAL_BYTES = 8 * 1024 * 1024
JOURNAL_SHARE = 4

#: By resource, then by (namespace, name).
Objects: TypeAlias = dict[str, dict[tuple[str, str], Document]]

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Journal:
    """The store's files in `directory`; `limit` is JOURNAL_BYTES for this one."""

    def __init__(self, directory: Path, limit: int = JOURNAL_BYTES) -> None:
        self._directory = directory
        self._limit = limit
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(directory / JOURNAL, flags, 0o600)
        self._size = os.fstat(self._file).st_size
        self._snapshot_size = 0

    @staticmethod
    def discard(directory: Path) -> None:
        """Remove the files of an earlier store."""
        for name in (SNAPSHOT, JOURNAL):
            (directory / name).unlink(missing_ok=True)

    def load(self) -> tuple[int, Objects]:
        """The version and the objects that were stored last: (0, {}) in a new directory.

        Raises TestbedError where a file is damaged anywhere but at the journal's end.
        """
        version, objects = 0, Objects()
        snapshot = self._directory / SNAPSHOT
        if snapshot.exists():
            data = snapshot.read_bytes()
            self._snapshot_size = len(data)
            for entry, _ in _entries(data, SNAPSHOT):
                version = max(version, _apply(objects, entry))
        data = (self._directory / JOURNAL).read_bytes()
        self._size = 0
        for entry, end in _entries(data, JOURNAL, torn=True):
            self._size = end
            if entry[0] > version:
                version = _apply(objects, entry)
        if self._size < len(data):
            os.ftruncate(self._file, self._size)
        return version, objects

    def write(
        self, version: int, resource: str, key: tuple[str, str], document: Document | None
    ) -> None:
        """Note that an object is now `document`, or (None) gone. Raises OSError."""
        line = _encode([version, resource, *key, document]).encode() + b"\n"
        written = os.write(self._file, line)
        if written < len(line):  # a full disk: without its end the line would spoil the next one
            os.ftruncate(self._file, self._size)
            raise OSError(f"{self._directory / JOURNAL}: only a part of an entry could be written")
        self._size += written

    @property
    def is_long(self) -> bool:
        """Whether a new snapshot would be shorter than the changes since the last."""
        return self._size > max(self._limit, JOURNAL_SHARE * self._snapshot_size)

    def compact(self, version: int, objects: Mapping[str, Mapping[Any, Document]]) -> None:
        """Make a snapshot of the whole state, and empty the journal."""
        temporary = self._directory / f"{SNAPSHOT}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encode([version, "", "", "", None]).encode() + b"\n")
            for resource, held in objects.items():
                for key, document in held.items():
                    entry = [int(document["metadata"]["resourceVersion"]), resource, *key, document]
                    file.write(_encode(entry).encode() + b"\n")
            self._snapshot_size = file.tell()
        temporary.replace(self._directory / SNAPSHOT)
        os.ftruncate(self._file, 0)
        self._size = 0

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


def _entries(data: bytes, name: str, *, torn: bool = False) -> Iterator[tuple[list[Any], int]]:
    """Every entry with the place where it ends; with `torn` the last may be broken off."""
    position = number = 0
    while position < len(data):
        number += 1
        end = data.find(b"\n", position) + 1
        entry = _decoded(data[position:end]) if end else None
        if entry is None:
            if torn and end in (0, len(data)):
                return
            raise TestbedError(f"{name} is damaged at line {number}: `testbed clean` removes it")
        yield entry, end
        position = end


def _decoded(line: bytes) -> list[Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, list) and len(entry) == 5 else None


def _apply(objects: Objects, entry: list[Any]) -> int:
    """Take one entry in; its version."""
    version, resource, namespace, name, document = entry
    if resource:
        held = objects.setdefault(resource, {})
        if document is None:
            held.pop((namespace, name), None)
        else:
            held[namespace, name] = document
    return int(version)
