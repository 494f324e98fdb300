"""A Path as one HTML page: no scripts, nothing loaded, fit for a phone, keyboard and print."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources

import jinja2

from testbed.flow.paths import DELIVERED, Path
from testbed.report import words
from testbed.report.drawing import draw_map
from testbed.report.layout import WIDTH
from testbed.report.sequence import draw_sequence
from testbed.report.stops import Place, places, stops

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
    environment.filters["elapsed"] = words.elapsed
    environment.filters["meaning"] = words.meaning
    environment.filters["rule"] = words.rule
    environment.filters["way"] = words.way
    environment.filters["translation"] = words.translation
    return environment


def render(
    path: Path,
    *,
    expected: str = "",
    title: str = "",
    difference: str = "",
    places: Sequence[Place] = (),
) -> str:
    """The page. `expected` is what the oracle said, in words ("" leaves it out).

    `difference` names the first hop that isn't as expected; `places` are those of the lab, so that
    the picture shows the path among them.
    """
    page = _render(path, expected, title, difference, places, tried=True)
    if len(page.encode()) <= SIZE_LIMIT:
        return page
    return _render(path, expected, title, difference, places, tried=False)


def _render(
    path: Path, expected: str, title: str, difference: str, known: Sequence[Place], *, tried: bool
) -> str:
    legs = [
        _Leg(leg, f"leg{number}-" if number else "", known) for number, leg in enumerate(path.legs)
    ]
    return (
        _environment()
        .get_template("path.html.j2")
        .render(
            path=path,
            title=title or f"{legs[0].origin} → {path.request or path.flow}",
            expected=expected,
            difference=difference,
            legs=legs,
            width=WIDTH,
            tried=tried,
        )
    )


def picture(path: Path, *, places: Sequence[Place] = (), title: str = "") -> str:
    """The path on its topology as an SVG file of its own, for light and dark backgrounds."""
    template = _environment().get_template("picture.svg.j2")
    drawn = draw_map(path, places)
    words_of = title or words.verdict(path, places)
    return template.render(map=drawn, width=WIDTH, title=words_of, legend=drawn.height + 10)


class _Leg:
    """One connection's part of the page; `prefix` keeps its anchors apart from other legs'."""

    def __init__(self, path: Path, prefix: str, known: Sequence[Place]) -> None:
        self.path = path
        self.prefix = prefix
        self.good = path.verdict.kind == DELIVERED
        self.verdict = words.verdict(path, known)
        self.source = words.source(path)
        self.map = draw_map(path, known)
        self.sequence = draw_sequence(path, known)
        self.stops = stops(path, known)
        names = {place.name: place.title for place in (*known, *places(path, known))}
        self.origin = names.get(path.origin, path.origin)
        self.backend = names.get(path.backend, path.backend)
