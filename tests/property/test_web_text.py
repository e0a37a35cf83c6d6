"""Whatever a text holds, its HTML is inert and shows every letter of it."""

import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from assent.web.text import line, markdown, plain, printable

SIGNS = [
    "*", "**", "_", "`", "```", "~~", "[", "](", "](https://a.b ", ")", "![", "<", ">", "&", "#",
    "- ", "1. ", "> ", "|", "|-|-|\n", "\n", "\n\n", "    ", "\\", "'", '"', ":", "/", "\x00",
    "\u202e", "\u200b", "<script>", "javascript:", "onerror=", "&lt;", "[a]: b\n", "\t",
    "\u200d", "\U0001f469", "\ud800",
]  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(SIGNS), st.text(max_size=6)), max_size=40).map("".join)
ALLOWED = re.compile(
    r"</?(?:a|blockquote|br|code|div|em|hr|li|ol|p|pre|s|span|strong|table|tbody|td|th|thead|tr|ul)"
    r"(?: (?:href|class|target|rel|dir|tabindex|role|aria-label|start|title)=\"[^\"]*\")*>"
)


def shown(html: str) -> str:
    """The words between the tags, all of which must be known ones."""
    words = ALLOWED.sub("", html)
    assert "<" not in words
    return unescape(words)


@given(texts)
def test_only_known_tags_are_written_whatever_the_text(text: str) -> None:
    for html in (str(markdown(text)), str(plain(text))):
        html.encode("utf-8")
        shown(html)
        for href in re.findall(r'href="([^"]*)"', html):
            assert re.match(r"https?://|mailto:", href, re.IGNORECASE)


@given(st.lists(st.one_of(st.sampled_from(SIGNS), st.text("abcXYZ", max_size=6))).map("".join))
def test_no_letter_of_a_text_is_hidden(text: str) -> None:
    remaining = iter(shown(str(markdown(text))))

    assert all(letter in remaining for letter in text if letter.isascii() and letter.isalpha())


@given(texts)
def test_text_as_written_loses_nothing_but_unseen_characters_which_are_numbered(text: str) -> None:
    words = shown(str(plain(text)))
    seen = re.sub(r"\r\n?", "\n", text)

    assert printable(words) == words
    if printable(seen) == seen:
        assert words == seen


@given(texts, st.integers(1, 50))
def test_a_line_is_one_line_of_at_most_its_limit(text: str, limit: int) -> None:
    html = str(line(text, limit))

    assert html.startswith("<bdi>")
    assert "\n" not in html
    if printable(text) == text:
        assert len(unescape(html[5:-6])) <= limit + 1
