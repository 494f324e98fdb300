"""The Python on the pages does what the pages say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.scenario.loader import load_scenarios
from testbed.scenario.runner import Status, run_scenario

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[3]
BLOCKS = [
    (page.name, block)
    for page in (ROOT / "README.md", ROOT / "docs/writing-scenarios.md")
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]
SCENARIOS = [pytest.param(b, id=f"{n}-{i}") for i, (n, b) in enumerate(BLOCKS) if "@scenario" in b]
PROGRAMS = [pytest.param(b, id=f"{n}-{i}") for i, (n, b) in enumerate(BLOCKS) if "with Cl" in b]


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("block", SCENARIOS)
def test_a_scenario_of_a_page_passes(
    block: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    file = tmp_path / "of_a_page.py"
    file.write_text(block)
    (scenario,) = load_scenarios(file)
    lines: list[str] = []
    result = run_scenario(scenario, mode, lines.append)
    assert result.status is Status.PASSED, "\n".join([result.reason, *lines[-60:]])


@pytest.mark.parametrize("block", PROGRAMS)
def test_a_program_of_a_page_runs(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(block, "page", "exec"), {})
