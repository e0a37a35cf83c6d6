"""Work: tasks, and the leases under which people hold them.

Whoever hands tasks out decides in Python what to give to whom, inside one writing transaction
(`Work.change`), so that two people never take the last place of a task. `tasks.remaining` is
computed anew from the leases whenever one of them opens or closes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, delete, func, insert, or_, select, update

from assent.errors import DataError
from assent.store import ledger, recording
from assent.store.content import add_comparisons
from assent.store.database import Database
from assent.store.feedback_records import NewRanking, NewRating
from assent.store.identity import canonical_json, content_id, require_text
from assent.store.people_records import CheckAnswer, Lease, LeaseState, NewTask, TaskKind
from assent.store.records import NewComparison, NewDemonstration, NewJudgement, Recorded
from assent.store.rows import add_missing, existing
from assent.store.schema_people import check_items, leases, notes, tasks
from assent.store.times import Clock, to_text
from assent.store.work_view import WorkView

_LAST_LEASE = select(func.max(leases.c.position))
_TAKEN = (
    select(func.count())
    .select_from(leases)
    .where(leases.c.task_id == tasks.c.id, or_(leases.c.state == "live", leases.c.counts))
    .correlate(tasks)
    .scalar_subquery()
)
_RECOUNT = (
    update(tasks).where(tasks.c.id == bindparam("task")).values(remaining=tasks.c.overlap - _TAKEN)
)

NewAnswer = NewJudgement | NewRanking | NewRating | NewDemonstration


class Work:
    """What is asked of people and who holds it; safe to share between threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def now(self) -> datetime:
        """The time, by the store's clock."""
        return self._clock()

    @contextmanager
    def look(self) -> Iterator[WorkView]:
        """Read what is asked and held, as it is at one moment."""
        with self._database.reading() as connection:
            yield WorkView(connection)

    @contextmanager
    def change(self) -> Iterator["WorkChange"]:
        """Decide and write in one transaction, in which nobody else writes."""
        with self._database.writing() as connection:
            yield WorkChange(connection, self._clock())

    def add_tasks(self, new: Sequence[NewTask]) -> tuple[int, int]:
        """Add tasks in one transaction; how many are new and how many were there.

        A task is the same when kind, subject and the person it is for are: adding it again leaves
        it as it is, whatever the overlap.

        Raises:
            UnknownRecord: no such prompt, comparison, response set, response or annotator.
        """
        with self.change() as change:
            return change.add_tasks(new)

    def set_halted(self, task_id: str, *, halted: bool) -> None:
        """Stop handing a task out, or go on; answers to what is in people's hands still count.

        Raises:
            UnknownRecord: no such task.
        """
        with self.change() as change:
            change.task(task_id)
            change.set_halted(task_id, halted=halted)

    def set_overlap(
        self, overlap: int, *, task: str | None = None, kind: TaskKind | None = None
    ) -> int:
        """Say how many people's answers count for a task, or for all of a kind; how many changed.

        Never fewer than count already or are in people's hands: such a task keeps those. A task
        that had all it wanted opens again when more are wanted. Check items and repeats stay.

        Raises:
            UnknownRecord: no such task.
            DataError: the task is a check item or a repeat.
        """
        with self.change() as change:
            if task is not None and (change.task(task).only_for or change.is_check(task)):
                message = f"task {task} is a check item or a repeat; its overlap stays as it is"
                raise DataError(message)
            return change.set_overlap(overlap, task=task, kind=kind)


class WorkChange(WorkView):
    """The writing half, inside an open transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        super().__init__(connection)
        self.now = now
        """The time of this transaction, by the store's clock."""
        self._text = to_text(now)

    # Tasks ---------------------------------------------------------------------------------------

    def add_tasks(self, new: Sequence[NewTask]) -> tuple[int, int]:
        """Add those that are not there; how many were added and how many were not."""
        rows = {}
        for one in new:
            id_ = task_id(one)
            rows[id_] = {
                "id": id_,
                "kind": one.kind,
                "prompt_id": one.prompt_id,
                "comparison_id": one.comparison_id,
                "response_set_id": one.response_set_id,
                "response_id": one.response_id,
                "source": one.source,
                "overlap": one.overlap,
                "remaining": one.overlap,
                "look_up": one.look_up,
                "only_for": one.only_for,
                "repeat_of": one.repeat_of,
            }
        known = existing(self.connection, tasks, list(rows))
        add_missing(self.connection, tasks, list(rows.values()), self._text)
        return len(rows) - len(known), len(known)

    def add_comparison(self, new: NewComparison) -> str:
        """Add a comparison to ask about; its id."""
        return add_comparisons(self.connection, [new], self._text)[0]

    def add_check(self, task: str, answer: CheckAnswer, why: str, author: str | None) -> None:
        """Say that a task's answer is known; saying it again changes nothing."""
        known = select(check_items.c.task_id).where(check_items.c.task_id == task)
        if self.connection.execute(known).first() is None:
            self.connection.execute(
                insert(check_items).values(
                    task_id=task, answer=answer, why=why, annotator_id=author
                )
            )

    def set_halted(self, task: str, *, halted: bool) -> None:
        """Stop handing a task out, or go on."""
        self.connection.execute(
            update(tasks)
            .where(tasks.c.id == task)
            .values(halted_at=func.coalesce(tasks.c.halted_at, self._text) if halted else None)
        )

    def set_overlap(self, overlap: int, *, task: str | None, kind: TaskKind | None) -> int:
        """Say how many answers count; how many tasks changed."""
        wanted = case((overlap < _TAKEN, _TAKEN), else_=overlap)
        query = (
            update(tasks)
            .where(tasks.c.only_for.is_(None))
            .where(tasks.c.id.not_in(select(check_items.c.task_id)))
            .where(tasks.c.overlap != wanted)
            .values(overlap=wanted, remaining=wanted - _TAKEN)
        )
        if task is not None:
            query = query.where(tasks.c.id == task)
        if kind is not None:
            query = query.where(tasks.c.kind == kind)
        return int(self.connection.execute(query).rowcount)

    # Leases --------------------------------------------------------------------------------------

    def open_lease(
        self,
        lease_id: str,
        task: str,
        annotator_id: str,
        *,
        shown: Sequence[str],
        guidelines_version: int,
        expires_at: datetime,
    ) -> Lease:
        """Put a task into somebody's hands."""
        position = self.connection.scalar(_LAST_LEASE) or 0
        ordinal = self.next_ordinal(annotator_id)
        self.connection.execute(
            insert(leases),
            {
                "id": lease_id,
                "position": position + 1,
                "task_id": task,
                "annotator_id": annotator_id,
                "ordinal": ordinal,
                "shown": canonical_json(list(shown)),
                "guidelines_version": guidelines_version,
                "state": "live",
                "counts": False,
                "claimed_at": self._text,
                "expires_at": to_text(expires_at),
            },
        )
        self._recount(task)
        return Lease(
            id=lease_id,
            task_id=task,
            annotator_id=annotator_id,
            ordinal=ordinal,
            shown=tuple(shown),
            guidelines_version=guidelines_version,
            state="live",
            counts=False,
            reason=None,
            event_id=None,
            claimed_at=self.now,
            expires_at=expires_at,
        )

    def reopen_lease(self, lease: Lease, expires_at: datetime) -> None:
        """Put a task whose time ran out back into the same hands, as it was shown."""
        self.connection.execute(
            update(leases)
            .where(leases.c.id == lease.id)
            .values(state="live", closed_at=None, expires_at=to_text(expires_at))
        )
        self._recount(lease.task_id)

    def extend_lease(self, lease: Lease, expires_at: datetime) -> None:
        """Let somebody keep a task longer."""
        self.connection.execute(
            update(leases).where(leases.c.id == lease.id).values(expires_at=to_text(expires_at))
        )

    def close_lease(
        self,
        lease: Lease,
        state: LeaseState,
        *,
        reason: str | None = None,
        event_id: str | None = None,
        counts: bool = False,
    ) -> None:
        """Say how a lease ended."""
        self.connection.execute(
            update(leases)
            .where(leases.c.id == lease.id)
            .values(
                state=state,
                reason=reason,
                event_id=event_id,
                counts=counts,
                closed_at=self._text,
            )
        )
        self._recount(lease.task_id)

    def answered_anew(self, lease: Lease, event_id: str) -> None:
        """Let a lease name the event that superseded its answer."""
        self.connection.execute(
            update(leases).where(leases.c.id == lease.id).values(event_id=event_id)
        )

    # Answers -------------------------------------------------------------------------------------

    def record(self, answer: NewAnswer) -> Recorded:
        """Append an answer to the ledger; see `Store.record_judgements` and its siblings."""
        if isinstance(answer, NewJudgement):
            found = recording.record_judgements(self.connection, [answer], self._text)
        elif isinstance(answer, NewRanking):
            found = recording.record_rankings(self.connection, [answer], self._text)
        elif isinstance(answer, NewRating):
            found = recording.record_ratings(self.connection, [answer], self._text)
        else:
            found = recording.record_demonstrations(self.connection, [answer], self._text)
        return found[0]

    def retract(self, event_id: str, annotator_id: str, key: str) -> Recorded:
        """Append the undoing of an answer; see `Store.retract`."""
        return ledger.retract(self.connection, event_id, annotator_id, key, self._text)

    def keep_note(self, event_id: str, annotator_id: str, note: str | None) -> None:
        """Keep what was written beside an answer, where it can be erased.

        Raises:
            DataError: it cannot be stored as text.
        """
        self.connection.execute(delete(notes).where(notes.c.event_id == event_id))
        if note is not None:
            require_text(note, "note")
            self.connection.execute(
                insert(notes).values(event_id=event_id, annotator_id=annotator_id, text=note)
            )

    def _recount(self, task: str) -> None:
        self.connection.execute(_RECOUNT, {"task": task})


def task_id(new: NewTask) -> str:
    """The id of a task, from what it asks and of whom."""
    return content_id(
        "tasks",
        new.kind,
        new.prompt_id,
        new.comparison_id,
        new.response_set_id,
        new.response_id,
        new.only_for,
    )
