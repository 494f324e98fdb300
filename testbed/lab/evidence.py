"""The evidence of an explained flow, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from testbed.errors import UsageError
from testbed.lab.explain import Explanation
from testbed.naming import run_directory
from testbed.probe import evidence
from testbed.report import bundle, html, pcapng

if TYPE_CHECKING:
    from testbed.cluster import Cluster

#: What of the store belongs into a bundle.
RESOURCES = ("nodes", "services", "endpointslices", "pods")


def words_of(explanation: Explanation) -> str:
    """Expectation and comparison, as in the text form."""
    return f"{explanation.expected()}\n{explanation.verdict()}\n"


def write_html(file: Path, explanation: Explanation) -> None:
    """The picture page. Raises UsageError where `file` can't be written, as all of these."""
    page = html.render(explanation.path, expected=words_of(explanation))
    _write(file, page.encode())


def write_pcapng(file: Path, explanation: Explanation) -> None:
    """The flow's packets on every interface, with comments."""
    frames = explanation.observation.frames
    comments = pcapng.path_comments(explanation.path, frames)
    _write(file, b"")
    with file.open("wb") as stream:
        pcapng.write_frames(stream, frames, comments)


def write_bundle(file: Path, lab: Cluster, explanation: Explanation) -> None:
    """Path, packets, every namespace's rules and conntrack, objects, logs, versions."""
    namespaces = lab.fabric.namespaces()
    made = bundle.Bundle(
        path=explanation.path,
        frames=explanation.observation.frames,
        rules=evidence.rules_of(namespaces),
        conntrack=evidence.conntrack_of(namespaces),
        logs=logs_of(lab),
        versions=evidence.versions(),
        objects=objects_of(lab),
        expected=words_of(explanation),
    )
    _write(file, b"")
    with file.open("wb") as stream:
        bundle.write(stream, made)


def objects_of(lab: Cluster) -> str:
    """The objects that traffic depends on, as YAML that `testbed predict -f` reads."""
    store = lab.core.control.store
    documents = lab.in_loop(lambda: [d for kind in RESOURCES for d in store.list(kind)])
    return yaml.safe_dump_all(documents, sort_keys=False)


def logs_of(lab: Cluster) -> dict[str, str]:
    """What Pods have printed."""
    found = sorted((run_directory(lab.name) / "logs").glob("*.log"))
    return {file.stem: file.read_text(errors="replace") for file in found}


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
