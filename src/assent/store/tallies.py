"""Counting what people did: how far tasks are, what each person did, who judged each round."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, exists, func, select

from assent.store.browsing_records import PersonTally, RoundTally, TaskTally
from assent.store.database import Database
from assent.store.people_records import TaskKind
from assent.store.rows import parsed_object
from assent.store.schema import annotators, comparisons, events, ledger_heads
from assent.store.schema_people import check_items, leases, people, tasks
from assent.store.standing import counting
from assent.store.times import from_text
from assent.store.work_view import RECENT, WorkView

MOST_OVERLAPPING = 20_000
"""Agreement is computed over the newest tasks with more than one answer, at most so many."""


class Tallies:
    """Reads only; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def head(self) -> int:
        """The number of the last event: what was counted up to it need not be counted again."""
        with self._database.reading() as connection:
            return connection.scalar(select(ledger_heads.c.seq)) or 0

    def newest_comparison(self) -> int:
        """The position of the newest comparison; 0 before the first."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.max(comparisons.c.position))) or 0

    def events(self) -> dict[str, int]:
        """How many events of each kind stand: neither edited nor taken back since."""
        later = events.alias("later")
        query = (
            select(events.c.kind, func.count().label("number"))
            .where(~exists().where(later.c.supersedes == events.c.id))
            .group_by(events.c.kind)
        )
        with self._database.reading() as connection:
            return {row.kind: int(row.number) for row in connection.execute(query)}

    def tasks(self) -> list[TaskTally]:
        """How far the tasks of each kind are."""
        answered = (
            select(leases.c.task_id, func.count().label("answers"))
            .where(leases.c.counts)
            .group_by(leases.c.task_id)
            .subquery()
        )
        count = func.coalesce(answered.c.answers, 0)
        query = (
            select(
                tasks.c.kind,
                func.count().label("tasks"),
                func.sum(case((count >= tasks.c.overlap, 1), else_=0)).label("done"),
                func.sum(
                    case((and_(tasks.c.remaining > 0, tasks.c.halted_at.is_(None)), 1), else_=0)
                ).label("open"),
                func.sum(case((tasks.c.halted_at.is_not(None), 1), else_=0)).label("halted"),
                func.sum(count).label("answers"),
                func.sum(tasks.c.overlap).label("wanted"),
            )
            .outerjoin(answered, answered.c.task_id == tasks.c.id)
            .where(tasks.c.only_for.is_(None))
            .where(~exists().where(check_items.c.task_id == tasks.c.id))
            .group_by(tasks.c.kind)
            .order_by(tasks.c.kind)
        )
        with self._database.reading() as connection:
            return [
                TaskTally(
                    kind=row.kind,
                    tasks=int(row.tasks),
                    done=int(row.done),
                    open=int(row.open),
                    halted=int(row.halted),
                    answers=int(row.answers),
                    wanted=int(row.wanted),
                )
                for row in connection.execute(query)
            ]

    def by_day(self, days: int) -> list[tuple[str, int]]:
        """Answers on each of the last days that had any, as date and number, oldest first."""
        day = func.substr(leases.c.closed_at, 1, 10).label("day")
        query = (
            select(day, func.count())
            .where(leases.c.state == "submitted")
            .group_by(day)
            .order_by(day.desc())
            .limit(days)
        )
        with self._database.reading() as connection:
            return [(row[0], row[1]) for row in connection.execute(query)][::-1]

    def extra(self) -> int:
        """Answers that came when their task had all it wanted; they are kept and not counted."""
        query = select(func.count()).select_from(leases)
        with self._database.reading() as connection:
            return (
                connection.scalar(query.where(leases.c.state == "submitted", ~leases.c.counts)) or 0
            )

    def people(self) -> list[PersonTally]:
        """What each person did, in the order added."""
        with self._database.reading() as connection:
            order = (
                select(people.c.annotator_id)
                .join(annotators, annotators.c.id == people.c.annotator_id)
                .order_by(annotators.c.position)
            )
            ids = list(connection.scalars(order))
            counts = _lease_counts(connection)
            checks = _checks(connection)
            repeats = _repeats(connection)
            sides = _sides(connection)
            return [
                PersonTally(
                    annotator_id=id_,
                    answers=counts.get(id_, (0, 0, None))[0],
                    skipped=counts.get(id_, (0, 0, None))[1],
                    left=sides.get(id_, (0, 0))[0],
                    sided=sides.get(id_, (0, 0))[1],
                    checks=checks.get(id_, (0, 0))[0],
                    checks_right=checks.get(id_, (0, 0))[1],
                    repeats=repeats.get(id_, (0, 0))[0],
                    repeats_same=repeats.get(id_, (0, 0))[1],
                    seconds=_recent_seconds(connection, id_),
                    last_at=counts.get(id_, (0, 0, None))[2],
                )
                for id_ in ids
            ]

    def overlapping(self, kind: TaskKind) -> list[tuple[str, str, dict[str, Any]]]:
        """Task, annotator and payload of the answers that count, where a task has several."""
        several = (
            select(leases.c.task_id)
            .join(tasks, tasks.c.id == leases.c.task_id)
            .where(leases.c.counts, tasks.c.kind == kind, tasks.c.only_for.is_(None))
            .where(~exists().where(check_items.c.task_id == tasks.c.id))
            .group_by(leases.c.task_id, tasks.c.position)
            .having(func.count() > 1)
            .order_by(tasks.c.position.desc())
            .limit(MOST_OVERLAPPING)
            .subquery()
        )
        query = (
            select(leases.c.task_id, leases.c.annotator_id, events.c.payload)
            .join(several, several.c.task_id == leases.c.task_id)
            .join(events, events.c.id == leases.c.event_id)
            .where(leases.c.counts)
        )
        with self._database.reading() as connection:
            return [(row[0], row[1], parsed_object(row[2])) for row in connection.execute(query)]

    def rounds(self, purpose: str) -> list[RoundTally]:
        """Each round's comparisons for a purpose, and the judgements on them that count."""
        later = events.alias("later")
        judged = (
            select(comparisons.c.round, annotators.c.kind, func.count().label("number"))
            .join(comparisons, comparisons.c.id == events.c.comparison_id)
            .join(annotators, annotators.c.id == events.c.annotator_id)
            .where(events.c.kind == "judgement", comparisons.c.purpose == purpose, counting())
            .where(~exists().where(later.c.supersedes == events.c.id))
            .group_by(comparisons.c.round, annotators.c.kind)
        )
        asked = (
            select(comparisons.c.round, func.count())
            .where(comparisons.c.purpose == purpose)
            .group_by(comparisons.c.round)
            .order_by(comparisons.c.round)
        )
        with self._database.reading() as connection:
            by_kind = {(row[0], row[1]): row[2] for row in connection.execute(judged)}
            return [
                RoundTally(
                    round=round_,
                    comparisons=count,
                    human=by_kind.get((round_, "human"), 0),
                    simulated=by_kind.get((round_, "simulated"), 0),
                    model=by_kind.get((round_, "model"), 0),
                )
                for round_, count in connection.execute(asked)
            ]


def _lease_counts(connection: Connection) -> dict[str, tuple[int, int, datetime | None]]:
    query = select(
        leases.c.annotator_id,
        func.count().filter(leases.c.state == "submitted").label("answers"),
        func.count().filter(leases.c.state == "skipped").label("skipped"),
        func.max(leases.c.closed_at).label("last"),
    ).group_by(leases.c.annotator_id)
    return {
        row.annotator_id: (
            row.answers,
            row.skipped,
            None if row.last is None else from_text(row.last),
        )
        for row in connection.execute(query)
    }


def _recent_seconds(connection: Connection, annotator_id: str) -> tuple[float, ...]:
    recent = WorkView(connection).answers(annotator_id, None, RECENT)
    seconds = [one.payload.get("seconds_spent") for one in recent]
    return tuple(float(one) for one in seconds if isinstance(one, int | float))


def _checks(connection: Connection) -> dict[str, tuple[int, int]]:
    query = (
        select(leases.c.annotator_id, check_items.c.answer, events.c.payload)
        .join(check_items, check_items.c.task_id == leases.c.task_id)
        .join(events, events.c.id == leases.c.event_id)
        .where(leases.c.state == "submitted")
    )
    said = (
        (row.annotator_id, parsed_object(row.payload)["verdict"] == row.answer)
        for row in connection.execute(query)
    )
    return _shares(list(said))


def _repeats(connection: Connection) -> dict[str, tuple[int, int]]:
    """Repeats that both stand, and how many of them say the same of the responses."""
    first, again = leases.alias("first"), leases.alias("again")
    said_first, said_again = events.alias("said_first"), events.alias("said_again")
    query = (
        select(
            again.c.annotator_id,
            said_first.c.payload.label("before"),
            said_again.c.payload.label("after"),
        )
        .select_from(tasks)
        .join(again, and_(again.c.task_id == tasks.c.id, again.c.state == "submitted"))
        .join(
            first,
            and_(
                first.c.task_id == tasks.c.repeat_of,
                first.c.annotator_id == again.c.annotator_id,
                first.c.state == "submitted",
            ),
        )
        .join(said_first, said_first.c.id == first.c.event_id)
        .join(said_again, said_again.c.id == again.c.event_id)
        .where(tasks.c.repeat_of.is_not(None))
    )
    said = (
        (
            row.annotator_id,
            parsed_object(row.before)["verdict"] == parsed_object(row.after)["verdict"],
        )
        for row in connection.execute(query)
    )
    return _shares(list(said))


def _sides(connection: Connection) -> dict[str, tuple[int, int]]:
    """How often the side on the left won, of the last answers of each person that had a winner."""
    found: dict[str, tuple[int, int]] = {}
    for id_ in connection.scalars(select(people.c.annotator_id)):
        left = sided = 0
        for one in WorkView(connection).answers(id_, None, 10 * RECENT):
            verdict, context = one.payload.get("verdict"), one.payload.get("context")
            if verdict in ("first", "second") and isinstance(context, dict):
                sided += 1
                left += (verdict == "first") == (context.get("shown_order") == "first_left")
        found[id_] = (left, sided)
    return found


def _shares(said: Sequence[tuple[str, bool]]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for id_, yes in said:
        total, right = found.get(id_, (0, 0))
        found[id_] = (total + 1, right + yes)
    return found
