"""Assent's own format: every record with everything it says, one JSON object a row.

`type` names the record; the other columns are its fields. Nothing is lost in it, so it is the
format to move records between Assent projects with.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, get_args

from assent.formats.chats import as_json, prompt_of
from assent.formats.format import Cells, Format, NewRow, Tally, each_record, each_row
from assent.formats.records import (
    STRENGTHS,
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    Record,
    UnpairedRecord,
)
from assent.formats.rows import Row, RowRefused, as_number, missing, response_of, wrong_type
from assent.types import ChatPrompt, Verdict

TYPES: Mapping[str, type[AnyRecord]] = {
    "prompt": PromptRecord,
    "demonstration": DemonstrationRecord,
    "comparison": ComparisonRecord,
    "ranking": RankingRecord,
    "rating": RatingRecord,
    "unpaired": UnpairedRecord,
    "feedback": FeedbackRecord,
}
NAMES: Mapping[type[Record], str] = {cls: name for name, cls in TYPES.items()}
_PAIR = 2


def _read(row: Row) -> AnyRecord:
    cls = FeedbackRecord if _is_criticism(row.cells) else TYPES[_one_of(row, "type", tuple(TYPES))]
    said: dict[str, Any] = {
        "prompt": prompt_of(row, "prompt"),
        "source": row.name("source") or "",
        "group": row.name("group") or "",
        "split": row.split_named() or row.split,
        "meta": dict(row.table("meta")),
        "where": row.where,
    }
    if row.get("kind") is not None:
        said["kind"] = _one_of(row, "kind", ("plain", "few_shot", "user"))
    if cls is not PromptRecord:
        said["annotator"] = row.name("annotator")
    return cls(**said, **_OWN[cls](row))


def _one_of(row: Row, column: str, known: tuple[str, ...]) -> str:
    if (cell := row.get(column)) is None:
        raise missing(column)
    if cell not in known:
        raise wrong_type(column, cell, f"one of {', '.join(known)}")
    return str(cell)


def _responses(row: Row) -> tuple[str, ...]:
    texts = row.items("responses")
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            place = f"responses[{at}]"
            raise wrong_type(place, text, "text")
        response_of(text, f"responses[{at}]")
    if len(texts) < _PAIR:
        raise RowRefused(reason="too few responses", detail="column responses has fewer than two")
    if len(set(texts)) < len(texts):
        raise RowRefused(reason="identical responses", detail="two responses are the same text")
    return tuple(texts)


def _comparison(row: Row) -> dict[str, Any]:
    responses = _responses(row)
    if len(responses) != _PAIR:
        raise wrong_type(column="responses", cell=list(responses), wanted="a list of two")
    strength = row.whole("strength")
    if strength is not None and strength not in STRENGTHS:
        raise wrong_type(column="strength", cell=strength, wanted="1, 2, 3 or 4")
    return {
        "responses": responses,
        "verdict": _one_of(row, "verdict", get_args(Verdict)),
        "strength": strength,
        "margin": row.number("margin"),
        "confidence": row.number("confidence"),
        **_remarks(row),
    }


def _remarks(row: Row) -> dict[str, Any]:
    flags = row.items("flags") if row.get("flags") is not None else []
    if not all(isinstance(flag, str) for flag in flags):
        raise wrong_type(column="flags", cell=flags, wanted="a list of texts")
    return {"note": row.optional_text("note"), "flags": tuple(flags)}


def _ranking(row: Row) -> dict[str, Any]:
    responses, ranks = _responses(row), row.items("ranks")
    whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ranks)
    if len(ranks) != len(responses) or not whole:
        raise wrong_type(column="ranks", cell=ranks, wanted="a whole number for each response")
    return {"responses": responses, "ranks": tuple(ranks), **_remarks(row)}


def _response(row: Row) -> dict[str, Any]:
    return {"response": response_of(row.text("response"), "response")}


def _rating(row: Row) -> dict[str, Any]:
    axes = {axis: as_number(f"axes.{axis}", said) for axis, said in row.table("axes").items()}
    if not axes:
        column = "axes"
        raise missing(column)
    return {**_response(row), "axes": axes, **_remarks(row)}


def _feedback(row: Row) -> dict[str, Any]:
    criticism = row.text("criticism")
    if not criticism.strip():
        raise RowRefused(reason="empty criticism", detail="column criticism is empty")
    refinement = row.optional_text("refinement")
    if refinement is not None:
        response_of(refinement, "refinement")
    return {**_response(row), "criticism": criticism, "refinement": refinement}


_OWN = {
    PromptRecord: lambda _: {},
    DemonstrationRecord: _response,
    ComparisonRecord: _comparison,
    RankingRecord: _ranking,
    RatingRecord: _rating,
    UnpairedRecord: lambda row: {**_response(row), "good": row.boolean("good")},
    FeedbackRecord: _feedback,
}


def _write(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    del tally
    prompt = record.prompt
    row: NewRow = {
        "type": NAMES[type(record)],
        "prompt": as_json(prompt.messages) if isinstance(prompt, ChatPrompt) else prompt,
    }
    for field in fields(record):
        if field.name in ("prompt", "where"):
            continue
        value = getattr(record, field.name)
        if isinstance(value, tuple):
            value = list(value)
        if isinstance(value, Mapping):
            value = dict(value)
        if value not in (None, "", [], {}):
            row[field.name] = value
    yield row


def _fits(cells: Cells) -> bool:
    return (cells.get("type") in TYPES and "prompt" in cells) or _is_criticism(cells)


def _is_criticism(cells: Cells) -> bool:
    """Whether the row can only be feedback, though it does not say its type."""
    return cells.get("type") is None and {"prompt", "response", "criticism"} <= cells.keys()


CARRIED = frozenset(
    {"annotator", "confidence", "flags", "group", "kind", "margin", "meta", "note", "source"}
    | {"split", "strength"}
)
"""Everything that a record may say beside its texts and its verdict, ranks or axes."""

ASSENT = Format(
    name="assent",
    title="Assent's own records",
    columns={
        "type": "prompt, demonstration, comparison, ranking, rating, unpaired or feedback; "
        "a row with response and criticism may leave it out",
        "prompt": "the prompt, as text or as a list of turns",
        "responses": "of a comparison or a ranking",
        "response": "of the others",
        "verdict": "first, second, tie, both_bad or cannot_judge",
        "strength": "1 (barely) to 4 (much)",
        "margin": "the winner's lead in another file's units",
        "confidence": "how sure the annotator was, on another file's scale",
        "ranks": "of a ranking: 0 for the best, equal for a tie",
        "axes": "of a rating: a number for each axis",
        "good": "of an unpaired response: true or false",
        "criticism": "of feedback: what was said",
        "refinement": "of feedback: the response as it should have been",
        "annotator": "who judged or wrote it",
        "note": "what the annotator wrote",
        "flags": "what the annotator marked",
        "kind": "plain, few_shot or user",
        "source": "the data set that the prompt is from",
        "split": "train, validation or test",
        "group": "prompts that belong into one split",
        "meta": "what was kept of another file's columns",
    },
    fits=_fits,
    gives=tuple(TYPES.values()),
    read=each_row(_read),
    takes=tuple(TYPES.values()),
    carries=CARRIED,
    write=each_record(_write),
    order_is_shown=True,
)
