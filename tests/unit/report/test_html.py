"""The HTML page stands alone, is small, links every picture's parts to their hops, and escapes."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from path_example import RULE, delivered

from testbed.flow import DROPPED, REFUSED, Path, Verdict
from testbed.report import drawing
from testbed.report.html import SIZE_LIMIT, render


def dropped() -> Path:
    path = delivered()
    verdict = Verdict(DROPPED, "w1", "left w1 by veth0 and was not seen again")
    return dataclasses.replace(path, verdict=verdict, hops=path.hops[:2], reply=(), backend="")


def refused() -> Path:
    path = delivered()
    return dataclasses.replace(path, verdict=Verdict(REFUSED, "w1", rule=RULE), hops=path.hops[:2])


class Page(HTMLParser):
    """Collects ids, links and whatever would load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"] or "")
        if "href" in values:
            self.links.append(values["href"] or "")
        if tag in ("script", "link", "img", "iframe") or "src" in values:
            self.loads.append(tag)


@pytest.mark.parametrize("path", [delivered(), dropped(), refused()], ids=lambda p: p.verdict.kind)
def test_a_page_loads_nothing_and_its_links_lead_to_hops(path: Path) -> None:
    page = Page(render(path))
    assert page.loads == []
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids)) == len(path.hops) + len(path.reply)


@pytest.mark.parametrize("path", [delivered(), dropped(), refused()], ids=lambda p: p.verdict.kind)
def test_pictures_are_well_formed_and_stay_inside_their_frame(path: Path) -> None:
    pictures = re.findall(r"<svg.*?</svg>", render(path), flags=re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for line in root.iter("line"):
            for name, limit in (("x1", width), ("x2", width), ("y1", height), ("y2", height)):
                assert 0 <= float(line.attrib[name]) <= limit
        for words in root.iter("text"):
            assert 0 <= float(words.attrib["x"]) <= width
            assert 0 <= float(words.attrib["y"]) <= height


def test_values_are_escaped() -> None:
    page = render(delivered(), expected="<b>bold</b>")
    assert "&lt;10.244.1.5:8080&gt;" in page
    assert "<b>bold" not in page


def test_a_drop_is_marked_where_it_happened() -> None:
    assert 'class="cross"' in render(dropped())
    assert 'class="cross"' not in render(delivered())
    boxes = {box.name: box.role for box in drawing.draw_map(dropped()).boxes}
    assert boxes == {"client": "origin", "w1": "cut"}


def test_both_themes_and_small_screens_are_provided_for() -> None:
    page = render(delivered())
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


def test_tried_rules_are_left_out_before_a_page_gets_too_big() -> None:
    path = delivered()
    many = dataclasses.replace(RULE, tried=tuple(f"-d 10.0.0.{n} -j X" for n in range(20_000)))
    hop = dataclasses.replace(path.hops[1], rules=(many,))
    page = render(dataclasses.replace(path, hops=(path.hops[0], hop, path.hops[2])))
    assert len(page.encode()) < SIZE_LIMIT
    assert "-d 10.0.0.7 -j X" not in page


def test_sequence_rows_come_in_order_and_name_every_step() -> None:
    diagram = drawing.draw_sequence(delivered())
    assert [arrow.number for arrow in diagram.arrows] == [1, 2, 4, 5]
    heights = [arrow.y for arrow in diagram.arrows]
    assert heights == sorted(set(heights))
    assert diagram.arrows[1].marks == "DNAT, masquerade"
    assert diagram.arrows[3].marks == "un-DNAT, un-masquerade"


def test_every_leg_has_its_pictures_and_anchors_of_its_own() -> None:
    second = dataclasses.replace(delivered(), request="handed on by web-0")
    text = render(dataclasses.replace(delivered(), relayed=second))
    page = Page(text)
    assert text.count("<svg") == 4
    assert len(page.ids) == len(set(page.ids)) == 12
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert "web-0 is a proxy" in text
