"""What a project's guidelines say before anybody wrote some, and which part is for which task.

Guidelines are one Markdown text. A heading of the second level that names a kind of task begins the
part which is shown beside that kind alone; everything else is shown beside all.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from assent.store import Store, TaskKind

HEADINGS: Final[Mapping[str, TaskKind]] = {
    "comparisons": "comparison",
    "rankings": "ranking",
    "ratings": "rating",
    "demonstrations": "demonstration",
}
"""Titles that begin a part, in small letters."""

_HEADING: Final = re.compile(r" {0,3}(#{1,2})[ \t]+(.*?)[ \t]*#*[ \t]*")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")

_GENERAL: Final = """\
Judge as the person who asked would, if they had the time to check.

- **True before pleasing.** A wrong fact is worse than an open "I do not know". Agreeing with a
  mistake of whoever asked is a fault, not politeness.
- **To the point.** Longer is not better, and neither are headings, lists and a confident tone.
- **Harmless.** A response that could hurt somebody loses, however well it is written.

Read every response to its end before you choose. Where it stands on the screen means nothing: the
places are drawn by lot. Skip what you cannot read or do not want to read, and say why.
"""

_LOOK_UP: Final = """\

**Looking up.** Beside some tasks stands what the Almanac says. Where it does, go by it and not by
how sure a response sounds. Where it does not, judge by what the responses say, and do not look
elsewhere.
"""

_COMPARISONS: Final = """\

## Comparisons

Choose the response that you would rather have been given, and how clearly:

- **much** or **clearly** better: you would stand by it if somebody asked why;
- **slightly** or **barely** better: you lean that way and would understand the other choice;
- **about equal**: both are as good as each other, whether both are good or both are middling;
- **both bad**: neither may be shown to anybody;
- **cannot judge**: you cannot tell. A guess is worth less than nothing.
"""

_RANKINGS: Final = """\

## Rankings

Give each response its place, the best first. Equal places are welcome: two responses that you could
not tell apart in quality share one. Settle the best and the worst first, then what lies between.
"""

_RATINGS: Final = """\

## Ratings

Rate the response by itself, from 1 to 7, each axis apart from the others: {axes}. A response can be
very helpful and not honest. 4 is what you would expect of a careful stranger; keep 1 and 7 for what
is clearly at an end.
"""

_DEMONSTRATIONS: Final = """\

## Demonstrations

Write the response that you would want to be given. Say only what you know or can look up, and where
you do not know, say that. Write it in your own words, as long as it has to be and no longer, in the
language of the prompt.
"""


def first_guidelines(axes: Sequence[str], *, looks_up: bool) -> str:
    """A beginning, in Markdown, to be edited by whoever owns the project.

    Args:
        axes: what ratings are about.
        looks_up: whether facts may be looked up beside some tasks.
    """
    named = ", ".join(name.replace("_", " ") for name in axes)
    return "".join(
        (
            _GENERAL,
            _LOOK_UP if looks_up else "",
            _COMPARISONS,
            _RANKINGS,
            _RATINGS.format(axes=named),
            _DEMONSTRATIONS,
        )
    )


def begin_guidelines(store: Store, axes: Sequence[str], *, looks_up: bool) -> None:
    """Write the first version into a project that has no guidelines; else change nothing."""
    if store.guidelines.read().version == 0:
        store.guidelines.write(first_guidelines(axes, looks_up=looks_up), based_on=0, author=None)


def parts(text: str) -> list[tuple[TaskKind | None, str]]:
    """The text in its order, cut into what is for one kind of task and (None) what is for all."""
    found: list[tuple[TaskKind | None, list[str]]] = [(None, [])]
    fence = ""
    for line in text.splitlines(keepends=True):
        fenced = _FENCE.match(line)
        if fenced is not None and (not fence or fenced[1].startswith(fence)):
            fence = "" if fence else fenced[1]
        heading = None if fence else _HEADING.fullmatch(line.rstrip("\r\n"))
        if heading is not None:
            kind = HEADINGS.get(heading[2].lower()) if heading[1] == "##" else None
            if kind is not None or found[-1][0] is not None:
                found.append((kind, []))
        found[-1][1].append(line)
    return [(kind, "".join(lines)) for kind, lines in found if "".join(lines).strip()]
