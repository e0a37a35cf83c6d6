"""All formats, and which of them a file is in.

A file is in the format whose columns most of its first rows have; of several with equally many, in
the one that stands first here, and those with more marks of their own stand before those whose
columns they share.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assent.errors import UnknownFormat, UnreadableFile
from assent.formats.containers import FileKind, sample
from assent.formats.engines import (
    OPENRLHF_PREFERENCE,
    OPENRLHF_PROMPTS,
    OPENRLHF_SFT,
    VERL_PROMPTS,
)
from assent.formats.format import SAID, Cells, Format
from assent.formats.hh import HH_RLHF
from assent.formats.instructions import ALPACA, ALPACA_FARM, LLMBAR, SELF_INSTRUCT
from assent.formats.messages import MESSAGES, SHAREGPT
from assent.formats.oasst import OASST_MESSAGES, OASST_TREES
from assent.formats.own import ASSENT
from assent.formats.questions import ILF, MT_BENCH, QUESTION_ANSWER, TRUTHFULQA_JUDGE
from assent.formats.records import Problem
from assent.formats.rows import Row, printable
from assent.formats.steps import STEPWISE
from assent.formats.trl import (
    COMPLETION,
    COMPLETION_CHAT,
    PREFERENCE,
    PREFERENCE_CHAT,
    PROMPTS,
    PROMPTS_CHAT,
    UNPAIRED,
    UNPAIRED_CHAT,
)
from assent.formats.ultrafeedback import ULTRA_FEEDBACK, ULTRA_FEEDBACK_PAIRS
from assent.formats.votes import ARENA, OPENAI_COMPARISONS

FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        ASSENT,
        HH_RLHF,
        OASST_TREES,
        OASST_MESSAGES,
        OPENAI_COMPARISONS,
        ARENA,
        ULTRA_FEEDBACK,
        ULTRA_FEEDBACK_PAIRS,
        ALPACA_FARM,
        LLMBAR,
        SELF_INSTRUCT,
        ILF,
        TRUTHFULQA_JUDGE,
        MT_BENCH,
        VERL_PROMPTS,
        SHAREGPT,
        STEPWISE,
        PREFERENCE,
        PREFERENCE_CHAT,
        UNPAIRED,
        UNPAIRED_CHAT,
        COMPLETION,
        COMPLETION_CHAT,
        MESSAGES,
        ALPACA,
        QUESTION_ANSWER,
        OPENRLHF_PREFERENCE,
        OPENRLHF_SFT,
        OPENRLHF_PROMPTS,
        PROMPTS,
        PROMPTS_CHAT,
    )
}
"""Every format by name, the most particular first."""

WRITABLE = tuple(name for name, one in FORMATS.items() if one.write is not None)
SAMPLED = 50
"""Rows that are looked at to tell the format."""


@dataclass(frozen=True, slots=True)
class Detected:
    """The format of a file, and why."""

    format: Format
    kind: FileKind
    is_gzipped: bool
    confidence: float
    """The share of the first rows that have this format's columns and marks."""
    why: tuple[str, ...]


def format_named(name: str) -> Format:
    """A format by its name.

    Raises:
        UnknownFormat: there is none of this name.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name, FORMATS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FORMATS)}"
    message = f"no format is called {name!r}; {hint}"
    raise UnknownFormat(message)


def detect(path: Path, name: str | None = None) -> Detected:
    """Which format a file is in, or how well it fits the one that is named.

    Raises:
        UnreadableFile: the file cannot be read, or none of its first rows can.
        UnknownFormat: no format has the columns of its rows, or none has this name.
    """
    asked = format_named(name) if name else None
    kind, is_gzipped, first = sample(path, SAMPLED)
    rows = [one for one in first if isinstance(one, Row)]
    if not rows:
        problem = next(one for one in first if isinstance(one, Problem))
        message = f"{path}: none of the first {len(first)} rows can be read; {problem}"
        raise UnreadableFile(message)
    fitting = {one.name: _share(one, rows) for one in FORMATS.values()}
    if asked:
        share = fitting[asked.name]
        return Detected(asked, kind, is_gzipped, share, (_says(asked, share, len(rows)), "named"))
    best = max(fitting, key=lambda one: fitting[one])  # the first of equals
    if not fitting[best]:
        raise UnknownFormat(_no_format(path, rows))
    chosen = FORMATS[best]
    others = [one for one, share in fitting.items() if share and one != best]
    why = [_says(chosen, fitting[best], len(rows))]
    if others:
        why.append(f"{', '.join(others)} would read some of these rows too, and is less particular")
    return Detected(chosen, kind, is_gzipped, fitting[best], tuple(why))


def other_format(cells: Cells, than: Format) -> Format | None:
    """The format that a row has the columns of, where it is not one of this format's."""
    if than.fits(cells):
        return None
    return next((one for one in FORMATS.values() if _fits(one, cells)), None)


def _fits(one: Format, cells: Cells) -> bool:
    return one.fits(cells) and one.looks(cells)


def _share(one: Format, rows: Sequence[Row]) -> float:
    return sum(_fits(one, row.cells) for row in rows) / len(rows)


def _says(one: Format, share: float, count: int) -> str:
    said = f"{round(share * count)} of the first {count} rows have its columns"
    return f"{said}: {one.title}"


def _key_of_rows(cells: Cells) -> str | None:
    """The one key of an object that holds the rows instead of being one."""
    inside = [name for name, cell in cells.items() if isinstance(cell, list) and cell]
    if len(inside) == 1 and all(isinstance(one, dict) for one in cells[inside[0]]):
        return inside[0]
    return None


def _no_format(path: Path, rows: Sequence[Row]) -> str:
    """What the rows have, and the format that comes nearest."""
    have = list(dict.fromkeys(column for row in rows for column in row.cells))
    own = [column for column in have if column not in SAID]
    near = max(
        FORMATS.values(), key=lambda one: (len({*own} & one.columns.keys()), -len(one.columns))
    )
    hint = ""
    if shared := [column for column in near.columns if column in own]:
        hint = f" (nearest is {near.name}, which has {', '.join(shared)} too)"
    if len(rows) == 1 and (key := _key_of_rows(rows[0].cells)):
        return (
            f"{path} is one object, and its key {key!r} holds a list of objects; if those are the "
            "rows, write them as a file of their own (jq takes them out)"
        )
    if (refused := _wrong_cell(rows[0])) is not None:
        return f"{path}: no format reads these rows; {refused}"
    listed = ", ".join(printable(one) for one in have[:12]) + (" …" if len(have) > 12 else "")
    return (
        f"{path}: no format has the columns {listed}{hint}; rename them to those of a format: "
        "`assent data formats --json` lists them"
    )


def _wrong_cell(row: Row) -> str | None:
    """What is wrong with a row that has the columns of a format and other things in them."""
    for one in FORMATS.values():
        outcome = next(iter(one.read(iter([row]))), None)
        if isinstance(outcome, Problem) and outcome.reason == "wrong type":
            return f"{outcome} (read as {one.name})"
    return None
