"""Checks of people's work: tasks and leases against the ledger and against one another."""

from collections.abc import Iterator

from sqlalchemy import Connection, and_, func, or_, select

from assent.store.identity import content_id
from assent.store.records import Finding
from assent.store.rows import in_order
from assent.store.schema import events
from assent.store.schema_people import leases, tasks

_SAID = (
    "kind",
    "prompt_id",
    "comparison_id",
    "response_set_id",
    "response_id",
    "only_for",
)


def check_work(connection: Connection) -> Iterator[Finding]:
    """Changed tasks, places that are counted wrong, and leases whose answer is not theirs."""
    yield from _check_tasks(connection)
    yield from _check_answers(connection)


def _check_tasks(connection: Connection) -> Iterator[Finding]:
    taken = (
        select(
            leases.c.task_id,
            func.count().filter(or_(leases.c.state == "live", leases.c.counts)).label("taken"),
            func.count().filter(leases.c.counts).label("counted"),
        )
        .group_by(leases.c.task_id)
        .subquery()
    )
    query = select(
        tasks.c.id,
        *(tasks.c[name] for name in _SAID),
        tasks.c.overlap,
        tasks.c.remaining,
        func.coalesce(taken.c.taken, 0).label("taken"),
        func.coalesce(taken.c.counted, 0).label("counted"),
    ).outerjoin(taken, taken.c.task_id == tasks.c.id)
    for block in in_order(connection, query):
        for row in block:
            if row.id != content_id("tasks", *(getattr(row, name) for name in _SAID)):
                yield _task(row.id, "was changed: its id does not fit what it says")
            if row.remaining != row.overlap - row.taken:
                said = f"says {row.remaining} places remain; {row.overlap - row.taken} do"
                yield _task(row.id, said)
            if row.counted > row.overlap:
                yield _task(row.id, f"counts {row.counted} answers; it wants {row.overlap}")


def _check_answers(connection: Connection) -> Iterator[Finding]:
    later = events.alias("later")
    query = (
        select(
            leases.c.id,
            leases.c.state,
            events.c.annotator_id.label("author"),
            leases.c.annotator_id,
            later.c.kind.label("later"),
        )
        .join(events, events.c.id == leases.c.event_id)
        .outerjoin(later, later.c.supersedes == events.c.id)
        .where(
            or_(
                events.c.annotator_id != leases.c.annotator_id,
                and_(leases.c.state == "submitted", later.c.id.is_not(None)),
                and_(leases.c.state == "undone", later.c.id.is_(None)),
            )
        )
    )
    for row in connection.execute(query):
        if row.author != row.annotator_id:
            problem = f"names an answer of annotator {row.author}"
        else:
            problem = f"is {row.state}, and the ledger says otherwise of its answer"
        yield Finding(table="leases", record=row.id, problem=problem)


def _task(id_: str, problem: str) -> Finding:
    return Finding(table="tasks", record=id_, problem=problem)
