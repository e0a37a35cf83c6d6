"""Reading work: what is open to whom, what somebody holds, and what they said."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, exists, func, select

from assent.errors import UnknownRecord
from assent.store import work_queries
from assent.store.guidelines import newest_version
from assent.store.ledger import list_events
from assent.store.people_records import (
    AnswerRow,
    CheckItem,
    Lease,
    Standing,
    Task,
    TaskContent,
    TaskKind,
)
from assent.store.records import StoredEvent
from assent.store.response_sets import response_texts
from assent.store.rows import parsed_ids, parsed_object, prompt_text
from assent.store.schema import comparisons, events, prompts, response_sets, responses
from assent.store.schema_people import check_items, leases, notes, personal_data, tasks
from assent.store.times import from_text, to_text

RECENT: Final = 100


class WorkView:
    """Reads inside one open transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    # Tasks ---------------------------------------------------------------------------------------

    def task(self, task_id: str) -> Task:
        """The task with this id.

        Raises:
            UnknownRecord: there is none.
        """
        row = self.connection.execute(select(tasks).where(tasks.c.id == task_id)).first()
        if row is None:
            message = f"tasks has no record {task_id}"
            raise UnknownRecord(message)
        return _task(row)

    def newest_task(self) -> int:
        """The position of the newest task; 0 before the first."""
        return self.connection.scalar(work_queries.NEWEST_TASK) or 0

    def next_open(
        self, annotator_id: str, kind: TaskKind, besides: Collection[str] = (), after: int = 0
    ) -> Task | None:
        """The oldest task of a kind that has room and that this person has not been given.

        A task whose lease ran out may come back, unless the lease is in `besides`: it is on a
        screen still. Tasks up to the position `after` are not looked at.
        """
        row = self.connection.execute(
            work_queries.NEXT_OPEN,
            {"annotator": annotator_id, "kind": kind, "after": after, "besides": list(besides)},
        ).first()
        return None if row is None else _task(row)

    def own_tasks(
        self, annotator_id: str, besides: Collection[str] = (), after: int = 0
    ) -> list[Task]:
        """Tasks meant for this person alone that are not answered and not in their hands."""
        given = {
            "annotator": annotator_id,
            "after": after,
            "besides": list(besides),
            "limit": RECENT,
        }
        return [_task(row) for row in self.connection.execute(work_queries.OWN_TASKS, given)]

    def unasked_checks(
        self, annotator_id: str, kinds: Collection[TaskKind], besides: Collection[str] = ()
    ) -> list[Task]:
        """The oldest check items that this person has not been given."""
        given = {
            "annotator": annotator_id,
            "kinds": list(kinds),
            "besides": list(besides),
            "limit": RECENT,
        }
        return [_task(row) for row in self.connection.execute(work_queries.UNASKED_CHECKS, given)]

    def repeatable(self, annotator_id: str, before_ordinal: int) -> list[Lease]:
        """This person's oldest comparisons that could be shown again, answered before that one."""
        given = {"annotator": annotator_id, "before": before_ordinal, "limit": RECENT}
        return [_lease(row) for row in self.connection.execute(work_queries.REPEATABLE, given)]

    def response_ids(self, task: Task) -> Sequence[str]:
        """The responses of a task in the order stored."""
        return self._subject(task)[0]

    def content(self, task: Task) -> TaskContent:
        """The texts of a task and what it belongs to."""
        prompt = self.connection.execute(
            select(prompts.c.text, prompts.c.messages).where(prompts.c.id == task.prompt_id)
        ).one()
        ids, purpose, round_ = self._subject(task)
        texts = response_texts(self.connection, ids)
        return TaskContent(
            task=task,
            prompt=prompt_text(prompt.text, prompt.messages),
            responses={id_: texts[id_] for id_ in ids},
            purpose=purpose,
            round=round_,
        )

    def open_counts(self) -> dict[str, int]:
        """How many tasks of each kind have room."""
        query = select(tasks.c.kind, func.count()).where(work_queries.OPEN).group_by(tasks.c.kind)
        query = query.where(~exists().where(check_items.c.task_id == tasks.c.id))
        return {row[0]: row[1] for row in self.connection.execute(query)}

    def own_open_counts(self, annotator_id: str) -> dict[str, int]:
        """How many tasks of each kind have room for others, but were given to this person."""
        query = (
            select(tasks.c.kind, func.count())
            .join(leases, leases.c.task_id == tasks.c.id)
            .where(leases.c.annotator_id == annotator_id, leases.c.state.in_(work_queries.MINE))
            .where(work_queries.OPEN)
            .where(~exists().where(check_items.c.task_id == tasks.c.id))
            .group_by(tasks.c.kind)
        )
        return {row[0]: row[1] for row in self.connection.execute(query)}

    def any_taken(self, annotator_id: str, kinds: Collection[TaskKind]) -> bool:
        """Whether somebody else holds a task that this person was not given: it may come back."""
        given = {"annotator": annotator_id, "kinds": list(kinds), "besides": []}
        return self.connection.execute(work_queries.ANY_TAKEN, given).first() is not None

    def has_tasks(self) -> bool:
        """Whether there is any task at all."""
        return self.connection.execute(select(tasks.c.id).limit(1)).first() is not None

    def checks(self) -> list[CheckItem]:
        """Check items, oldest first, and how they were answered."""
        first, second = responses.alias("first"), responses.alias("second")
        query = (
            select(
                check_items,
                tasks.c.comparison_id,
                tasks.c.halted_at,
                prompts.c.text.label("prompt"),
                first.c.text.label("first"),
                second.c.text.label("second"),
            )
            .join(tasks, tasks.c.id == check_items.c.task_id)
            .join(comparisons, comparisons.c.id == tasks.c.comparison_id)
            .join(prompts, prompts.c.id == tasks.c.prompt_id)
            .join(first, first.c.id == comparisons.c.first_response_id)
            .join(second, second.c.id == comparisons.c.second_response_id)
            .order_by(tasks.c.position)
        )
        said: dict[str, list[str]] = {}
        for _, task, verdict in self.check_verdicts():
            said.setdefault(task, []).append(verdict)
        return [
            CheckItem(
                task_id=row.task_id,
                comparison_id=row.comparison_id,
                prompt=row.prompt,
                first=row.first,
                second=row.second,
                answer=row.answer,
                why=row.why,
                answered=len(said.get(row.task_id, ())),
                right=said.get(row.task_id, []).count(row.answer),
                halted=row.halted_at is not None,
            )
            for row in self.connection.execute(query)
        ]

    def is_check(self, task_id: str) -> bool:
        """Whether a task's answer is known."""
        query = select(check_items.c.task_id).where(check_items.c.task_id == task_id)
        return self.connection.execute(query).first() is not None

    def check_verdicts(self) -> list[tuple[str, str, str]]:
        """Annotator, check task, verdict as stored: every answer to a check item that stands."""
        query = (
            select(leases.c.annotator_id, leases.c.task_id, events.c.payload)
            .join(check_items, check_items.c.task_id == leases.c.task_id)
            .join(events, events.c.id == leases.c.event_id)
            .where(leases.c.state == "submitted")
        )
        return [
            (row[0], row[1], str(parsed_object(row[2])["verdict"]))
            for row in self.connection.execute(query)
        ]

    # Leases --------------------------------------------------------------------------------------

    def lease(self, lease_id: str) -> Lease:
        """The lease with this id.

        Raises:
            UnknownRecord: there is none.
        """
        row = self.connection.execute(select(leases).where(leases.c.id == lease_id)).first()
        if row is None:
            message = f"leases has no record {lease_id}"
            raise UnknownRecord(message)
        return _lease(row)

    def lease_of_answer(self, event_id: str) -> Lease | None:
        """The lease under which an answer was given, if that answer is its latest."""
        row = self.connection.execute(select(leases).where(leases.c.event_id == event_id)).first()
        return None if row is None else _lease(row)

    def last_lease(self, task_id: str, annotator_id: str) -> Lease | None:
        """The newest lease of a task that somebody had."""
        given = {"task": task_id, "annotator": annotator_id}
        row = self.connection.execute(work_queries.LAST_LEASE, given).first()
        return None if row is None else _lease(row)

    def live_leases(self, annotator_id: str | None = None) -> list[Lease]:
        """What is in people's hands, or in one person's, oldest first."""
        if annotator_id is None:
            rows = self.connection.execute(work_queries.LIVE).all()
        else:
            given = {"annotator": annotator_id}
            rows = self.connection.execute(work_queries.LIVE_OF, given).all()
        return [_lease(row) for row in sorted(rows, key=lambda row: int(row.position))]

    def counted(self, task_id: str) -> int:
        """How many answers count for a task."""
        query = select(func.count()).select_from(leases)
        query = query.where(leases.c.task_id == task_id, leases.c.counts)
        return self.connection.scalar(query) or 0

    def next_ordinal(self, annotator_id: str) -> int:
        """The number of the next task this person will be given."""
        query = select(func.max(leases.c.ordinal)).where(leases.c.annotator_id == annotator_id)
        return (self.connection.scalar(query) or 0) + 1

    def newest_guidelines(self) -> int:
        """The version of the guidelines that holds now; 0 before the first."""
        return newest_version(self.connection)

    # Answers -------------------------------------------------------------------------------------

    def event(self, event_id: str) -> StoredEvent | None:
        """The event with this id."""
        query = select(events.c.seq).where(events.c.id == event_id)
        seq = self.connection.scalar(query)
        return None if seq is None else list_events(self.connection, seq - 1, 1)[0]

    def superseded_by(self, event_id: str) -> str | None:
        """The event that edited or undid this one."""
        return self.connection.scalar(select(events.c.id).where(events.c.supersedes == event_id))

    def answers(self, annotator_id: str, before_ordinal: int | None, limit: int) -> list[AnswerRow]:
        """Somebody's answers, newest first, each as it stands now."""
        query = (
            select(
                leases,
                tasks.c.kind,
                prompts.c.text.label("prompt"),
                events.c.kind.label("event_kind"),
                events.c.payload,
                events.c.supersedes,
                events.c.created_at.label("at"),
            )
            .join(tasks, tasks.c.id == leases.c.task_id)
            .join(prompts, prompts.c.id == tasks.c.prompt_id)
            .join(events, events.c.id == leases.c.event_id)
            .where(leases.c.annotator_id == annotator_id)
            .order_by(leases.c.ordinal.desc())
            .limit(limit)
        )
        if before_ordinal is not None:
            query = query.where(leases.c.ordinal < before_ordinal)
        return [
            AnswerRow(
                lease=_lease(row),
                kind=row.kind,
                prompt=row.prompt,
                event_kind=row.event_kind,
                payload=parsed_object(row.payload),
                edited=row.supersedes is not None,
                at=from_text(row.at),
            )
            for row in self.connection.execute(query)
        ]

    def standing(self, annotator_id: str, day_began: datetime) -> Standing:
        """How far somebody is, and how long their last answers took."""
        counted = (
            select(
                func.count().filter(leases.c.state == "submitted").label("answered"),
                func.count()
                .filter(leases.c.state == "submitted", leases.c.closed_at >= to_text(day_began))
                .label("today"),
                func.count().filter(leases.c.state == "skipped").label("skipped"),
            )
            .select_from(leases)
            .where(leases.c.annotator_id == annotator_id)
        )
        row = self.connection.execute(counted).one()
        recent = self.answers(annotator_id, None, RECENT)
        seconds = [one.payload.get("seconds_spent") for one in recent]
        return Standing(
            answered=row.answered,
            answered_today=row.today,
            skipped=row.skipped,
            recent_seconds=tuple(float(s) for s in seconds if isinstance(s, int | float)),
        )

    def note(self, event_id: str) -> str | None:
        """What was written beside an answer, if it was not erased."""
        return self.connection.scalar(select(notes.c.text).where(notes.c.event_id == event_id))

    def note_key(self, annotator_id: str) -> str | None:
        """The key under which a person's notes are hashed; None once they were erased."""
        query = select(personal_data.c.note_key)
        return self.connection.scalar(query.where(personal_data.c.annotator_id == annotator_id))

    def response_text(self, response_id: str) -> str:
        """The text of a response."""
        return response_texts(self.connection, [response_id])[response_id]

    def _subject(self, task: Task) -> tuple[Sequence[str], str, int]:
        """Responses in the order stored, purpose and round."""
        if task.comparison_id is not None:
            row = self.connection.execute(
                select(comparisons).where(comparisons.c.id == task.comparison_id)
            ).one()
            return (row.first_response_id, row.second_response_id), row.purpose, row.round
        if task.response_set_id is not None:
            row = self.connection.execute(
                select(response_sets).where(response_sets.c.id == task.response_set_id)
            ).one()
            return parsed_ids(row.response_ids), row.purpose, row.round
        return () if task.response_id is None else (task.response_id,), "", 0


def _task(row: Row[Any]) -> Task:
    return Task(
        id=row.id,
        position=row.position,
        kind=row.kind,
        prompt_id=row.prompt_id,
        source=row.source,
        overlap=row.overlap,
        remaining=row.remaining,
        look_up=bool(row.look_up),
        comparison_id=row.comparison_id,
        response_set_id=row.response_set_id,
        response_id=row.response_id,
        only_for=row.only_for,
        repeat_of=row.repeat_of,
        halted=row.halted_at is not None,
    )


def _lease(row: Row[Any]) -> Lease:
    return Lease(
        id=row.id,
        task_id=row.task_id,
        annotator_id=row.annotator_id,
        ordinal=row.ordinal,
        shown=parsed_ids(row.shown),
        guidelines_version=row.guidelines_version,
        state=row.state,
        counts=bool(row.counts),
        reason=row.reason,
        event_id=row.event_id,
        claimed_at=from_text(row.claimed_at),
        expires_at=from_text(row.expires_at),
    )
