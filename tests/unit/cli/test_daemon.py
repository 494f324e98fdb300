"""What a command says about a lab that doesn't answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cli import daemon
from testbed.cli import main as cli
from testbed.errors import TestbedError


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A lab whose socket takes requests, and nobody reads them."""
    monkeypatch.setenv("TESTBED_RUN_DIR", str(tmp_path))
    monkeypatch.setitem(daemon._PATIENCE, "list", 0.01)
    (tmp_path / "hung").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "hung" / daemon.SOCKET_NAME))
        listener.listen()
        yield "hung"


def test_a_lab_that_does_not_answer_is_named_with_what_to_do(silent: str) -> None:
    with pytest.raises(TestbedError, match="'hung' doesn't answer; testbed clean --force"):
        daemon.ask(silent, "list")


def test_a_lab_that_does_not_answer_does_not_hide_the_others(
    silent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list"]) == 0
    assert "doesn't answer" in capsys.readouterr().out
