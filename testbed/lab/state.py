"""A lab's state at this moment, as a bundle of evidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

import yaml

from testbed.errors import UsageError
from testbed.naming import run_directory
from testbed.probe import evidence
from testbed.probe.observe import Observation
from testbed.report import bundle

if TYPE_CHECKING:
    from testbed.cluster import Cluster


def bundle_of(
    lab: Cluster,
    observed: Observation | None = None,
    *,
    reason: str = "",
    expected: str = "",
    verdict: str = "",
    logs: Mapping[str, str] | None = None,
) -> bundle.Bundle:
    """Everything that the lab knows now, with an observation: its path and its packets."""
    namespaces = lab.fabric.namespaces()
    return bundle.Bundle(
        observed.path if observed else None,
        observed.frames if observed else (),
        rules=evidence.rules_of(namespaces),
        conntrack=evidence.conntrack_of(namespaces),
        logs={**_logs(lab), **(logs or {})},
        versions=evidence.versions(),
        objects=yaml.safe_dump_all(lab.documents(), sort_keys=False),
        expected=expected,
        reason=reason,
        verdict=verdict,
        places=tuple(lab.places()),
    )


def write_bundle(file: FilePath, made: bundle.Bundle) -> None:
    """Write it, with the directories above it; raises UsageError where that can't be done."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            bundle.write(stream, made)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def _logs(lab: Cluster) -> dict[str, str]:
    """What Pods have printed, by file."""
    found = sorted((run_directory(lab.name) / "logs").glob("*.log"))
    return {file.stem: file.read_text(errors="replace") for file in found}
