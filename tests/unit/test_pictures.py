"""The pictures of the documentation are what the code draws, and can be read by everybody."""

import re
import xml.etree.ElementTree as ET

import pytest

from host_tools.paths import ROOT
from host_tools.pictures import FOLDER, Box, Picture, draw
from host_tools.pictures_data import PICTURES

SVG = "{http://www.w3.org/2000/svg}"
PAGE = (ROOT / "docs" / "certificates.md").read_text()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_file_is_what_the_code_draws(picture: Picture) -> None:
    """Draw them again with: python -m host_tools.pictures"""
    assert (FOLDER / f"{picture.name}.svg").read_text() == draw(picture)


def test_each_is_on_the_page_with_words_for_those_who_cannot_see_it() -> None:
    shown = dict(re.findall(r"!\[(.+?)\]\(pictures/(\w+)\.svg\)", PAGE))
    assert sorted(shown.values()) == sorted(p.name for p in PICTURES) == sorted(p.stem for p in FOLDER.glob("*"))
    assert all(len(words) > 40 for words in shown)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_it_is_sound_svg_for_light_and_dark(picture: Picture) -> None:
    root = ET.fromstring(draw(picture))
    assert root.get("role") == "img"
    title, description = root.find(SVG + "title"), root.find(SVG + "desc")
    assert title is not None and description is not None and len(description.text or "") > 80
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert "prefers-color-scheme: dark" in draw(picture)
    assert not [e.tag for e in root.iter() if e.tag in (SVG + "script", SVG + "image")]
    width, height = (float(root.get(name) or 0) for name in ("width", "height"))
    for rect in root.iter(SVG + "rect"):
        assert float(rect.get("x") or 0) + float(rect.get("width") or 0) <= width
        assert float(rect.get("y") or 0) + float(rect.get("height") or 0) <= height
    assert len({(e.get("x"), e.get("y")) for e in root.iter(SVG + "text")}) == len(list(root.iter(SVG + "text")))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_texts_stay_in_their_boxes(picture: Picture) -> None:
    """By the width of a wide sans-serif: 8.8 pixels a letter in bold, 7.2 in small."""
    for box in picture.boxes:
        for i, line in enumerate(box.lines):
            assert len(line) * (7.2 if i else 8.8) <= box.width - 12, line


def test_text_is_text() -> None:
    tricky = Picture("x", "<a>", "b & c", boxes=(Box(0, 0, 100, ("<script>", "&amp;")),))
    root = ET.fromstring(draw(tricky))
    assert [e.text for e in root.iter(SVG + "text")] == ["<script>", "&amp;"]
