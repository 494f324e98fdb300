"""The pages lead somewhere, their blocks are filled, their pictures are safe to show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PICTURES = sorted((ROOT / "docs/pictures").glob("*.svg"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_testbed_makes_stands_below_its_marker(page: Path) -> None:
    for marker, block in re.findall(r"<!-- (\w+: .+?) -->\n(```.*?```)", page.read_text(), re.S):
        assert len(block.splitlines()) > 2, f"{marker}: python -m tools.pictures fills it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manifests_on_a_page_are_those_of_the_files(page: Path) -> None:
    for name, block in re.findall(
        r"<!-- file: (.+?) -->\n```\w*\n(.*?)```", page.read_text(), re.S
    ):
        assert block.strip() == (ROOT / "docs" / name).read_text().strip()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_pictures_are_plain_svg_with_both_themes(picture: Path) -> None:
    words = picture.read_text()
    root = ElementTree.fromstring(words)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "style", "rect", "path", "circle", "text", "g"}
    assert "prefers-color-scheme: dark" in words
    assert any(picture.name in page.read_text() for page in PAGES)
