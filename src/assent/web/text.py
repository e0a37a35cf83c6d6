"""Untrusted text as HTML that is safe and hides nothing: model output, prompts, notes and names.

Three things hold for every function here. No text becomes markup of its own: it is CommonMark with
HTML switched off, and what that makes goes through an allow-list. Nothing is loaded: an image
becomes a link that says so. And nothing is lost: characters that cannot be seen (those that turn
the direction of text round, those without width, controls) are shown by their number, and text
that markdown would swallow or that would take too long is shown as it is written.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from html import unescape
from typing import Final
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

MOST_MARKS: Final = 4_000
"""More line ends and markdown signs than this, and the text is shown as written: parsing them
takes about 30 microseconds each, and a page must never wait for one answer."""
DEEPEST: Final = 20
"""Quotes and lists nested deeper are dropped by the parser, so the text is shown as written."""
LONGEST: Final = 200_000
"""Characters; longer text is shown as written."""

_NEWLINES: Final = re.compile(r"\r\n?")
_LIST_NUMBERS: Final = re.compile(r"^[ \t>*+-]*(?:\d{1,9}[.)][ \t>*+-]*)+", re.MULTILINE)
_MARKUP: Final = re.compile(r"<[^>]*>")
_SIGNS_AND_SPACE: Final = re.compile(r"[\x00-/:-@\[-`{-\x7f]+")
"""Of ASCII, all but letters and digits."""
_SIGNS: Final = re.compile(r"[\n\[\]!*_~`<&|#\\]")
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\uffff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_MOST_NAMED: Final = 4
"""Characters of one run that are named; the rest are counted."""
_MOST_CHIPS: Final = 1_000
"""Runs of one text that get an element of their own; the rest are bracketed to keep pages small."""
_NON_JOINER, _JOINER, _TEXT_STYLE, _EMOJI_STYLE = "\u200c", "\u200d", "\ufe0e", "\ufe0f"
_MAY_BELONG: Final = frozenset(
    {_TEXT_STYLE, _EMOJI_STYLE, _JOINER, _EMOJI_STYLE + _JOINER, _NON_JOINER}
)
"""Runs that are part of writing or of an emoji in the right place."""
_JOINING: Final = (
    "ARABIC", "SYRIAC", "MONGOLIAN", "NKO", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI",
    "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "KHMER", "MYANMAR",
)  # fmt: skip
_LOOK_ALIKE: Final = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")
_SCHEMES: Final = frozenset({"http", "https", "mailto"})
_AWAY: Final = 'class="away" target="_blank" rel="noopener noreferrer nofollow"'
_TAGS: Final = {
    "a", "blockquote", "br", "code", "div", "em", "hr", "li", "ol", "p", "pre", "s", "span",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES: Final = {
    "a": {"href", "class", "target", "rel"},
    "div": {"class", "tabindex", "role", "aria-label"},
    "ol": {"start"},
    "p": {"class"},
    "span": {"class", "title"},
    "td": {"class"},
    "th": {"class"},
}


def markdown(text: str, *, breaks: bool = True) -> Markup:
    """Text as a reader should see it: CommonMark, tables and strikethrough, one `div.text`.

    Line ends stay as they are with `breaks`; without, one within a paragraph is a space, as whoever
    wraps their lines by hand means it. Entities stay as they are. Link definitions (`[a]: b`) are
    not read, since they would vanish; nor is anything else that would leave out a letter, such as a
    cell too many.
    """
    # CommonMark turns NUL into the mark of damaged text; its picture says what it was.
    text = _NEWLINES.sub("\n", text).replace("\0", "\N{SYMBOL FOR NULL}")
    if len(text) > LONGEST or len(_SIGNS.findall(text)) > MOST_MARKS:
        return plain(text)
    parser = _PARSER if breaks else _PROSE
    tokens = parser.parse(text)
    if any(token.level >= DEEPEST - 1 for token in tokens):
        return plain(text)
    html = str(parser.renderer.render(tokens, parser.options, {}))
    if not _keeps_all(text, html):
        return plain(text)
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=set(_SCHEMES),
        link_rel=None,  # set above, with the confirmation that goes with it
    )
    # Safe: escaped by the renderer, and then let through by the allow-list.
    return Markup('<div class="text" dir="auto">{}</div>').format(Markup(clean))  # noqa: S704


def prose(text: str) -> Markup:
    """A text of the project's own, such as guidelines, whose lines are wrapped for writing."""
    return markdown(text, breaks=False)


def plain(text: str) -> Markup:
    """Text exactly as it is written, one `div.text.written`; the page keeps its line ends."""
    body = Markup(_escape(_NEWLINES.sub("\n", text)))  # noqa: S704 - escaped in this call
    return Markup('<div class="text written" dir="auto">{}</div>').format(body)


def line(text: str, limit: int = 160) -> Markup:
    """The beginning of a text on one line, one `bdi`; `limit` in characters."""
    words = " ".join(text[: 4 * limit].split())
    cut = len(words) > limit or len(text) > 4 * limit
    body = Markup(_escape(words[:limit].rstrip()))  # noqa: S704 - escaped in this call
    return Markup("<bdi>{}{}</bdi>").format(body, "\N{HORIZONTAL ELLIPSIS}" if cut else "")


def name(text: str) -> Markup:
    """A name on one line, with a mark where a word mixes alphabets that look alike."""
    shown = line(text, limit=64)
    if any(mixes_alphabets(word) for word in text[:256].split()):
        return shown + Markup(
            ' <span class="unseen" title="letters of several alphabets">mixed letters</span>'
        )
    return shown


def printable(text: str) -> str:
    """Text that may stand in an attribute, a title or a message: unseen characters by number."""
    return _UNSEEN.sub(lambda run: _each_run(run, _bracketed), text)


def mixes_alphabets(word: str) -> bool:
    """Whether one word has letters of two alphabets that look alike: Latin with a Cyrillic a."""
    found = {
        script
        for letter in word
        if letter.isalpha()
        and (script := unicodedata.name(letter, "").partition(" ")[0]) in _LOOK_ALIKE
    }
    return len(found) > 1


FILTERS: Final[Mapping[str, Callable[..., Markup]]] = {
    "markdown": markdown,
    "plain": plain,
    "line": line,
    "visible_name": name,
}
"""For the templates, under these names."""


def _keeps_all(source: str, html: str) -> bool:
    """Whether every letter and digit of a text is shown, in order; a list's own numbers aside."""
    given = unescape(_MARKUP.sub("", html))
    wanted = _UNSEEN.sub("", _LIST_NUMBERS.sub("", source))
    if _SIGNS_AND_SPACE.sub("", wanted) == _SIGNS_AND_SPACE.sub("", given):
        return True  # the most usual case, in a fraction of the time
    shown = iter(given)
    return all(
        character in shown
        for character in wanted
        if character.isalnum() or (character > "\x7f" and not character.isspace())
    )


def _escape(text: str) -> str:
    """HTML of a text, its unseen characters as chips."""
    # Escaped as a whole: no entity ends or begins with what the unseen beside it could belong to.
    safe = str(escape(text))
    chips = itertools.count()
    return _UNSEEN.sub(
        lambda run: _each_run(run, _chip if next(chips) < _MOST_CHIPS else _bracketed), safe
    )


def _each_run(run: re.Match[str], shown: Callable[[str], str]) -> str:
    """A run of unseen characters: those that belong to writing or an emoji stay as they are."""
    characters = run.group()
    if characters in _MAY_BELONG:
        text, start, end = run.string, run.start(), run.end()
        before = text[start - 1] if start else ""
        if _belongs(before, characters, text[end : end + 1]):
            return characters
    return shown(characters)


def _belongs(before: str, run: str, after: str) -> bool:
    if not before:
        return False
    picture = unicodedata.category(before) in {"So", "Sk"} or before in "0123456789#*"
    if run in {_TEXT_STYLE, _EMOJI_STYLE}:
        return picture
    if run in {_JOINER, _EMOJI_STYLE + _JOINER}:
        drawn = bool(after) and unicodedata.category(after) == "So"
        return (picture and drawn) or (run == _JOINER and _joins(before) and _joins(after))
    return run == _NON_JOINER and _joins(before) and _joins(after)


def _joins(letter: str) -> bool:
    return bool(letter) and unicodedata.name(letter, "").startswith(_JOINING)


def _numbers(run: str) -> str:
    named = " ".join(f"U+{ord(character):04X}" for character in run[:_MOST_NAMED])
    more = len(run) - _MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named


@lru_cache(maxsize=1024)
def _chip(run: str) -> str:
    words = unicodedata.name(run[0], "control or unassigned character").lower()
    return f'<span class="unseen" title="{escape(words)}">{_numbers(run)}</span>'


@lru_cache(maxsize=1024)
def _bracketed(run: str) -> str:
    return f"\N{MATHEMATICAL LEFT ANGLE BRACKET}{_numbers(run)}\N{MATHEMATICAL RIGHT ANGLE BRACKET}"


class _Renderer(RendererHTML):
    """markdown-it's own renderer, but for text, code, links, images, headings and tables."""

    def text(
        self, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType
    ) -> str:
        return _escape(tokens[index].content)

    def code_inline(
        self, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType
    ) -> str:
        return f"<code>{_escape(tokens[index].content)}</code>"

    def code_block(
        self, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType
    ) -> str:
        return f"<pre><code>{_escape(tokens[index].content)}</code></pre>\n"

    def fence(
        self, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType
    ) -> str:
        info = tokens[index].info.strip()
        label = f'<p class="code-label">{_escape(info)}</p>' if info else ""
        return f"{label}<pre><code>{_escape(tokens[index].content)}</code></pre>\n"

    def link_open(
        self, tokens: Sequence[Token], index: int, _options: OptionsDict, env: EnvType
    ) -> str:
        token = tokens[index]
        href, title = _address(token, "href"), str(token.attrGet("title") or "")
        live = _leads_somewhere(href)
        # The words of a link say nothing about where it leads, so that follows it.
        words = [] if token.markup == "autolink" else [_readable(href)]
        env.setdefault("links", []).append((live, " ".join([*words, title]).strip()))
        return f'<a href="{escape(href)}" {_AWAY}>' if live else "<span>"

    def link_close(
        self, _tokens: Sequence[Token], _index: int, _options: OptionsDict, env: EnvType
    ) -> str:
        live, words = env["links"].pop()
        close = "</a>" if live else "</span>"
        return f'{close} <span class="where">({_escape(words)})</span>' if words else close

    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[index]
        source, title = _address(token, "src"), str(token.attrGet("title") or "")
        described = self.renderInlineAsText(token.children, options, env)
        words = _escape(f"[image, not loaded: {described} {_readable(source)} {title}".rstrip())
        if env.get("links") or not _leads_somewhere(source):  # a link inside a link is none
            return f'<span class="where">{words}]</span>'
        return f'<a href="{escape(source)}" {_AWAY}>{words}]</a>'

    def heading_open(
        self, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType
    ) -> str:
        # Not h1 to h6: an answer's headings are no part of the page's outline.
        return f'<p class="heading {tokens[index].tag}"><strong>'

    def heading_close(
        self, _tokens: Sequence[Token], _index: int, _options: OptionsDict, _env: EnvType
    ) -> str:
        return "</strong></p>\n"

    def table_open(
        self, _tokens: Sequence[Token], _index: int, _options: OptionsDict, _env: EnvType
    ) -> str:
        return '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>\n'

    def table_close(
        self, _tokens: Sequence[Token], _index: int, _options: OptionsDict, _env: EnvType
    ) -> str:
        return "</table></div>\n"


def _address(token: Token, attribute: str) -> str:
    return str(token.attrGet(attribute) or "")


def _readable(href: str) -> str:
    """An address with its letters as they were written, rather than their numbers."""
    return _PARSER.normalizeLinkText(href)


def _leads_somewhere(href: str) -> bool:
    """Whether a link may be followed: another site or a letter, never a page of ours."""
    try:
        parts = urlsplit(href)
    except ValueError:  # such as a bracket that is no address
        return False
    scheme = parts.scheme.lower()
    return bool(parts.path if scheme == "mailto" else parts.netloc) and scheme in _SCHEMES


def _parser(*, breaks: bool) -> MarkdownIt:
    options = {"html": False, "breaks": breaks, "maxNesting": DEEPEST}
    parser = MarkdownIt("commonmark", options, renderer_cls=_Renderer)
    return parser.enable(["table", "strikethrough"]).disable(["reference", "entity"])


_PARSER: Final = _parser(breaks=True)
_PROSE: Final = _parser(breaks=False)
