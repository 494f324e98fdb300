"""The step log of a running scenario: what is being done, the path that was seen, what held."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from testbed.flow import Path, path_to_json
from testbed.report.text import WIDTH, render, summary

#: How far the lines of a step stand below its title, in columns.
_INDENT = 5

_current: ContextVar[Steps | None] = ContextVar("steps", default=None)


@dataclass(slots=True)
class Step:
    """One step: its title, what was shown, and the checks that held."""

    title: str
    lines: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)


class Steps:
    """Collects steps and tells them to `tell`, line by line, as they happen."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.steps: list[Step] = []
        #: The path that a check failed on.
        self.failed: Path | None = None

    @contextmanager
    def __call__(self, title: str) -> Iterator[Step]:
        """`with steps("The client hits the node"): …`."""
        step = Step(title)
        self.steps.append(step)
        self._tell(f"  {len(self.steps)}. {title}")
        token = _current.set(self)
        try:
            yield step
        finally:
            _current.reset(token)

    def show(self, path: Path) -> None:
        """Print a path, and keep it as evidence."""
        step = self._step()
        step.paths.append(path)
        for line in render(path, brief=True).splitlines():
            step.lines.append(line)
            self._tell(f"{' ' * _INDENT}{line}" if line else "")

    def mention(self, path: Path) -> None:
        """Print a path in one line, and keep all of it as evidence."""
        self._step().paths.append(path)
        self.note(summary(path))

    def note(self, line: str) -> None:
        """Print a remark below the step."""
        self._step().lines.append(line)
        self._say(line, "")

    def held(self, sentence: str) -> None:
        """A check held."""
        self._step().held.append(sentence)
        self._say(sentence, "✓ ")

    def _say(self, words: str, mark: str) -> None:
        indent = " " * _INDENT
        for line in textwrap.wrap(
            words,
            WIDTH,
            initial_indent=indent + mark,
            subsequent_indent=indent + "  ",
            break_on_hyphens=False,
        ):
            self._tell(line)

    def _step(self) -> Step:
        if not self.steps:
            self.steps.append(Step("Set-up"))
        return self.steps[-1]

    def text(self) -> str:
        """All steps as they were told, without indent."""
        lines: list[str] = []
        for number, step in enumerate(self.steps, 1):
            lines += ["", f"{number}. {step.title}", *step.lines]
            lines += [f"✓ {sentence}" for sentence in step.held]
        return "\n".join(lines).strip() + "\n"

    def as_values(self) -> list[dict[str, Any]]:
        """The steps as JSON values."""
        return [
            {
                "title": step.title,
                "lines": step.lines,
                "held": step.held,
                "paths": [path_to_json(path) for path in step.paths],
            }
            for step in self.steps
        ]


def current_steps() -> Steps | None:
    """The log of the scenario that is running, if one is."""
    return _current.get()
