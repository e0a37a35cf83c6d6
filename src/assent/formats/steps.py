"""Stepwise supervision, as TRL has it for process rewards: each step of a response right or wrong.

What was said of a step was said of the response up to there, so a row becomes a rating of each
beginning of the response on the axis `step`: 1 where its last step is right, 0 where it is wrong.
Steps are joined by newlines, as TRL joins them.
"""

from typing import Final

from assent.formats.chats import prompt_of
from assent.formats.format import SAID_COLUMNS, Cells, Format, each_row, said_of
from assent.formats.records import RatingRecord
from assent.formats.rows import Row, RowRefused, response_of, wrong_type

STEP_AXIS: Final = "step"
SEPARATOR: Final = "\n"


def _fits(cells: Cells) -> bool:
    steps, labels = cells.get("completions"), cells.get("labels")
    return (
        isinstance(cells.get("prompt"), str)
        and isinstance(steps, list)
        and all(isinstance(step, str) for step in steps)
        and isinstance(labels, list)
    )


def read_steps(row: Row) -> list[RatingRecord]:
    """A rating of each beginning of the response."""
    prompt = prompt_of(row, "prompt")
    steps, labels = row.items("completions"), row.items("labels")
    if len(steps) != len(labels):
        detail = f"columns completions and labels hold {len(steps)} steps and {len(labels)} labels"
        raise RowRefused(reason="steps and labels differ in number", detail=detail)
    if not steps:
        raise RowRefused(reason="no step", detail="column completions holds no step")
    rights = [_right(label, number) for number, label in enumerate(labels)]
    found, whole = [], ""
    for number, (step, right) in enumerate(zip(steps, rights, strict=True)):
        column = f"completions[{number}]"
        if not isinstance(step, str):
            raise wrong_type(column=column, cell=step, wanted="text")
        whole += (SEPARATOR if number else "") + response_of(step, column)
        found.append(
            RatingRecord(
                prompt=prompt,
                response=whole,
                axes={STEP_AXIS: float(right)},
                annotator=row.name("annotator"),
                where=row.where,
                **said_of(row),
            )
        )
    return found


def _right(label: object, number: int) -> bool:
    if isinstance(label, bool | int) and label in (0, 1):
        return bool(label)
    raise wrong_type(column=f"labels[{number}]", cell=label, wanted="true or false")


STEPWISE = Format(
    name="trl-stepwise",
    title="TRL stepwise supervision",
    columns={
        "prompt": "the prompt, as text",
        "completions": "the steps of one response, in order; joined by newlines",
        "labels": "for each step true where it is right",
        **SAID_COLUMNS,
    },
    fits=_fits,
    gives=(RatingRecord,),
    read=each_row(read_steps),
)
