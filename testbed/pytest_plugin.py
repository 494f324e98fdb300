"""pytest knows scenarios and labs.

Scenario files are collected like test files (`pytest scenarios/`), a test per proxy mode. Tests of
your own ask for the fixture `lab`; `@pytest.mark.testbed(topology=…, proxy=…)` sets it up.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from testbed.cluster import Cluster
    from testbed.scenario.spec import Scenario

_labs = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "testbed(topology, **options): the lab that fixture `lab` makes for this test"
    )


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running lab (testbed.cluster.Cluster), ended after the test; skipped without root."""
    from testbed.cluster import Cluster

    if os.geteuid() != 0:
        pytest.skip("making network namespaces needs root")
    marker = request.node.get_closest_marker("testbed")
    arguments: tuple[Any, ...] = marker.args if marker else ()
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    with Cluster(*arguments, name=f"pytest-{os.getpid()}-{next(_labs)}", **options) as cluster:
        yield cluster


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Files that use the scenario language, wherever they are."""
    if file_path.suffix != ".py" or file_path.name.startswith(("_", "test_", "conftest")):
        return None
    try:
        mine = "from testbed.scenario import" in file_path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return ScenarioFile.from_parent(parent, path=file_path) if mine else None


class ScenarioFile(pytest.File):
    """A file of scenarios."""

    def collect(self) -> Iterable[pytest.Item]:
        from testbed.scenario.loader import scenarios_of

        for scenario in scenarios_of(self.path):
            for mode in scenario.modes:
                yield ScenarioItem.from_parent(
                    self, name=f"{scenario.name}[{mode}]", scenario=scenario, mode=mode
                )


class ScenarioItem(pytest.Item):
    """One scenario in one proxy mode."""

    def __init__(self, *, scenario: Scenario, mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario
        self.mode = mode
        self.add_marker("kernel")

    def runtest(self) -> None:
        from testbed.scenario.runner import Status, run_scenario

        if os.geteuid() != 0:
            pytest.skip("making network namespaces needs root")
        lines: list[str] = []
        result = run_scenario(self.scenario, self.mode, lines.append, evidence=Path("evidence"))
        self.add_report_section("call", "steps", "\n".join(lines))
        if result.status is Status.SKIPPED:
            pytest.skip(result.reason)
        if result.status is not Status.PASSED:
            kept = f"\nevidence: {result.evidence}" if result.evidence else ""
            raise ScenarioFailedError(result.reason + kept)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ScenarioFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"scenario {self.name}"


class ScenarioFailedError(Exception):
    """A scenario's checks failed; the text has the evidence."""
