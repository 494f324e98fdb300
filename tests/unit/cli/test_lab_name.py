"""The lab's name as a word or as an option."""

from __future__ import annotations

import argparse
from types import ModuleType

import pytest

from testbed.cli import down, list, resume

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
