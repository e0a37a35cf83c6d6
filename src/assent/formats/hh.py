r"""hh-rlhf: two whole dialogues as text, alike up to the last response.

`\n\nHuman: …\n\nAssistant: …`; one space after the colon belongs to the mark. The prompt is every
turn before the last one, and rows whose dialogues part earlier are dropped.

Source: Bai et al. 2022, "Training a helpful and harmless assistant", and its published files.
"""

from collections.abc import Iterator

from assent.formats.chats import (
    as_turns,
    chat_prompt,
    dialogue_text,
    dialogue_turns,
    split_last,
)
from assent.formats.format import (
    Cells,
    Format,
    NewRow,
    Tally,
    comparisons_of,
    each_record,
    each_row,
    text_columns,
    winner_first,
)
from assent.formats.records import AnyRecord, ComparisonRecord, RankingRecord
from assent.formats.rows import Row, RowRefused, distinct
from assent.types import ChatPrompt, Message

_COLUMNS = ("chosen", "rejected")


def _read(row: Row) -> ComparisonRecord:
    first, second = (dialogue_turns(row.text(column), column) for column in _COLUMNS)
    prompt, chosen = split_last(first, "chosen")
    other, rejected = split_last(second, "rejected")
    if prompt.messages != other.messages:
        raise RowRefused(
            reason="the dialogues part before the last turn",
            detail="chosen and rejected answer different prompts: they differ before the last turn",
        )
    return ComparisonRecord(
        prompt=chat_prompt(prompt.messages, "chosen"),
        responses=distinct(chosen, rejected),
        verdict="first",
        split=row.split,
        where=row.where,
    )


def _write(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    for one in comparisons_of(record, tally):
        if (sides := winner_first(one, tally)) is None:
            continue
        turns = as_turns(one.prompt)
        chosen, rejected = (
            dialogue_text((*turns, Message("assistant", response))) for response in sides
        )
        if chosen is None or rejected is None:
            tally.left_out[r"turns that \n\nHuman: and \n\nAssistant: cannot hold"] += 1
            continue
        if not isinstance(one.prompt, ChatPrompt):
            tally.lost["plain prompt (written as a user turn)"] += 1
        yield {"chosen": chosen, "rejected": rejected}


def _looks(cells: Cells) -> bool:
    return all("\n\nHuman:" in cells[one] and "\n\nAssistant:" in cells[one] for one in _COLUMNS)


HH_RLHF = Format(
    name="hh-rlhf",
    title="hh-rlhf dialogues",
    columns={
        "chosen": r"the dialogue that won: \n\nHuman: and \n\nAssistant: turns as one text",
        "rejected": "the same dialogue with the other response at its end",
    },
    fits=text_columns(*_COLUMNS),
    looks=lambda cells: "prompt" not in cells and _looks(cells),
    gives=(ComparisonRecord,),
    read=each_row(_read),
    takes=(ComparisonRecord, RankingRecord),
    write=each_record(_write),
)
