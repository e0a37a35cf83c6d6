"""Instructions with an optional input: Alpaca, AlpacaFarm, self-instruct, LLMBar.

An instruction is one turn of the user; the input stands below it after a blank line. Alpaca rows
may also hold `system` and `history` (LLaMA-Factory). AlpacaFarm's `preference` is 1 or 2, and 0 for
a tie; AlpacaEval's decimals lie between 1 and 2, with the tie at 1.5.

Source: Taori et al. 2023 (Alpaca); Dubois et al. 2023, "AlpacaFarm"; Wang et al. 2022,
"Self-Instruct"; Zeng et al. 2023, "Evaluating large language models at evaluating instruction
following" (LLMBar).
"""

from collections.abc import Iterator
from typing import Any

from assent.formats.chats import instruction_prompt
from assent.formats.format import (
    UNDECIDED,
    Cells,
    Format,
    NewRow,
    Tally,
    comparisons_of,
    each_record,
    each_row,
)
from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    RankingRecord,
)
from assent.formats.rows import Row, distinct, missing, response_of, wrong_type
from assent.types import ChatPrompt, Message, Verdict

_TIES = (0.0, 1.5)
_PAST = ("system", "history")


def _turns(row: Row) -> ChatPrompt:
    """Instruction and input, after a system turn and the turns of `history`."""
    text, below = row.text("instruction"), row.optional_text("input")
    prompt = instruction_prompt(f"{text}\n\n{below}" if below else text, "instruction")
    system = row.optional_text("system")
    before = [Message("system", system)] if system else []
    for at, past in enumerate(row.items("history") if row.get("history") is not None else []):
        if not isinstance(past, list) or [type(one) for one in past] != [str, str]:
            column = f"history[{at}]"
            raise wrong_type(column, past, "a pair of texts")
        before += [Message("user", past[0]), Message("assistant", past[1])]
    return ChatPrompt((*before, *prompt.messages))


def _read_alpaca(row: Row) -> DemonstrationRecord:
    return DemonstrationRecord(
        prompt=_turns(row),
        response=response_of(row.text("output"), "output"),
        split=row.split,
        meta=row.kept("input"),
        where=row.where,
    )


def _instruction(record: AnyRecord, tally: Tally) -> NewRow:
    """The columns of a prompt; the input apart again where the record knows it."""
    prompt, below = record.prompt, record.meta.get("input")
    row: dict[str, Any] = {}
    if isinstance(prompt, ChatPrompt):
        *before, last = prompt.messages
        if before and before[0].role == "system":
            row["system"] = before.pop(0).content
        roles = [turn.role for turn in (*before, last)]
        if roles != ["user", "assistant"] * (len(before) // 2) + ["user"]:
            tally.lost["chat roles (written as text)"] += 1
            row, text = {}, str(prompt)
        else:
            text = last.content
            if before:
                said = [turn.content for turn in before]
                row["history"] = [list(pair) for pair in zip(said[::2], said[1::2], strict=True)]
    else:
        tally.lost["plain prompt (written as a user turn)"] += 1
        text = prompt
    ending = f"\n\n{below}" if isinstance(below, str) and below else None
    if ending and text.endswith(ending) and text.removesuffix(ending).strip():
        return {"instruction": text.removesuffix(ending), "input": below, **row}
    return {"instruction": text, "input": "", **row}


def _write_alpaca(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    if isinstance(record, DemonstrationRecord):
        row = _instruction(record, tally)
        past = {name: row.pop(name) for name in tuple(row) if name in _PAST}
        yield {**row, "output": record.response, **past}


ALPACA = Format(
    name="alpaca",
    title="Alpaca instructions",
    columns={
        "instruction": "the prompt: one user turn",
        "input": "below the instruction, after a blank line",
        "output": "the demonstration",
        "system": "a system turn (LLaMA-Factory)",
        "history": "earlier turns in pairs (LLaMA-Factory)",
    },
    fits=lambda cells: _has_texts(cells, "instruction", "output"),
    gives=(DemonstrationRecord,),
    read=each_row(_read_alpaca),
    takes=(DemonstrationRecord,),
    blanks={"system": "", "history": []},
    write=each_record(_write_alpaca),
)


def _has_texts(cells: Cells, *columns: str) -> bool:
    return all(isinstance(cells.get(column), str) for column in columns)


def _read_alpacafarm(row: Row) -> ComparisonRecord:
    preference = row.required_number("preference")
    if preference not in (0.0, *_TIES) and not 1 <= preference <= 2:
        raise wrong_type(column="preference", cell=preference, wanted="1, 2, or 0 for a tie")
    verdict: Verdict = (
        "tie" if preference in _TIES else "first" if preference < _TIES[1] else "second"
    )
    is_decimal = preference not in (0, 1, 1.5, 2)
    return ComparisonRecord(
        prompt=_turns(row),
        responses=distinct(
            *(response_of(row.text(name), name) for name in ("output_1", "output_2"))
        ),
        verdict=verdict,
        # How far from a tie, up to 1: the judge's log-probabilities gave it.
        margin=abs(2 * preference - 3) if is_decimal else None,
        annotator=row.name("annotator"),
        split=row.split,
        meta=row.kept("input", "generator_1", "generator_2"),
        where=row.where,
    )


_PREFERENCES = {"first": 1, "second": 2, "tie": 0}


def _write_alpacafarm(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    for one in comparisons_of(record, tally):
        if one.verdict not in _PREFERENCES:
            tally.left_out[UNDECIDED[one.verdict]] += 1
            continue
        row = _instruction(one, tally)
        if row.keys() & {*_PAST}:
            tally.lost["chat roles (written as text)"] += 1
            row = {"instruction": str(one.prompt), "input": ""}
        yield {
            **row,
            "output_1": one.responses[0],
            "output_2": one.responses[1],
            "preference": _PREFERENCES[one.verdict],
            **({"annotator": one.annotator} if one.annotator else {}),
        }


ALPACA_FARM = Format(
    name="alpacafarm",
    title="AlpacaFarm comparisons",
    columns={
        "instruction": "the prompt: one user turn",
        "input": "below the instruction, after a blank line",
        "output_1": "the first response",
        "output_2": "the second response",
        "preference": "1 or 2 for the response that won, 0 or 1.5 for a tie",
        "annotator": "who judged",
        "generator_1": "kept with the record",
        "generator_2": "kept with the record",
    },
    fits=lambda cells: (
        _has_texts(cells, "instruction", "output_1", "output_2") and "preference" in cells
    ),
    gives=(ComparisonRecord,),
    read=each_row(_read_alpacafarm),
    takes=(ComparisonRecord, RankingRecord),
    carries=frozenset({"annotator"}),
    blanks={"annotator": ""},
    write=each_record(_write_alpacafarm),
    order_is_shown=True,
)


def _read_tasks(row: Row) -> Iterator[DemonstrationRecord]:
    text = row.text("instruction")
    instances = row.items("instances")
    if not instances:
        column = "instances"
        raise missing(column)
    for at, instance in enumerate(instances):
        place = f"instances[{at}]"
        if not isinstance(instance, dict):
            raise wrong_type(place, instance, "an object with input and output")
        inner = Row(row.where, {"instruction": text, **instance})
        yield DemonstrationRecord(
            prompt=_turns(inner),
            response=response_of(inner.text("output"), f"{place}.output"),
            split=row.split,
            group=row.name("id") or "",
            meta=row.kept("id", "name", "motivation_app") | inner.kept("input"),
            where=row.where,
        )


SELF_INSTRUCT = Format(
    name="self-instruct",
    title="Self-Instruct tasks",
    columns={
        "instruction": "the prompt: one user turn",
        "instances": "each one's input stands below the instruction; its output is a demonstration",
        "id": "the group: all instances of a task",
        "name": "kept with the record",
        "motivation_app": "kept with the record",
    },
    fits=lambda cells: (
        _has_texts(cells, "instruction") and isinstance(cells.get("instances"), list | str)
    ),
    gives=(DemonstrationRecord,),
    read=each_row(_read_tasks),
)


def _read_llmbar(row: Row) -> ComparisonRecord:
    label = row.required_number("label")
    if label not in (1, 2):
        raise wrong_type(column="label", cell=label, wanted="1 or 2")
    return ComparisonRecord(
        prompt=instruction_prompt(row.text("input"), "input"),
        responses=distinct(
            *(response_of(row.text(name), name) for name in ("output_1", "output_2"))
        ),
        verdict="first" if label == 1 else "second",
        split=row.split,
        where=row.where,
    )


LLMBAR = Format(
    name="llmbar",
    title="LLMBar comparisons",
    columns={
        "input": "the prompt: one user turn",
        "output_1": "the first response",
        "output_2": "the second response",
        "label": "1 or 2: the response that follows the instruction",
    },
    fits=lambda cells: (
        _has_texts(cells, "input", "output_1", "output_2")
        and "label" in cells
        and "instruction" not in cells
    ),
    gives=(ComparisonRecord,),
    read=each_row(_read_llmbar),
    order_is_shown=True,
)
