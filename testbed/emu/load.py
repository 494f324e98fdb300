"""Find a topology by name or path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from testbed.errors import TestbedError, UsageError

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


def topology_names() -> list[str]:
    """The topologies that come with the testbed."""
    return sorted(path.stem for path in TOPOLOGIES.glob("*.py"))


def absolute(name_or_path: str | Path) -> str:
    """A topology's name, or its file's absolute path, with the options that follow it."""
    name, comma, options = str(name_or_path).partition(",")
    if name.endswith(".py") or "/" in name:
        name = str(Path(name).absolute())
    return f"{name}{comma}{options}"


def load_topology(name_or_path: str | Path) -> Any:
    """The Topo object of a topology: `three_nodes`, or a path to a file with a dict `topos`.

    Options follow after commas, as with `mn`: `three_nodes,families=ipv4`. Raises UsageError (one
    line) where there is no such topology, or its file or options don't work.
    """
    name, *words = str(name_or_path).split(",")
    options = dict(word.partition("=")[::2] for word in words)
    path = Path(name) if name.endswith(".py") or "/" in name else TOPOLOGIES / f"{name}.py"
    if not path.is_file() or path.suffix != ".py":
        known = ", ".join(topology_names())
        raise UsageError(f"topology {name!r} is unknown; there are: {known}; or give a .py file")
    topos = getattr(_module(path), "topos", None)
    if not isinstance(topos, dict) or not topos:
        raise UsageError(f"{path}: no `topos = {{name: class}}` in it")
    make = topos.get(path.stem) or next(iter(topos.values()))
    try:
        return make(**options)
    except TestbedError:
        raise
    except Exception as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from error


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"topologies_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        place = f" line {line}:" if line else ""
        raise UsageError(f"{path}:{place} {type(error).__name__}: {error}") from error
    return module
