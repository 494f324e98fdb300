"""Finding scenarios, and the words of -k."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import UsageError
from testbed.scenario.loader import load_scenarios, select

FILE = '''"""Teaches."""
from testbed.scenario import scenario

@scenario("A title")
def some_name(lab, steps):
    pass
'''


def test_the_projects_own_scenarios_load_and_teach() -> None:
    found = load_scenarios()
    assert {"clusterip", "nodeport", "loadbalancer"} <= {s.name for s in found}
    assert all(s.teaches and s.title for s in found)


def test_a_scenarios_name_comes_from_its_function(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(FILE)
    (one,) = load_scenarios(tmp_path)
    assert (one.name, one.title, one.teaches) == ("some-name", "A title", "Teaches.")


def test_one_name_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(FILE)
    with pytest.raises(UsageError, match=r"b\.py: scenario 'some-name' is in .*a\.py too"):
        load_scenarios(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", r"line 1: "),
        ("import nothing_like_it\n", r"ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_scenarios(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_place_is_named() -> None:
    with pytest.raises(UsageError, match="nowhere: no such file or directory"):
        load_scenarios("nowhere")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("nodeport", {"nodeport"}),
        ("nodeport or clusterip", {"nodeport", "clusterip"}),
        ("not nodeport and port", set()),
        (None, {"nodeport", "clusterip"}),
    ],
)
def test_words_choose_scenarios(words: str | None, expected: set[str]) -> None:
    two = [s for s in load_scenarios() if s.name in ("nodeport", "clusterip")]
    chosen = {s.name for s in select(two, words)}
    assert chosen == expected


@pytest.mark.parametrize("words", ["and", "a or", "not"])
def test_an_unreadable_expression_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match="-k"):
        select(load_scenarios()[:1], words)
