"""Warnings about the volumes of Pods: drivers that are gone, files in each other's way.

Source: pkg/api/pod/warnings.go (release 1.35).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.gojson import quote

_DEPRECATED = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageOS": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "ephemeral": "",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
#: The sources with `items`, and the member of a volume of its own that names what is mounted.
_NAMED = {"configMap": "name", "secret": "secretName", "downwardAPI": ""}


class _File(NamedTuple):
    path: str
    source: str

    def __str__(self) -> str:
        return quote(self.path) + (f" ({self.source})" if self.source else "")


def volumes(spec: Document, path: str) -> list[str]:
    """What is to be said of the volumes of a Pod's spec at `path`."""
    found = []
    for i, volume in enumerate(spec.get("volumes", ())):
        where = f"{path}.volumes[{i}]"
        for driver, words in _DEPRECATED.items():
            if driver not in volume:
                continue
            if words:
                found.append(f"{where}.{driver}: {words}")
            else:
                claim = volume[driver].get("volumeClaimTemplate", {}).get("spec", {})
                found += _claim(claim, f"{where}.{driver}.volumeClaimTemplate.spec.resources")
    for volume in spec.get("volumes", ()):
        found += _overlaps(volume)
    return found


def fraction(amounts: Document, name: str, path: str) -> list[str]:
    """An amount of bytes isn't a whole number, to the thousandth."""
    amount = amounts.get(name, "0")
    number, parts = quantity.parse(amount)[0].as_integer_ratio()
    if not -(-number * 1000 // parts) % 1000:
        return []
    words = f"fractional byte value {quote(amount)} is invalid, must be an integer"
    return [f"{path}[{name}]: {words}"]


def _claim(claim: Document, path: str) -> list[str]:
    resources = claim.get("resources", {})
    return [
        warning
        for kind in ("requests", "limits")
        for warning in fraction(resources.get(kind, {}), "storage", f"{path}.{kind}")
    ]


def _overlaps(volume: Document) -> Iterator[str]:
    name = quote(volume.get("name", ""))
    for kind, member in _NAMED.items():
        if kind in volume:
            files = _files(volume[kind], "")
            title = _title(kind, volume[kind].get(member, ""))
            yield from (f"volume {name} ({title}): {words}" for words in _collisions(files))
    if "projected" not in volume:
        return
    seen: list[_File] = []
    for source in volume["projected"].get("sources", ()):
        if not source:
            yield f"volume {name} (Projected) has no sources provided"
        for words in _collisions(_projected(source), seen):
            yield f"volume {name} (Projected): {words}"


def _title(kind: str, name: str) -> str:
    title = kind[0].upper() + kind[1:]
    return title if kind == "downwardAPI" else f"{title} {quote(name)}"


def _files(source: Document, title: str) -> list[_File]:
    return [_File(item.get("path", ""), title) for item in source.get("items", ())]


def _projected(source: Document) -> list[_File]:
    """The files of one source of a projected volume."""
    for kind in _NAMED:
        if "items" in source.get(kind, {}):
            return _files(source[kind], _title(kind, source[kind].get("name", "")))
    if "serviceAccountToken" in source:
        return [_File(source["serviceAccountToken"].get("path", ""), "ServiceAccountToken")]
    return []


def _collisions(files: list[_File], seen: list[_File] | None = None) -> Iterator[str]:
    """Files at one place, or one at a directory of the other; `seen` grows by `files`."""
    seen = [] if seen is None else seen
    for given in files:
        file = _File(given.path.rstrip("/"), given.source)
        for other in seen:
            if file.path and other.path and _nested(file.path, other.path):
                yield f"overlapping paths: {file} with {other}"
        seen.append(file)


def _nested(path: str, other: str) -> bool:
    return f"{other}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other}/")
