"""Untrusted text on a page: nothing runs, nothing loads, nothing is hidden, nothing takes long."""

import re
import sys
import time
from html.parser import HTMLParser

import pytest
from tests.hostile_texts import HEAVY, HOSTILE, NOT_TEXT

from assent.web.text import (
    DEEPEST,
    LONGEST,
    MOST_MARKS,
    line,
    markdown,
    mixes_alphabets,
    name,
    plain,
    printable,
    prose,
)

TAGS = {
    "a", "blockquote", "br", "code", "div", "em", "hr", "li", "ol", "p", "pre", "s", "span",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {"href", "class", "target", "rel", "dir", "tabindex", "role", "aria-label", "start"}
CLASSES = {"text", "away", "where", "unseen", "heading", "code-label", "scroll", "written"}


class Seen(HTMLParser):
    """What a browser would find in a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for key, value in attrs:
            self.attributes.setdefault(key, set()).add(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("text", [*HOSTILE.values(), *NOT_TEXT.values()], ids=[*HOSTILE, *NOT_TEXT])
def test_a_hostile_text_becomes_inert_html(text: str) -> None:
    for html in (markdown(text), plain(text), line(text), name(text)):
        seen = Seen(html)

        assert seen.tags <= TAGS | {"bdi"}
        assert set(seen.attributes) <= ATTRIBUTES | {"title"}
        classes = {word for value in seen.attributes.get("class", ()) for word in value.split()}
        assert classes - {f"h{n}" for n in range(1, 7)} <= CLASSES
        for href in seen.attributes.get("href", ()):
            assert href.startswith(("https://", "mailto:"))
        html.encode("utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]", html)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("*a* **b** ~~c~~ `d`", "<p><em>a</em> <strong>b</strong> <s>c</s> <code>d</code></p>"),
        ("one\ntwo", "<p>one<br>\ntwo</p>"),
        ("3. c\n4. d", '<ol start="3">\n<li>c</li>\n<li>d</li>\n</ol>'),
        ("## Title", '<p class="heading h2"><strong>Title</strong></p>'),
        ("a\n\n---\n\nb", "<p>a</p>\n<hr>\n<p>b</p>"),
        ("    code <b>", "<pre><code>code &lt;b&gt;\n</code></pre>"),
    ],
)
def test_ordinary_markdown_is_rendered(written: str, expected: str) -> None:
    assert markdown(written) == f'<div class="text" dir="auto">{expected}\n</div>'


def test_lines_wrapped_by_hand_are_one_paragraph_in_guidelines_alone() -> None:
    assert "one<br>" in markdown("one\ntwo").replace(" /", "")
    assert "<br" not in prose("one\ntwo")
    assert "one\ntwo" in prose("one\ntwo")
    assert "<script" not in prose("<script>alert(1)</script>\ntwo")


def test_a_table_is_rendered_in_a_region_that_scrolls() -> None:
    html = markdown("| a | b |\n|---|--:|\n| 1 | 2 |")

    assert '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>' in html
    assert "<td>1</td>\n<td>2</td>" in html


def test_a_link_leaves_in_a_new_page_that_knows_nothing_of_ours_and_shows_where_it_leads() -> None:
    html = markdown("[my bank](https://evil.example/a 'safe')")

    assert (
        '<a href="https://evil.example/a" class="away" target="_blank"'
        ' rel="noopener noreferrer nofollow">my bank</a>'
        ' <span class="where">(https://evil.example/a safe)</span>'
    ) in html


@pytest.mark.parametrize("address", ["/undo", "//evil.example", "undo", "#top", "?a=b", "http:x"])
def test_a_link_into_our_own_pages_is_no_link(address: str) -> None:
    seen = Seen(markdown(f"[a]({address})"))

    assert "a" not in seen.tags
    assert address in seen.words


def test_an_image_is_a_link_that_says_it_was_not_loaded() -> None:
    seen = Seen(markdown("![a cat](https://evil.example/cat.png)"))

    assert seen.words.strip() == "[image, not loaded: a cat https://evil.example/cat.png]"
    assert seen.attributes["href"] == {"https://evil.example/cat.png"}


@pytest.mark.parametrize(
    "hiding",
    [
        "[//]: # (hidden words)",
        "[a]: https://a.example 'hidden words'",
        "| a |\n|---|\n| 1 | hidden words |",
        "<!-- hidden words -->",
        "```hidden words\ncode\n```",
        "[a](https://a.example 'hidden words')",
        "![hidden words](https://a.example/b)",
        "> " * (DEEPEST + 5) + "hidden words",
        "- " * (DEEPEST + 5) + "hidden words",
        "\n".join("  " * depth + "- a" for depth in range(40)) + " hidden words",
    ],
)
def test_markdown_that_would_hide_words_shows_them(hiding: str) -> None:
    assert "hidden words" in Seen(markdown(hiding)).words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "aU+202Eb"),
        ("a\u200b\u200cb", "aU+200B U+200Cb"),
        ("\ufeff" * 10, "U+FEFF U+FEFF U+FEFF U+FEFF and 6 more"),
        ("\x07\x1b", "U+0007 U+001B"),
        ("\ud800", "U+D800"),
        ("\U000e0041", "U+E0041"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb\rc", "a\nb\nc"),
        # An emoji of several characters, a styled one, and Persian and Hindi need theirs.
        ("\N{WOMAN}\u200d\N{PERSONAL COMPUTER}", "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}"),
        ("\N{HEAVY BLACK HEART}\ufe0f 1\ufe0f", "\N{HEAVY BLACK HEART}\ufe0f 1\ufe0f"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",) * 2,
        ("\u0915\u094d\u200d\u0937",) * 2,
        ("a\u200db\ufe0f", "aU+200DbU+FE0F"),
    ],
)
def test_characters_that_cannot_be_seen_are_shown_by_their_number(text: str, shown: str) -> None:
    assert Seen(plain(text)).words == shown
    assert Seen(markdown(f"`{text}`")).words.strip("`\n") == shown.replace("\n", " ").strip("`\n")


def test_nul_is_shown_too() -> None:
    assert Seen(plain("a\0b")).words == "aU+0000b"
    assert Seen(markdown("a\0b")).words.strip() == "a\N{SYMBOL FOR NULL}b"


def test_unseen_characters_in_a_title_or_message_are_bracketed() -> None:
    assert printable("a\u202eb <i>") == "a\u27e8U+202E\u27e9b <i>"


def test_a_line_is_short_and_says_that_it_was_cut() -> None:
    assert line("  one\n\n two ") == "<bdi>one two</bdi>"
    assert line("a" * 200, limit=10) == f"<bdi>{'a' * 10}\u2026</bdi>"
    assert line("a " * 1_000_000, limit=10) == "<bdi>a a a a a\u2026</bdi>"


@pytest.mark.parametrize("word", ["p\u0430ypal", "\u0391dmin", "\u0440aul"])
def test_a_name_that_mixes_alphabets_is_marked(word: str) -> None:
    assert mixes_alphabets(word)
    assert "mixed letters" in name(f"Ann {word}")


@pytest.mark.parametrize("word", ["paypal", "\u0430\u0434\u043c", "\u65e5\u672c", "r2d2"])
def test_a_name_in_one_alphabet_is_not(word: str) -> None:
    assert name(word) == f"<bdi>{word}</bdi>"


@pytest.mark.parametrize("text", HEAVY.values(), ids=[repr(key) for key in HEAVY])
def test_a_hundred_kilobytes_take_less_than_200_milliseconds(text: str) -> None:
    took = []
    tracer = sys.gettrace()
    sys.settrace(None)  # coverage's tracer doubles the time, which no user pays
    try:
        for _ in range(3):  # processor time, and the best of three: other processes share the core
            start = time.process_time()
            markdown(text)
            took.append(time.process_time() - start)
    finally:
        sys.settrace(tracer)

    assert min(took) < 0.2


def test_text_with_too_many_marks_or_too_long_is_shown_as_written() -> None:
    for text in ("*a* " * MOST_MARKS, "*a* " + "b" * LONGEST):
        assert markdown(text) == plain(text)
