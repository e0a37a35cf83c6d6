"""Choosing what a person is given next, inside the transaction that gives it to them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from assent.collect import picking
from assent.collect.passing import PassedOver
from assent.config.labelling import LabellingSettings
from assent.store import (
    NewComparison,
    NewTask,
    Task,
    TaskKind,
    WorkChange,
    WorkView,
    task_id,
)

REPEAT_AFTER: Final = 20
"""A pair is shown again at the earliest so many tasks later."""
_OWN: Final = "own"
"""What `PassedOver` calls tasks for one person alone."""
REPEAT: Final = "repeat"
"""The purpose of a comparison that repeats another: never trained on."""

Nothing = Literal["none_yet", "all_done", "all_taken"]
"""Why there is no task: there are none at all; this person has done all; others hold the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """One person's next task, by the settings and the project's seed."""

    seed: int
    settings: LabellingSettings

    def choose(
        self,
        change: WorkChange,
        annotator_id: str,
        kinds: Sequence[TaskKind],
        besides: Collection[str],
        passed: PassedOver,
    ) -> tuple[Task, Sequence[str]] | None:
        """The next task for somebody, and its responses in the order they will see them.

        What is theirs alone comes first, then a check item or a repeat if it is the turn for one,
        else the oldest task that has room. Tasks of the leases in `besides` are left out, and so
        is what `passed` knows that there is nothing in.
        """
        ordinal = change.next_ordinal(annotator_id)
        newest = change.newest_task()
        task = self._own(change, annotator_id, kinds, besides, passed, newest)
        if task is None:
            task = self._special(change, annotator_id, ordinal, kinds, besides)
        if task is None:
            task = _oldest(change, annotator_id, kinds, besides, passed, newest)
        if task is None:
            return None
        if task.repeat_of is not None:
            first = change.last_lease(task.repeat_of, annotator_id)
            assert first is not None
            return task, first.shown[::-1]
        stored = change.response_ids(task)
        return task, picking.shown_order(self.seed, annotator_id, ordinal, stored)

    def _own(
        self,
        change: WorkChange,
        annotator_id: str,
        kinds: Sequence[TaskKind],
        besides: Collection[str],
        passed: PassedOver,
        newest: int,
    ) -> Task | None:
        """A task for this person alone that they gave back or let run out."""
        after = passed.after(annotator_id, _OWN)
        if after >= newest:
            return None
        waiting = change.own_tasks(annotator_id, besides, after)
        if not waiting:
            passed.passed(annotator_id, _OWN, newest, besides)
        return next((task for task in waiting if task.kind in kinds), None)

    def _special(
        self,
        change: WorkChange,
        annotator_id: str,
        ordinal: int,
        kinds: Sequence[TaskKind],
        besides: Collection[str],
    ) -> Task | None:
        shares = self.settings.check_share, self.settings.repeat_share
        turn = picking.turn(self.seed, annotator_id, ordinal, *shares)
        if turn == "check":
            checks = change.unasked_checks(annotator_id, kinds, besides)
            if checks:
                return checks[picking.one_of(len(checks), self.seed, annotator_id, ordinal)]
        if turn == "repeat" and "comparison" in kinds:
            return self._repeat(change, annotator_id, ordinal)
        return None

    def _repeat(self, change: WorkChange, annotator_id: str, ordinal: int) -> Task | None:
        """A pair that this person judged long enough ago, as a comparison of its own."""
        leases = change.repeatable(annotator_id, ordinal - REPEAT_AFTER + 1)
        if not leases:
            return None
        old = leases[picking.one_of(len(leases), self.seed, annotator_id, ordinal)]
        content = change.content(change.task(old.task_id))
        first, second = content.responses
        comparison = change.add_comparison(
            NewComparison(
                prompt_id=content.task.prompt_id,
                first_response_id=first,
                second_response_id=second,
                shown_order="second_left" if old.shown[0] == first else "first_left",
                purpose=REPEAT,
                round=content.round,
                index=picking.repeat_index(annotator_id, old.task_id),
            )
        )
        new = NewTask(
            kind="comparison",
            prompt_id=content.task.prompt_id,
            source=REPEAT,
            look_up=content.task.look_up,
            comparison_id=comparison,
            only_for=annotator_id,
            repeat_of=old.task_id,
        )
        change.add_tasks([new])
        return change.task(task_id(new))


def _oldest(
    change: WorkChange,
    annotator_id: str,
    kinds: Sequence[TaskKind],
    besides: Collection[str],
    passed: PassedOver,
    newest: int,
) -> Task | None:
    """The oldest task of these kinds that has room and is nothing special."""
    found: list[Task] = []
    for kind in kinds:
        after = passed.after(annotator_id, kind)
        task = None
        if after < newest:
            task = change.next_open(annotator_id, kind, besides, after)
            before = newest if task is None else task.position - 1
            passed.passed(annotator_id, kind, before, besides)
        if task is not None:
            found.append(task)
    return min(found, key=lambda one: one.position, default=None)


def why_nothing(view: WorkView, annotator_id: str, kinds: Collection[TaskKind]) -> Nothing:
    """Why there is no task for somebody."""
    if not view.has_tasks():
        return "none_yet"
    return "all_taken" if view.any_taken(annotator_id, kinds) else "all_done"
