"""Drawings under a policy that forbids style attributes."""

import re
from xml.etree import ElementTree

from markupsafe import Markup

from assent.web.drawing import as_file, in_page

DRAWING = (
    '<svg role="img" aria-label="a &lt;b&gt;" viewBox="0 0 9 9"><g style="fill: none">'
    '<path d="M 0 0" style="fill: none; stroke: var(--gold); stroke-width: 1.8"/>'
    '<text style="font-size: 8px; fill: var(--ink)">style="x: y"</text></g></svg>'
)


def test_in_a_page_every_style_is_attributes_that_say_the_same() -> None:
    drawing = in_page(DRAWING.replace('style="x: y"', "words"))

    assert isinstance(drawing, Markup)
    assert "style=" not in drawing
    assert '<path d="M 0 0" fill="none" stroke="var(--gold)" stroke-width="1.8"/>' in drawing
    assert '<text font-size="8px" fill="var(--ink)">words</text>' in drawing


def test_as_a_file_it_is_svg_with_colours_of_its_own() -> None:
    text = as_file(DRAWING.replace('style="x: y"', "words"))

    root = ElementTree.fromstring(text)  # noqa: S314 - our own drawing

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"var\(|style=", text)
    assert 'stroke="#8f5a00"' in text
