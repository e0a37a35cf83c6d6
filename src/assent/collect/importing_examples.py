"""Examples of records as a model will read them: tokens at the boundary, and what is learned.

Texts come from outside, so they are shown on one line, with every character that a terminal would
act on written out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from assent.errors import DataError
from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
)
from assent.models.tokens import encode_prompts, encode_responses
from assent.types import ChatPrompt

BEFORE, AFTER, LAST = 6, 6, 4
"""Tokens shown of the prompt's end, of the response's beginning, and of its end."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token as it is read."""

    text: str
    id: int
    learned: bool
    """Whether SFT learns it, and a reward model reads it as the response: the label mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One response of an example."""

    label: str
    """What the file says of it: `chosen`, `rank 0`, `helpful 4` …"""
    response: str
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    """The end token included."""
    boundary: tuple[Token, ...] = ()
    """The prompt's last tokens and the response's first ones."""
    end: tuple[Token, ...] = ()
    """The response's last tokens, where the boundary does not show them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One record, ready to be shown."""

    where: str
    kind: str
    prompt: str
    turns: int
    """Of a chat; 0 for plain text."""
    sides: tuple[Side, ...]
    problem: str | None = None
    """Why the model cannot read it."""


def example(record: AnyRecord, tokenizer: PreTrainedTokenizerBase | None) -> Example:
    """A record as the model will read it; without a tokenizer its texts alone."""
    problem = None
    sides: tuple[Side, ...]
    labelled = list(_labelled(record))
    try:
        sides = tuple(_side(record.prompt, label, text, tokenizer) for label, text in labelled)
    except DataError as error:
        problem = str(error)
        sides = tuple(Side(label=label, response=text) for label, text in labelled)
    turns = len(record.prompt.messages) if isinstance(record.prompt, ChatPrompt) else 0
    return Example(
        where=str(record.where),
        kind=type(record).__name__.removesuffix("Record").lower(),
        prompt=str(record.prompt),
        turns=turns,
        sides=sides,
        problem=problem,
    )


def one_line(text: str, width: int, *, end: bool = False) -> str:
    """A text on one line of at most `width` characters, its beginning or its end.

    Line breaks are ↵; other characters that are not printable are written as Python writes them.
    """
    kept = text[-width:] if end else text[:width]
    shown = "".join(_visible(character) for character in kept)
    cut = len(text) > len(kept) or len(shown) > width
    if end:
        return ("…" if cut else "") + shown[-width:]
    return shown[:width] + ("…" if cut else "")


def _visible(character: str) -> str:
    if character == "\n":
        return "↵"
    return character if character.isprintable() else ascii(character)[1:-1]


def _labelled(record: AnyRecord) -> Iterator[tuple[str, str]]:
    if isinstance(record, ComparisonRecord):
        labels = {"first": ("chosen", "rejected"), "second": ("rejected", "chosen")}
        undecided = record.verdict.replace("_", " ")
        yield from zip(
            labels.get(record.verdict, (undecided, undecided)), record.responses, strict=True
        )
    elif isinstance(record, RankingRecord):
        ranked = zip(record.ranks, record.responses, strict=True)
        yield from ((f"rank {rank}", text) for rank, text in ranked)
    elif isinstance(record, RatingRecord):
        said = ", ".join(f"{axis} {value:g}" for axis, value in record.axes.items())
        yield f"rated {said}", record.response
    elif isinstance(record, UnpairedRecord):
        yield ("good" if record.good else "bad"), record.response
    elif isinstance(record, FeedbackRecord):
        yield "criticised", record.response
        if record.refinement is not None:
            yield "refinement", record.refinement
    elif isinstance(record, DemonstrationRecord):
        yield "demonstration", record.response
    else:
        assert isinstance(record, PromptRecord)


def _side(
    prompt: str, label: str, response: str, tokenizer: PreTrainedTokenizerBase | None
) -> Side:
    if tokenizer is None:
        return Side(label=label, response=response)
    (asked,) = encode_prompts(tokenizer, [prompt])
    (said,) = encode_responses(tokenizer, [response], prompts=[prompt])
    boundary = _tokens(tokenizer, asked[-BEFORE:], learned=False)
    boundary += _tokens(tokenizer, said[:AFTER], learned=True)
    rest = said[AFTER:]
    return Side(
        label=label,
        response=response,
        prompt_tokens=len(asked),
        response_tokens=len(said),
        boundary=tuple(boundary),
        end=tuple(_tokens(tokenizer, rest[-LAST:], learned=True)),
    )


def _tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, learned: bool
) -> list[Token]:
    return [Token(_token_text(tokenizer, one), one, learned) for one in ids]


def _token_text(tokenizer: PreTrainedTokenizerBase, id_: int) -> str:
    text: Any = tokenizer.decode([id_])
    # Part of a character decodes to the replacement sign: its name in the vocabulary says more.
    return str(tokenizer.convert_ids_to_tokens(id_)) if "�" in text else str(text)
