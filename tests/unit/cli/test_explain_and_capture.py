"""Words that `explain`, `probe` and `capture` refuse before a lab is asked."""

from __future__ import annotations

import pytest

from testbed.cli.main import main
from testbed.errors import EXIT_USAGE


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1"])
@pytest.mark.parametrize("verb", ["explain", "probe"])
def test_a_timeout_is_a_number_of_seconds(
    verb: str, seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "client", "svc/web", f"--timeout={seconds}"]) == EXIT_USAGE
    assert "a number of seconds above 0" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1"])
def test_a_capture_lasts_a_number_of_seconds(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["capture", "--all", f"--seconds={seconds}", "-w", "-"]) == EXIT_USAGE
    assert "a number of seconds, not below 0" in capsys.readouterr().err
