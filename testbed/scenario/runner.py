"""Runs scenarios, each in a lab of its own, and says how they ended."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import features
from testbed.errors import (
    EXIT_CANNOT_RUN,
    EXIT_CHECK_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    CheckFailedError,
    TestbedError,
)
from testbed.scenario.spec import Scenario
from testbed.scenario.steps import Steps

if TYPE_CHECKING:
    from testbed.cluster import Cluster


class Status(Enum):
    PASSED = "passed"
    FAILED = "FAILED"
    SKIPPED = "skipped"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Result:
    """How one scenario ended in one proxy mode. `reason` explains any status but PASSED.

    `evidence` is the bundle that a failure left, "" where there is none.
    """

    scenario: Scenario
    mode: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    steps: list[dict[str, Any]] = field(default_factory=list)
    evidence: str = ""

    @property
    def why(self) -> str:
        """The reason in one line: what was expected; for an error in the scenario, the error."""
        lines = self.reason.strip().splitlines() or [""]
        return lines[-1] if lines[0].startswith("Traceback") else lines[0]

    def as_values(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "name": self.scenario.name,
            "title": self.scenario.title,
            "mode": self.mode,
            "status": self.status.value.lower(),
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "steps": self.steps,
            "evidence": self.evidence,
        }


def run_scenario(
    scenario: Scenario,
    mode: str,
    tell: Callable[[str], None],
    *,
    evidence: Path | None = None,
    **options: Any,
) -> Result:
    """Run one scenario in a new lab; never raises for what the scenario does.

    One that fails leaves the lab's state at that moment in directory `evidence`.
    """
    if lacking := features.missing((*features.MODE_NEEDS.get(mode, ()), *scenario.needs)):
        reason = "; ".join(f"needs {f.feature.name}: {f.problem}" for f in lacking)
        return Result(scenario, mode, Status.SKIPPED, reason)
    steps = Steps(tell)
    file = evidence / f"{scenario.name}-{mode}.zip" if evidence is not None else None
    if file is not None:
        file.unlink(missing_ok=True)
    begin = time.perf_counter()
    try:
        _play(scenario, mode, steps, options, file)
        status, reason = Status.PASSED, ""
    except CheckFailedError as error:
        status, reason = Status.FAILED, str(error)
    except TestbedError as error:
        status, reason = Status.ERROR, str(error)
    except Exception:
        status, reason = Status.ERROR, traceback.format_exc()
    took = time.perf_counter() - begin
    kept = str(file) if file is not None and file.exists() else ""
    return Result(scenario, mode, status, reason, took, steps.as_values(), kept)


def _play(
    scenario: Scenario, mode: str, steps: Steps, options: dict[str, Any], evidence: Path | None
) -> None:
    from testbed.cluster import Cluster

    settings = {**scenario.options, **options, "proxy": mode}
    with Cluster(scenario.topology, name=f"run-{os.getpid()}", **settings) as lab:
        try:
            scenario.function(lab, steps)
        except Exception as error:
            if evidence is not None:
                _keep_evidence(lab, steps, error, evidence)
            raise


def _keep_evidence(lab: Cluster, steps: Steps, error: Exception, file: Path) -> None:
    from testbed.lab.state import bundle_of, write_bundle

    latest = list(lab.observations)
    observed = next((each for each in reversed(latest) if each.path is steps.failed), None)
    if observed is None and latest:
        observed = latest[-1]
    known = isinstance(error, TestbedError)
    reason = str(error).split("\n")[0] if known else "".join(traceback.format_exception(error))
    try:
        write_bundle(file, bundle_of(lab, observed, reason=reason, logs={"steps": steps.text()}))
    except (TestbedError, OSError) as trouble:  # what failed must be told all the same
        steps.note(f"no evidence: {trouble}")


def exit_code(results: Sequence[Result]) -> int:
    """0 if something passed and nothing failed; 1 for a failure; 2 for nothing run; 3 if all of it
    was skipped."""
    if not results:
        return EXIT_USAGE
    if any(result.status in (Status.FAILED, Status.ERROR) for result in results):
        return EXIT_CHECK_FAILED
    if all(result.status is Status.SKIPPED for result in results):
        return EXIT_CANNOT_RUN
    return EXIT_OK
