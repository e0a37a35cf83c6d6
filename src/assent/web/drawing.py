"""The drawings of a report without style attributes, which the policy of the pages forbids."""

import re
from typing import Final

from markupsafe import Markup

_STYLE: Final = re.compile(r'\bstyle="([^"]*)"')
_LIGHT: Final = {
    "ink": "#1d1f23",
    "quiet": "#5c6068",
    "grid": "#dedcd5",
    "proxy": "#1d5fb4",
    "gold": "#8f5a00",
    "paper": "#ffffff",
}


def in_page(drawing: str) -> Markup:
    """A drawing of `report.plots` to stand inside a page, in the colours of the page's theme."""
    # Safe: it holds our own words and figures; what was a style is the same as attributes.
    return Markup(_STYLE.sub(_attributes, drawing))  # noqa: S704


def as_file(drawing: str) -> str:
    """The same as a file of its own, dark on white."""
    text = str(in_page(drawing)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    for name, colour in _LIGHT.items():
        text = text.replace(f"var(--{name})", colour)
    start = text.index(">", text.index("<svg ")) + 1
    return f'{text[:start]}<rect width="100%" height="100%" fill="#ffffff"/>{text[start:]}'


def _attributes(style: re.Match[str]) -> str:
    """`fill: none; stroke-width: 2` as `fill="none" stroke-width="2"`."""
    pairs = (part.split(":", 1) for part in style.group(1).split(";") if ":" in part)
    return " ".join(f'{name.strip()}="{value.strip()}"' for name, value in pairs)
