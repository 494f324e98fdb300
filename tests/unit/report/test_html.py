"""The HTML page stands alone, is small, links every picture's parts to their hops, and escapes."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from path_example import RULE, delivered

from testbed.flow import DROPPED, REFUSED, Path, Verdict
from testbed.report.drawing import draw_map
from testbed.report.html import SIZE_LIMIT, picture, render
from testbed.report.sequence import draw_sequence
from testbed.report.stops import Place


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
        if tag == "a":
            self.links.append(values["href"] or "")
        inline = (values.get("href") or "").startswith("data:")
        if (tag in ("script", "link", "img", "iframe") and not inline) or "src" in values:
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
    for drawn in pictures:
        root = ElementTree.fromstring(drawn)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for box in root.iter("rect"):
            if box.attrib["class"] != "touch":
                assert float(box.attrib["x"]) >= 0
                assert float(box.attrib["x"]) + float(box.attrib["width"]) <= width
                assert float(box.attrib["y"]) + float(box.attrib["height"]) <= height
        for words in root.iter("text"):
            assert 0 <= float(words.attrib["x"]) <= width
            assert 0 <= float(words.attrib["y"]) <= height


def test_a_delivery_that_was_not_expected_is_no_success() -> None:
    assert 'class="verdict good"' in render(delivered(), expected="delivered")
    page = render(delivered(), expected="refused", difference="delivered instead")
    assert 'class="verdict good"' not in page
    assert "✗ delivered instead" in page


def test_values_are_escaped() -> None:
    page = render(delivered(), expected="<b>bold</b>")
    assert "&lt;10.244.1.5:8080&gt;" in page
    assert "<b>bold" not in page


def test_a_drop_is_marked_where_it_happened() -> None:
    drawn = draw_map(dropped())
    assert {box.place.name: box.state for box in drawn.boxes} == {"client": "met", "w1": "cut"}
    assert [wire.number for wire in drawn.wires if wire.cross] == [2]
    assert not any(wire.cross for wire in draw_map(delivered()).wires)


HOSTILE = "\"><script>alert(1)</script><b x='"


def hostile() -> Path:
    path = delivered()
    rule = dataclasses.replace(RULE, text=HOSTILE, meaning=HOSTILE, chain=HOSTILE, tried=(HOSTILE,))
    hops = [dataclasses.replace(hop, namespace=f"x.{HOSTILE}", rules=(rule,)) for hop in path.hops]
    end = Verdict(DROPPED, f"x.{HOSTILE}", HOSTILE, rule)
    return dataclasses.replace(
        path, hops=tuple(hops), reply=(), verdict=end, request=HOSTILE, unseen=(HOSTILE,)
    )


def test_hostile_names_stay_text_on_the_page_and_in_the_picture() -> None:
    known = [Place(f"w{HOSTILE}", "node"), Place(HOSTILE, "balancer")]
    page = render(hostile(), expected=HOSTILE, title=HOSTILE, difference=HOSTILE, places=known)
    assert Page(page).loads == []
    assert "<script" not in page
    svg = picture(hostile(), places=known, title=HOSTILE)
    root = ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert HOSTILE in (root[0].text or "")


def colours(page: str) -> list[dict[str, str]]:
    found = re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in found]


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_words_have_the_contrast_of_wcag_aa_in_both_themes() -> None:
    themes = colours(render(delivered()))
    assert len(themes) == 2
    for theme in themes:
        for ink in ("ink", "soft", "forward", "reply", "good", "bad", "mark"):
            for ground in ("paper", "card", "chosen"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)


def test_places_off_the_path_are_drawn_while_there_is_room() -> None:
    known = [Place("lb", "balancer"), *(Place(f"w{n}", "node") for n in range(1, 9))]
    drawn = draw_map(delivered(), known)
    states = {box.place.name: box.state for box in drawn.boxes}
    assert states["lb"] == states["w2"] == "idle"
    assert drawn.more == 8 - sum(name.startswith("w") and name != "web-0" for name in states)


def test_lines_of_one_network_have_lanes_of_their_own() -> None:
    path = delivered()
    far = dataclasses.replace(path.hops[1], namespace="w2", nat=(), rules=path.hops[1].rules)
    rule = dataclasses.replace(RULE, chain="KUBE-SERVICES")
    near = dataclasses.replace(path.hops[1], rules=(rule,))
    far = dataclasses.replace(far, rules=(rule,))
    drawn = draw_map(dataclasses.replace(path, hops=(path.hops[0], near, far, path.hops[2])))
    data = [wire.data for wire in drawn.wires]
    assert len(set(data)) == len(data)


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
    diagram = draw_sequence(delivered())
    assert [arrow.number for arrow in diagram.arrows] == [1, 2, 4, 5]
    heights = [arrow.y for arrow in diagram.arrows]
    assert heights == sorted(set(heights))
    assert [note.words for note in diagram.notes][:2] == [
        "DNAT → 10.244.1.5:8080", "masquerade → 172.18.0.11:5000",
    ]  # fmt: skip
    assert diagram.arrows[0].y < diagram.notes[0].y < diagram.arrows[1].y


def test_every_leg_has_its_pictures_and_anchors_of_its_own() -> None:
    second = dataclasses.replace(delivered(), request="handed on by web-0")
    text = render(dataclasses.replace(delivered(), relayed=second))
    page = Page(text)
    assert text.count("<svg") == 4
    assert len(page.ids) == len(set(page.ids)) == 12
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert "web-0 handed the request on" in text
