"""UltraFeedback: several responses to an instruction, each rated on four axes; and its pairs.

The ratings stay ratings: one record a response, its axes as the file names them, from 1 to 5. A
rating of "N/A" is no rating. The binarised set (HuggingFaceH4) is chats with two scores, whose
difference is the margin.

Source: Cui et al. 2023, "UltraFeedback"; Tunstall et al. 2023, "Zephyr".
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from assent.formats.chats import as_json, as_turns, instruction_prompt, is_chat
from assent.formats.format import (
    Cells,
    Format,
    NewRow,
    Outcome,
    Rows,
    Tally,
    comparisons_of,
    each_record,
    each_row,
    winner_first,
)
from assent.formats.records import AnyRecord, ComparisonRecord, RankingRecord, RatingRecord
from assent.formats.rows import Row, RowRefused, as_number, response_of, wrong_type
from assent.formats.trl import read_preference
from assent.types import ChatPrompt, Message

_NO_RATING = ("n/a", "na", "none", "null", "")
_KEPT = ("model", "principle", "custom_system_prompt", "critique", "overall_score")


def _read(rows: Rows) -> Outcome:
    for row in rows:
        try:
            prompt = instruction_prompt(row.text("instruction"), "instruction")
            completions = row.items("completions")
        except RowRefused as refused:
            yield row.problem(refused.reason, refused.detail)
            continue
        for at, completion in enumerate(completions):
            try:
                yield _rated(row, prompt, completion, f"completions[{at}]")
            except RowRefused as refused:
                yield row.problem(refused.reason, refused.detail)


def _rated(row: Row, prompt: ChatPrompt, completion: object, place: str) -> RatingRecord:
    if not isinstance(completion, Mapping):
        raise wrong_type(place, completion, "an object with response and annotations")
    inner = Row(row.where, completion)
    axes = {}
    for axis, said in inner.table("annotations").items():
        rating = said.get("Rating") if isinstance(said, Mapping) else said
        if rating is None or (isinstance(rating, str) and rating.strip().lower() in _NO_RATING):
            continue
        axes[axis] = as_number(f"{place}.annotations.{axis}", rating)
    if not axes:
        raise RowRefused(reason="no rating", detail=f"{place} has no rating on any axis")
    return RatingRecord(
        prompt=prompt,
        response=response_of(inner.text("response"), f"{place}.response"),
        axes=axes,
        source=row.name("source") or "",
        split=row.split,
        meta=inner.kept(*_KEPT),
        where=row.where,
    )


def _write(records: Iterable[AnyRecord], tally: Tally) -> Iterator[NewRow]:
    ratings = (record for record in records if isinstance(record, RatingRecord))
    # Ratings of one prompt stand together; its turns tell chats from text that reads the same.
    for (prompt, source), group in groupby(ratings, lambda one: (as_turns(one.prompt), one.source)):
        together = list(group)
        whole = together[0].prompt
        if not isinstance(whole, ChatPrompt):
            tally.lost["plain prompt (written as a user turn)"] += len(together)
        elif len(prompt) > 1:
            tally.lost["chat roles (written as text)"] += len(together)
        completions = [_completion(one) for one in together]
        yield {
            "source": source,
            "instruction": str(whole) if len(prompt) > 1 else prompt[0].content,
            "models": [completion["model"] for completion in completions],
            "completions": completions,
        }


def _completion(record: RatingRecord) -> dict[str, Any]:
    kept = {name: record.meta[name] for name in _KEPT if name in record.meta}
    ratings = {axis: {"Rating": f"{value:g}"} for axis, value in record.axes.items()}
    return {"model": "", **kept, "response": record.response, "annotations": ratings}


ULTRA_FEEDBACK = Format(
    name="ultrafeedback",
    title="UltraFeedback ratings",
    columns={
        "instruction": "the prompt: one user turn",
        "completions": "the responses; annotations.AXIS.Rating is the rating on that axis",
        "source": "the data set that the prompt is from",
        "models": "repeated in each completion",
    },
    fits=lambda cells: (
        isinstance(cells.get("instruction"), str)
        and isinstance(cells.get("completions"), list | str)
    ),
    gives=(RatingRecord,),
    read=_read,
    takes=(RatingRecord,),
    carries=frozenset({"source"}),
    write=_write,
)


def _write_pairs(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    for one in comparisons_of(record, tally):
        if (sides := winner_first(one, tally)) is None:
            continue
        if not isinstance(one.prompt, ChatPrompt):
            tally.lost["plain prompt (written as a user turn)"] += 1
        turns = as_turns(one.prompt)
        chosen, rejected = (as_json((*turns, Message("assistant", side))) for side in sides)
        margin = {"score_chosen": one.margin, "score_rejected": 0.0} if one.margin else {}
        scores = {
            name: one.meta[name] for name in ("score_chosen", "score_rejected") if name in one.meta
        }
        yield {
            "prompt": turns[-1].content,
            "chosen": chosen,
            "rejected": rejected,
            "messages": chosen,
            **(scores if len(scores) == 2 else margin),
        }


def _fits_pairs(cells: Cells) -> bool:
    return (
        isinstance(cells.get("prompt"), str)
        and is_chat(cells.get("chosen"))
        and is_chat(cells.get("rejected"))
        and not is_chat(cells["prompt"])
    )


def _read_pair(row: Row) -> ComparisonRecord:
    # The chats hold the whole prompt, system turn and all; the text column only its last turn.
    cells = {name: cell for name, cell in row.cells.items() if name != "prompt"}
    return read_preference(Row(row.where, cells, row.split))


ULTRA_FEEDBACK_PAIRS = Format(
    name="ultrafeedback-binarized",
    title="UltraFeedback pairs, binarised",
    columns={
        "prompt": "repeated from the chats",
        "chosen": "the chat that won: the prompt's turns and the response",
        "rejected": "the chat with the other response",
        "messages": "the chosen chat again",
        "score_chosen": "with score_rejected: the winner's lead",
        "score_rejected": "see score_chosen",
        "prompt_id": "kept with the record",
    },
    fits=_fits_pairs,
    looks=lambda cells: "messages" in cells or "score_chosen" in cells,
    gives=(ComparisonRecord,),
    read=each_row(_read_pair),
    takes=(ComparisonRecord, RankingRecord),
    carries=frozenset({"margin"}),
    write=each_record(_write_pairs),
)
