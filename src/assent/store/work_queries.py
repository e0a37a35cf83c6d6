"""The statements behind fetching a task, made once: building one takes longer than running it.

Each goes by an index to where it begins. What `NEXT_OPEN` and `OWN_TASKS` pass over is what a
person was given before, which `collect.passing` remembers.
"""

from typing import Final

from sqlalchemy import BindParameter, ColumnElement, bindparam, exists, func, or_, select, text

from assent.store.schema_people import check_items, leases, tasks

# Written as text, because SQLite uses a partial index only where its condition is spelled out.
OPEN: Final = text("tasks.remaining > 0 AND tasks.halted_at IS NULL AND tasks.only_for IS NULL")
_LIVE: Final = text("leases.state = 'live'")

MINE: Final = ("live", "submitted", "skipped")
"""States of a lease after which the same person is not given the task again."""

_HELD = leases.alias("mine")
_AGAIN = tasks.alias("again")
_WHO: BindParameter[str] = bindparam("annotator")
# Computed, because SQLite would rather walk all tasks, or all leases, in order than sort a few.
_IN_ORDER = tasks.c.position + 0


def _not_mine() -> ColumnElement[bool]:
    """Tasks that somebody has not been given, and that no lease in `besides` is about."""
    return ~exists().where(
        _HELD.c.task_id == tasks.c.id,
        _HELD.c.annotator_id == _WHO,
        or_(_HELD.c.state.in_(MINE), _HELD.c.id.in_(bindparam("besides", expanding=True))),
    )


def _is_check() -> ColumnElement[bool]:
    return exists().where(check_items.c.task_id == tasks.c.id)


NEWEST_TASK: Final = select(func.max(tasks.c.position))

NEXT_OPEN: Final = (
    select(tasks)
    .where(tasks.c.kind == bindparam("kind"), tasks.c.position > bindparam("after"), OPEN)
    .where(_not_mine(), ~_is_check())
    .order_by(tasks.c.position)
    .limit(1)
)

OWN_TASKS: Final = (
    select(tasks)
    .where(tasks.c.only_for == _WHO, tasks.c.remaining > 0, tasks.c.halted_at.is_(None))
    .where(bindparam("after") < _IN_ORDER, _not_mine())
    .order_by(_IN_ORDER)
    .limit(bindparam("limit"))
)

UNASKED_CHECKS: Final = (
    select(tasks)
    .where(tasks.c.id.in_(select(check_items.c.task_id)))
    .where(tasks.c.kind.in_(bindparam("kinds", expanding=True)), tasks.c.halted_at.is_(None))
    .where(_not_mine())
    .order_by(_IN_ORDER)
    .limit(bindparam("limit"))
)

REPEATABLE: Final = (
    select(leases)
    .join(tasks, tasks.c.id == leases.c.task_id)
    .where(leases.c.annotator_id == _WHO, leases.c.ordinal < bindparam("before"))
    .where(leases.c.state == "submitted", tasks.c.kind == "comparison")
    .where(tasks.c.repeat_of.is_(None), ~_is_check())
    .where(
        leases.c.task_id.not_in(
            select(_AGAIN.c.repeat_of).where(
                _AGAIN.c.only_for == _WHO, _AGAIN.c.repeat_of.is_not(None)
            )
        )
    )
    .order_by(leases.c.ordinal)
    .limit(bindparam("limit"))
)

ANY_TAKEN: Final = (
    select(leases.c.id)
    .join(tasks, tasks.c.id == leases.c.task_id)
    .where(_LIVE, leases.c.annotator_id != _WHO, tasks.c.only_for.is_(None))
    .where(tasks.c.kind.in_(bindparam("kinds", expanding=True)), _not_mine())
    .limit(1)
)

LAST_LEASE: Final = (
    select(leases)
    .where(leases.c.task_id == bindparam("task"), leases.c.annotator_id == _WHO)
    .order_by((leases.c.ordinal + 0).desc())
    .limit(1)
)

LIVE: Final = select(leases).where(_LIVE)
LIVE_OF: Final = LIVE.where(leases.c.annotator_id == _WHO)
