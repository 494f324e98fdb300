"""The evidence of an explained flow, as files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.errors import UsageError
from testbed.lab import state
from testbed.lab.explain import Explanation
from testbed.report import html, pcapng

if TYPE_CHECKING:
    from testbed.cluster import Cluster


def write_html(file: Path, lab: Cluster, explanation: Explanation) -> None:
    """The picture page. Raises UsageError where `file` can't be written, as all of these."""
    page = html.render(
        explanation.path,
        expected=explanation.expected(),
        difference="" if explanation.agrees else explanation.verdict(),
        places=lab.places(),
    )
    _write(file, page.encode())


def write_pcapng(file: Path, explanation: Explanation) -> None:
    """The flow's packets on every interface, with comments."""
    frames = explanation.observation.frames
    stream = io.BytesIO()
    pcapng.write_frames(stream, frames, pcapng.path_comments(explanation.path, frames))
    _write(file, stream.getvalue())


def write_bundle(file: Path, lab: Cluster, explanation: Explanation) -> None:
    """Path, packets, every namespace's rules and conntrack, objects, logs, versions."""
    made = state.bundle_of(
        lab,
        explanation.observation,
        expected=explanation.expected(),
        reason="" if explanation.agrees else explanation.verdict(),
        verdict=explanation.verdict(),
    )
    state.write_bundle(file, made)


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
