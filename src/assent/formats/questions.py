"""Files to read only: questions with answers, MT-Bench, TruthfulQA's judges, language feedback.

Source: Cobbe et al. 2021 (GSM8K); Zheng et al. 2023 (MT-Bench); Lin et al. 2021, "TruthfulQA";
Chen et al. 2023, "Improving code generation by training with natural language feedback" (ILF).
"""

import re

from assent.formats.chats import instruction_prompt
from assent.formats.format import Cells, Format, each_row, text_columns
from assent.formats.records import (
    DemonstrationRecord,
    FeedbackRecord,
    PromptRecord,
    RatingRecord,
)
from assent.formats.rows import Row, RowRefused, missing, response_of, wrong_type


def _read_question(row: Row) -> DemonstrationRecord:
    return DemonstrationRecord(
        prompt=instruction_prompt(row.text("question"), "question"),
        response=response_of(row.text("answer"), "answer"),
        split=row.split,
        where=row.where,
    )


QUESTION_ANSWER = Format(
    name="question-answer",
    title="Questions with answers (GSM8K)",
    columns={"question": "the prompt: one user turn", "answer": "the demonstration"},
    fits=text_columns("question", "answer"),
    gives=(DemonstrationRecord,),
    read=each_row(_read_question),
)


def _read_turns(row: Row) -> PromptRecord:
    turns = row.items("turns")
    if not turns:
        column = "turns"
        raise missing(column)
    if not isinstance(turns[0], str):
        raise wrong_type(column="turns[0]", cell=turns[0], wanted="text")
    return PromptRecord(
        prompt=instruction_prompt(turns[0], "turns[0]"),
        split=row.split,
        group=row.name("question_id") or "",
        meta=row.kept("question_id", "category", "turns", "reference"),
        where=row.where,
    )


MT_BENCH = Format(
    name="mt-bench",
    title="MT-Bench questions",
    columns={
        "turns": "the first is the prompt; later ones follow a response, and are only kept",
        "question_id": "the group",
        "category": "kept with the record",
        "reference": "kept with the record",
    },
    fits=lambda cells: isinstance(cells.get("turns"), list | str) and "question_id" in cells,
    gives=(PromptRecord,),
    read=each_row(_read_turns),
)

_JUDGED = re.compile(r"Q: (?P<prompt>.*)\nA: (?P<response>.*)\n(?P<axis>True|Helpful):", re.DOTALL)
_AXES = {"True": "truth", "Helpful": "info"}
_SAID = {" yes": 1.0, " no": 0.0}


def _read_judged(row: Row) -> RatingRecord:
    found = _JUDGED.fullmatch(row.text("prompt"))
    if found is None:
        raise RowRefused(
            reason="no judged answer",
            detail="column prompt should be `Q: …`, `A: …` and `True:` or `Helpful:` on lines",
        )
    said = row.text("completion")
    if said not in _SAID:
        raise wrong_type(column="completion", cell=said, wanted="' yes' or ' no'")
    return RatingRecord(
        prompt=instruction_prompt(found["prompt"], "prompt"),
        response=response_of(found["response"], "prompt (A:)"),
        axes={_AXES[found["axis"]]: _SAID[said]},
        split=row.split,
        where=row.where,
    )


def _looks_judged(cells: Cells) -> bool:
    return cells["completion"] in _SAID and _JUDGED.fullmatch(cells["prompt"]) is not None


TRUTHFULQA_JUDGE = Format(
    name="truthfulqa-judge",
    title="TruthfulQA answers, judged",
    columns={
        "prompt": "question, answer, and what is judged: True (axis truth) or Helpful (axis info)",
        "completion": "yes is 1 on that axis, no is 0",
    },
    fits=text_columns("prompt", "completion"),
    looks=_looks_judged,
    gives=(RatingRecord,),
    read=each_row(_read_judged),
)


def _read_feedback(row: Row) -> FeedbackRecord:
    prompt = row.text("prompt")
    if not prompt.strip():
        raise RowRefused(reason="empty prompt", detail="column prompt is an empty prompt")
    whole = row.text("original_model_completion")
    response = response_of(whole.removeprefix(prompt), "original_model_completion")
    criticism = row.text("Feedback")
    if not criticism.strip():
        raise RowRefused(reason="empty criticism", detail="column Feedback is empty")
    refinement = row.optional_text("completion")
    return FeedbackRecord(
        prompt=prompt,
        response=response,
        criticism=criticism,
        refinement=refinement if refinement and refinement.strip() else None,
        annotator=row.name("worker_id"),
        split=row.split,
        group=row.name("task_id") or "",
        meta=row.kept("task_id", "test", "passed", "result", "refinement_edit_distance"),
        where=row.where,
    )


ILF = Format(
    name="ilf",
    title="Language feedback on programs (ILF)",
    columns={
        "prompt": "the task and the head of the program, as plain text",
        "original_model_completion": "the response (the prompt at its beginning is taken off)",
        "Feedback": "the criticism",
        "completion": "the refinement",
        "worker_id": "who wrote it",
        "task_id": "the group",
        "test": "kept with the record, and never run",
        "passed": "kept with the record",
        "result": "kept with the record",
        "refinement_edit_distance": "kept with the record",
    },
    fits=text_columns("prompt", "original_model_completion", "Feedback"),
    gives=(FeedbackRecord,),
    read=each_row(_read_feedback),
)
