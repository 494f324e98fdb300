"""What the volumes of a Pod hold, as values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume: its bytes (or who makes them when they are needed), its permissions."""

    data: bytes | Callable[[], bytes]
    mode: int


@dataclass(frozen=True, slots=True)
class Files:
    """A configMap, secret, downwardAPI or projected volume: files by their path in it."""

    entries: Mapping[str, File]


@dataclass(frozen=True, slots=True)
class EmptyDir:
    """A directory that lives as long as its Pod."""


@dataclass(frozen=True, slots=True)
class HostPath:
    """A path of the machine; `kind` is the type that it must have ("" for any)."""

    path: str
    kind: str = ""


Volume: TypeAlias = Files | EmptyDir | HostPath
