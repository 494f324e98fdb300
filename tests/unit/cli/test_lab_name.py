"""The lab's name as a word or as an option, and the directory that it gives."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import pytest

from testbed.cli import down, list, resume
from testbed.errors import UsageError
from testbed.naming import RUN_DIRECTORY_LIMIT, run_directory

VERBS = {"list": list, "resume": resume, "down": down}


def lab(module: ModuleType, *words: str) -> str | None:
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(words)
    name: str | None = args.lab
    return name


@pytest.mark.parametrize("verb", VERBS)
def test_the_lab_is_named_by_a_word_or_by_the_option(verb: str) -> None:
    assert lab(VERBS[verb], verb, "mine") == "mine"
    assert lab(VERBS[verb], verb, "--lab", "mine") == "mine"
    assert lab(VERBS[verb], verb) == (None if verb == "list" else "lab")


@pytest.mark.parametrize("verb", VERBS)
def test_two_names_are_refused(verb: str) -> None:
    for words in (("mine", "--lab", "other"), ("--lab", "other", "mine")):
        with pytest.raises(SystemExit):
            lab(VERBS[verb], verb, *words)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_both_forms(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lab(VERBS[verb], verb, "--help")
    usage = capsys.readouterr().out
    assert "--lab NAME" in usage
    assert "positional arguments:\n  NAME " in usage


def test_a_run_directory_that_is_too_long_for_its_sockets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / ("ü" * RUN_DIRECTORY_LIMIT)
    monkeypatch.setenv("TESTBED_RUN_DIR", str(root))
    with pytest.raises(UsageError, match="choose a shorter TESTBED_RUN_DIR"):
        run_directory("lab")
    length = RUN_DIRECTORY_LIMIT - len("/lab")
    monkeypatch.setenv("TESTBED_RUN_DIR", "/" + "x" * (length - 1))
    assert len(str(run_directory("lab") / "keeper.sock")) == 107
    monkeypatch.setenv("TESTBED_RUN_DIR", "/" + "x" * length)
    with pytest.raises(UsageError, match="95 bytes at most"):
        run_directory("lab")
