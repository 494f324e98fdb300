"""A Path as one HTML page: no scripts, nothing loaded, fit for a phone, keyboard and print."""

from __future__ import annotations

from functools import cache
from importlib import resources

import jinja2

from testbed.flow.paths import DELIVERED, Path
from testbed.report import drawing

#: A page stays below this, bytes; rules that were tried are left out first.
SIZE_LIMIT = 300_000


@cache
def _environment() -> jinja2.Environment:
    templates = resources.files("testbed.report") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (templates / name).read_text()),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["elapsed"] = elapsed
    return environment


def elapsed(nanoseconds: int) -> str:
    """A time since the path's start in words: `15 µs`, `2.5 ms`."""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1000:.0f} µs"
    return f"{nanoseconds / 1_000_000:.1f} ms"


def render(path: Path, *, expected: str = "", title: str = "") -> str:
    """The page. `expected` is what the oracle said, in words ("" leaves it out)."""
    page = _render(path, expected, title, tried=True)
    return page if len(page.encode()) <= SIZE_LIMIT else _render(path, expected, title, tried=False)


def _render(path: Path, expected: str, title: str, *, tried: bool) -> str:
    template = _environment().get_template("path.html.j2")
    return template.render(
        path=path,
        title=title or path.request or str(path.flow),
        expected=expected,
        legs=[_Leg(leg, f"leg{number}-" if number else "") for number, leg in enumerate(path.legs)],
        width=drawing.WIDTH,
        tried=tried,
    )


class _Leg:
    """One connection's part of the page; `prefix` keeps its anchors apart from other legs'."""

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self.prefix = prefix
        self.good = path.verdict.kind == DELIVERED
        self.map = drawing.draw_map(path)
        self.sequence = drawing.draw_sequence(path)
        self.hops = [*path.hops, *path.reply]
