"""TRL's data sets, standard (text) and conversational (lists of turns).

Four shapes: preference, unpaired preference, prompt-completion and prompts. A preference without a
prompt column has it implicitly: what chosen and rejected begin with alike, back to the last whole
word in text and to the last whole turn in chats. `margin` holds a strength where it is one of the
integers 1 to 4, and any other number is a margin; 0 says nothing, and is written where other rows
have a margin, because TRL makes a tensor of the column. Beside its own columns a row may hold
`annotator`, `source`, `split`, `group` and `kind`, which TRL passes over.

Source: TRL, "Dataset formats and types" and `extract_prompt`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from assent.formats.chats import (
    as_json,
    as_turns,
    chat_prompt,
    is_chat,
    only_turn,
    prompt_of,
    reply_of,
    turns_of,
)
from assent.formats.format import (
    SAID,
    SAID_BLANKS,
    SAID_COLUMNS,
    Cells,
    Format,
    NewRow,
    Tally,
    comparisons_of,
    each_record,
    each_row,
    said_of,
    saying,
    winner_first,
)
from assent.formats.records import (
    STRENGTHS,
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    PromptRecord,
    RankingRecord,
    Record,
    UnpairedRecord,
)
from assent.formats.rows import Row, RowRefused, distinct, response_of
from assent.types import ChatPrompt, Message


def read_preference(row: Row) -> ComparisonRecord:
    """Chosen and rejected, with a prompt column or without."""
    prompt, first, second = _explicit(row) if row.get("prompt") is not None else _implicit(row)
    strength, margin = _margin(row)
    said = said_of(row, kept=("score_chosen", "score_rejected", "pair_id", "prompt_id"))
    said["group"] = said["group"] or row.name("tree_id") or ""
    return ComparisonRecord(
        prompt=prompt,
        responses=distinct(first, second),
        verdict="first",
        strength=strength,
        margin=margin,
        annotator=row.name("annotator"),
        note=row.optional_text("note"),
        where=row.where,
        **said,
    )


def _explicit(row: Row) -> tuple[str, str, str]:
    prompt = prompt_of(row, "prompt")
    chosen, rejected = row.cells.get("chosen"), row.cells.get("rejected")
    if is_chat(chosen) and is_chat(rejected) and not isinstance(prompt, ChatPrompt):
        prompt = ChatPrompt((Message("user", prompt),))
    return prompt, reply_of(row, "chosen", prompt), reply_of(row, "rejected", prompt)


def _implicit(row: Row) -> tuple[str, str, str]:
    chosen, rejected = row.cells.get("chosen"), row.cells.get("rejected")
    if is_chat(chosen) and is_chat(rejected):
        first, second = turns_of(chosen, "chosen"), turns_of(rejected, "rejected")
        common = 0
        while common < min(len(first), len(second)) - 1 and first[common] == second[common]:
            common += 1
        if common == 0:
            raise _no_prompt()
        prompt = chat_prompt(first[:common], "chosen")
        return prompt, only_turn(first[common:], "chosen"), only_turn(second[common:], "rejected")
    first_text, second_text = row.text("chosen"), row.text("rejected")
    distinct(first_text, second_text)
    alike = zip(first_text, second_text, strict=False)
    length = next((at for at, (one, other) in enumerate(alike) if one != other), None)
    if length is None:  # one begins with the whole of the other
        length = min(len(first_text), len(second_text))
    while length and not first_text[length - 1].isspace():
        length -= 1
    # The space before a response belongs to it, as where a prompt column is written.
    begin = length - 1 if length and first_text[length - 1] == " " else length
    if not first_text[:begin].strip():
        raise _no_prompt()
    return (
        first_text[:begin],
        response_of(first_text[begin:], "chosen"),
        response_of(second_text[begin:], "rejected"),
    )


def _no_prompt() -> RowRefused:
    return RowRefused(
        reason="no common prompt",
        detail="chosen and rejected begin with nothing alike; add a column prompt",
    )


def _margin(row: Row) -> tuple[int | None, float | None]:
    """A strength, or else a margin: also the difference of two scores."""
    number = row.number("margin")
    if not number:
        better, worse = row.number("score_chosen"), row.number("score_rejected")
        return None, None if better is None or worse is None else better - worse
    cell = row.get("margin")
    is_whole = isinstance(cell, int) or (isinstance(cell, str) and cell.strip().isdecimal())
    if is_whole and int(number) in STRENGTHS:
        return int(number), None
    return None, number


def read_unpaired(row: Row) -> UnpairedRecord:
    """One response and whether it is good."""
    prompt = prompt_of(row, "prompt")
    return UnpairedRecord(
        prompt=_with_chat(prompt, row.cells.get("completion")),
        response=reply_of(row, "completion", prompt),
        good=row.boolean("label"),
        annotator=row.name("annotator"),
        where=row.where,
        **said_of(row),
    )


def read_completion(row: Row) -> DemonstrationRecord:
    """One response to imitate."""
    prompt = prompt_of(row, "prompt")
    return DemonstrationRecord(
        prompt=_with_chat(prompt, row.cells.get("completion")),
        response=reply_of(row, "completion", prompt),
        annotator=row.name("annotator"),
        where=row.where,
        **said_of(row),
    )


def _with_chat(prompt: str, completion: object) -> str:
    if is_chat(completion) and not isinstance(prompt, ChatPrompt):
        return ChatPrompt((Message("user", prompt),))
    return prompt


def read_prompt(row: Row) -> PromptRecord:
    """One prompt; every other column stays with it, as a reward function may want it."""
    known = ("prompt", *SAID)
    other = tuple(column for column in row.cells if column not in known)
    return PromptRecord(
        prompt=prompt_of(row, "prompt"), where=row.where, **said_of(row, kept=other)
    )


def written_prompt(prompt: str, tally: Tally, *, chat: bool) -> str | list[dict[str, Any]]:
    """A prompt as text or as turns, whichever the format has; the other kind is counted as lost."""
    if chat:
        if not isinstance(prompt, ChatPrompt):
            tally.lost["plain prompt (written as a user turn)"] += 1
        return as_json(as_turns(prompt))
    if isinstance(prompt, ChatPrompt):
        tally.lost["chat roles (written as text)"] += 1
    return str(prompt)


def _reply(text: str, *, chat: bool) -> str | list[dict[str, Any]]:
    return as_json([Message("assistant", text)]) if chat else text


def _write_preference(record: AnyRecord, tally: Tally, *, chat: bool) -> Iterator[NewRow]:
    for one in comparisons_of(record, tally):
        if (sides := winner_first(one, tally)) is None:
            continue
        margin = {"margin": one.strength if one.strength is not None else one.margin}
        yield {
            "prompt": written_prompt(one.prompt, tally, chat=chat),
            "chosen": _reply(sides[0], chat=chat),
            "rejected": _reply(sides[1], chat=chat),
            **(margin if margin["margin"] is not None else {}),
            **({"note": one.note} if one.note else {}),
            **saying(one),
        }


def _write_unpaired(record: AnyRecord, tally: Tally, *, chat: bool) -> Iterator[NewRow]:
    labelled: list[tuple[str, bool]] = []
    if isinstance(record, UnpairedRecord):
        labelled = [(record.response, record.good)]
    elif isinstance(record, ComparisonRecord) and (sides := winner_first(record, tally)):
        tally.lost["which response it was compared with"] += 1
        labelled = [(sides[0], True), (sides[1], False)]
    for response, good in labelled:
        yield {
            "prompt": written_prompt(record.prompt, tally, chat=chat),
            "completion": _reply(response, chat=chat),
            "label": good,
            **saying(record),
        }


def _write_completion(record: AnyRecord, tally: Tally, *, chat: bool) -> Iterator[NewRow]:
    if isinstance(record, DemonstrationRecord):
        yield {
            "prompt": written_prompt(record.prompt, tally, chat=chat),
            "completion": _reply(record.response, chat=chat),
            **saying(record),
        }


def _write_prompt(record: AnyRecord, tally: Tally, *, chat: bool) -> Iterator[NewRow]:
    prompt = {"prompt": written_prompt(record.prompt, tally, chat=chat)}
    yield {**record.meta, **prompt, **saying(record)}


_ANSWERS = {
    *("completion", "completions", "chosen", "rejected", "response", "responses"),
    *("winner", "choice", "preference", "rating"),
}
"""Columns that say more than a prompt, so that rows with them are something else."""


def _is_answer(cell: object, *, chat: bool) -> bool:
    return is_chat(cell) if chat else isinstance(cell, str) and not is_chat(cell)


def _fits_preference(cells: Cells, *, chat: bool) -> bool:
    prompt, answers = cells.get("prompt"), (cells.get("chosen"), cells.get("rejected"))
    if chat and is_chat(prompt):  # the responses may then be text all the same
        return all(is_chat(one) or isinstance(one, str) for one in answers)
    is_prompt = prompt is None or (isinstance(prompt, str) and not is_chat(prompt))
    return is_prompt and all(_is_answer(one, chat=chat) for one in answers)


def _fits_completion(cells: Cells, *, chat: bool) -> bool:
    prompt, completion = cells.get("prompt"), cells.get("completion")
    if chat and is_chat(prompt):
        return is_chat(completion) or isinstance(completion, str)
    is_prompt = isinstance(prompt, str) and not is_chat(prompt)
    return is_prompt and _is_answer(completion, chat=chat)


def _fits_unpaired(cells: Cells, *, chat: bool) -> bool:
    label = cells.get("label")
    said = label.strip().lower() if isinstance(label, str) else label
    is_label = isinstance(said, bool) or said in (0, 1, "true", "false", "0", "1")
    return is_label and _fits_completion(cells, chat=chat)


def _fits_prompt(cells: Cells, *, chat: bool) -> bool:
    return not _ANSWERS & cells.keys() and _is_answer(cells.get("prompt"), chat=chat)


_TEXT, _CHAT = "as text", "as a list of turns (role, content)"


def _two(
    shape: str,
    title: str,
    columns: Mapping[str, str],
    fits: Callable[..., bool],
    read: Callable[[Row], AnyRecord],
    write: Callable[..., Iterable[NewRow]],
    gives: type[Record],
    takes: tuple[type[Record], ...],
    carries: tuple[str, ...] = (),
) -> tuple[Format, Format]:
    """The standard and the conversational format of one shape."""

    def one(*, chat: bool) -> Format:
        def rows(record: AnyRecord, tally: Tally) -> Iterable[NewRow]:
            return write(record, tally, chat=chat)

        return Format(
            name=f"trl-{shape}-chat" if chat else f"trl-{shape}",
            title=f"TRL {title}, {'conversational' if chat else 'standard'}",
            columns={
                **{
                    name: text.format(as_=_CHAT if chat else _TEXT)
                    for name, text in columns.items()
                },
                **SAID_COLUMNS,
            },
            fits=lambda cells: fits(cells, chat=chat),
            gives=(gives,),
            read=each_row(read),
            takes=takes,
            carries=frozenset((*SAID, *carries)),
            blanks={**SAID_BLANKS, "margin": 0},
            write=each_record(rows),
        )

    return one(chat=False), one(chat=True)


PREFERENCE, PREFERENCE_CHAT = _two(
    "preference",
    "preference",
    {
        "prompt": "the prompt, {as_}; without it, what both responses begin with",
        "chosen": "the response that won, {as_}",
        "rejected": "the other response, {as_}",
        "margin": "the strength where it is 1, 2, 3 or 4; otherwise the winner's lead",
        "score_chosen": "with score_rejected: the winner's lead, where there is no margin",
        "score_rejected": "see score_chosen",
        "note": "what the annotator wrote",
        "tree_id": "the group, where there is no column group",
        "pair_id": "kept with the record",
        "prompt_id": "kept with the record",
    },
    _fits_preference,
    read_preference,
    _write_preference,
    ComparisonRecord,
    (ComparisonRecord, RankingRecord),
    ("strength", "margin", "note"),
)
UNPAIRED, UNPAIRED_CHAT = _two(
    "unpaired",
    "unpaired preference",
    {
        "prompt": "the prompt, {as_}",
        "completion": "the response, {as_}",
        "label": "true where the response is good",
    },
    _fits_unpaired,
    read_unpaired,
    _write_unpaired,
    UnpairedRecord,
    (UnpairedRecord, ComparisonRecord),
)
COMPLETION, COMPLETION_CHAT = _two(
    "prompt-completion",
    "prompt-completion",
    {"prompt": "the prompt, {as_}", "completion": "the demonstration, {as_}"},
    _fits_completion,
    read_completion,
    _write_completion,
    DemonstrationRecord,
    (DemonstrationRecord,),
)
PROMPTS, PROMPTS_CHAT = _two(
    "prompts",
    "prompts",
    {"prompt": "the prompt, {as_}; all other columns are kept with it"},
    _fits_prompt,
    read_prompt,
    _write_prompt,
    PromptRecord,
    (PromptRecord,),
    ("meta",),
)
