"""Words that `explain`, `probe` and `capture` refuse before a lab is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed.cli.main import main
from testbed.errors import EXIT_OK, EXIT_USAGE


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


def test_a_terminal_gets_no_capture_but_the_command_that_shows_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lab is asked: there is none."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    words = ["capture", "--all", "--filter", "tcp port 80", "-w", "-", "--lab", "none"]
    assert main(words) == EXIT_OK
    told = capsys.readouterr()
    assert told.out == ""
    shown = "sudo testbed capture --all --filter 'tcp port 80' --lab none -w - | wireshark -k -i -"
    assert told.err.splitlines()[0] == f"live in Wireshark: {shown}"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert main(words) == EXIT_USAGE
    assert "no lab 'none' is running" in capsys.readouterr().err


def test_a_refused_capture_leaves_the_file_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "of-yesterday.pcapng"
    file.write_bytes(b"packets")
    assert main(["capture", "--all", "-w", str(file), "--lab", "none"]) == EXIT_USAGE
    assert file.read_bytes() == b"packets"
    missing = tmp_path / "nowhere" / "x.pcapng"
    assert main(["capture", "--all", "-w", str(missing), "--lab", "none"]) == EXIT_USAGE
    assert f"{missing}: No such file or directory" in capsys.readouterr().err
