"""Finds scenarios: the files of a directory, or one file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from testbed.errors import TestbedError, UsageError
from testbed.scenario.spec import Scenario

#: The scenarios that come with the project.
DEFAULT_DIRECTORY = Path(__file__).parents[2] / "scenarios"


def load_scenarios(place: Path | str | None = None) -> list[Scenario]:
    """Every scenario of a directory (its *.py files) or of one file, in order of file and name.

    Raises UsageError where the place doesn't exist, a file can't be imported, or two scenarios have
    one name.
    """
    path = DEFAULT_DIRECTORY if place is None else Path(place)
    if not path.exists():
        raise UsageError(f"{path}: no such file or directory")
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    found = [s for file in files if not file.name.startswith("_") for s in scenarios_of(file)]
    places: dict[str, str] = {}
    for each in found:
        if each.name in places:
            raise UsageError(f"{each.source}: scenario {each.name!r} is in {places[each.name]} too")
        places[each.name] = each.source
    return found


def scenarios_of(file: Path) -> list[Scenario]:
    """The scenarios of one file, in the order of their definition."""
    return [value for value in vars(_import(file)).values() if isinstance(value, Scenario)]


def _import(file: Path) -> ModuleType:
    name = f"testbed_scenario_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except TestbedError:
        raise
    except SyntaxError as error:
        raise UsageError(f"{file}: line {error.lineno}: {error.msg}") from None
    except Exception as error:
        raise UsageError(f"{file}: can't be imported: {type(error).__name__}: {error}") from None
    return module


def select(scenarios: list[Scenario], words: str | None) -> list[Scenario]:
    """Those whose name or title fits `words`: words joined by `and`, `or`, `not`, as in pytest -k.

    Raises UsageError for an expression that can't be read.
    """
    if not words:
        return scenarios
    return [each for each in scenarios if _fits(words, f"{each.name} {each.title}".lower())]


def _fits(words: str, text: str) -> bool:
    """`a or b and not c`: `and` binds tighter; everything else is a piece of text."""
    alternatives = [[]]  # type: list[list[bool]]
    negate = False
    for word in words.lower().split():
        if word == "or":
            alternatives.append([])
        elif word == "not":
            negate = not negate
        elif word != "and":
            alternatives[-1].append((word in text) is not negate)
            negate = False
    if negate or not all(alternatives):
        raise UsageError(f"-k {words!r}: words joined by 'and', 'or' and 'not' are expected")
    return any(all(alternative) for alternative in alternatives)
