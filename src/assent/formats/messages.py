"""Whole chats: `messages` (OpenAI, TRL, open-instruct) and ShareGPT's `conversations`.

The last turn of the assistant is the demonstration. ShareGPT rows may hold `chosen` and `rejected`
turns beside the conversation (LLaMA-Factory) and are comparisons then.
"""

from collections.abc import Iterator

from assent.formats.chats import (
    as_json,
    as_turns,
    chat_prompt,
    is_chat,
    only_turn,
    split_last,
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
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    RankingRecord,
)
from assent.formats.rows import Row, distinct, unpacked
from assent.types import ChatPrompt, Message

_NAMES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def _read_messages(row: Row) -> DemonstrationRecord:
    prompt, response = split_last(turns_of(row.cells.get("messages"), "messages"), "messages")
    return DemonstrationRecord(
        prompt=prompt,
        response=response,
        annotator=row.name("annotator"),
        where=row.where,
        **said_of(row, kept=("id",)),
    )


def _write_messages(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    if isinstance(record, DemonstrationRecord):
        if not isinstance(record.prompt, ChatPrompt):
            tally.lost["plain prompt (written as a user turn)"] += 1
        turns = (*as_turns(record.prompt), Message("assistant", record.response))
        yield {"messages": as_json(turns), **saying(record)}


MESSAGES = Format(
    name="messages",
    title="Chats as messages (role, content)",
    columns={
        "messages": "the chat; its last turn is the response, the turns before it are the prompt",
        "id": "kept with the record",
        **SAID_COLUMNS,
    },
    fits=lambda cells: is_chat(cells.get("messages")),
    # UltraFeedback's binarised rows repeat the chosen chat as messages.
    looks=lambda cells: "chosen" not in cells,
    gives=(DemonstrationRecord,),
    read=each_row(_read_messages),
    takes=(DemonstrationRecord,),
    carries=frozenset(SAID),
    blanks=SAID_BLANKS,
    write=each_record(_write_messages),
)


def _read_sharegpt(row: Row) -> AnyRecord:
    turns = turns_of(row.cells.get("conversations"), "conversations")
    system = row.optional_text("system")
    if system and turns[0].role != "system":
        turns = (Message("system", system), *turns)
    meta = row.kept("id")
    if row.get("chosen") is None and row.get("rejected") is None:
        prompt, response = split_last(turns, "conversations")
        return DemonstrationRecord(
            prompt=prompt, response=response, split=row.split, meta=meta, where=row.where
        )
    first, second = (_answer(row, column) for column in ("chosen", "rejected"))
    return ComparisonRecord(
        prompt=chat_prompt(turns, "conversations"),
        responses=distinct(first, second),
        verdict="first",
        split=row.split,
        meta=meta,
        where=row.where,
    )


def _answer(row: Row, column: str) -> str:
    cell = unpacked(row.cells.get(column))
    turns = turns_of([cell] if isinstance(cell, dict) else cell, column)
    return only_turn(turns, column)


def _write_sharegpt(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    turns = as_turns(record.prompt)
    if any(turn.role not in _NAMES for turn in turns):
        tally.left_out["turns of a role that ShareGPT has no name for"] += 1
    elif isinstance(record, DemonstrationRecord):
        _count_plain(record, tally)
        yield {"conversations": _named((*turns, Message("assistant", record.response)))}
    else:
        for one in comparisons_of(record, tally):
            if (sides := winner_first(one, tally)) is None:
                continue
            _count_plain(record, tally)
            chosen, rejected = (_named([Message("assistant", side)])[0] for side in sides)
            yield {"conversations": _named(turns), "chosen": chosen, "rejected": rejected}


def _count_plain(record: AnyRecord, tally: Tally) -> None:
    if not isinstance(record.prompt, ChatPrompt):
        tally.lost["plain prompt (written as a user turn)"] += 1


def _named(turns: tuple[Message, ...] | list[Message]) -> list[dict[str, str]]:
    return [{"from": _NAMES[turn.role], "value": turn.content} for turn in turns]


def _fits_sharegpt(cells: Cells) -> bool:
    return is_chat(cells.get("conversations"))


SHAREGPT = Format(
    name="sharegpt",
    title="ShareGPT conversations (from, value)",
    columns={
        "conversations": "the chat; its last turn is the response, unless chosen is there",
        "chosen": "the turn that won (LLaMA-Factory)",
        "rejected": "the other turn",
        "system": "a system turn before the chat",
        "id": "kept with the record",
    },
    fits=_fits_sharegpt,
    gives=(DemonstrationRecord, ComparisonRecord),
    read=each_row(_read_sharegpt),
    takes=(DemonstrationRecord, ComparisonRecord, RankingRecord),
    write=each_record(_write_sharegpt),
)
