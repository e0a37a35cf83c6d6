"""Looking through a project: prompts, responses, judgements and tasks, a page at a time.

Lists are read by a cursor (a position or a `seq`), never by an offset, so a page costs the same
wherever it is. Each method is one transaction that changes nothing.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, case, exists, func, or_, select

from assent.errors import UnknownRecord
from assent.store.browsing_records import (
    ComparisonRow,
    EventRow,
    PromptRow,
    ResponseRow,
    TaskRow,
)
from assent.store.browsing_rows import (
    comparison_row,
    event_row,
    event_rows,
    prompt_row,
    prompt_rows,
    response_row,
    response_rows,
    task_row,
)
from assent.store.content import list_comparisons
from assent.store.database import Database
from assent.store.people_records import TaskKind
from assent.store.records import StoredComparison
from assent.store.rows import AnySelect, chunks
from assent.store.schema import (
    annotators,
    comparisons,
    events,
    prompts,
    response_set_members,
    response_sets,
    responses,
)
from assent.store.schema_people import check_items, leases, tasks
from assent.store.standing import counting

EXPORT_BLOCK = 1_000
FEW_PROMPTS = 100
"""A search that finds no more prompts than this looks for the events from the prompts on."""

T = TypeVar("T")


class Browser:
    """Reads only; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Prompts and responses -----------------------------------------------------------------------

    def prompts(self, query: str | None, after: int, limit: int) -> list[PromptRow]:
        """Prompts after a position whose text holds `query`, whatever its capitals."""
        wanted = prompt_rows().where(prompts.c.position > after)
        if query:
            wanted = wanted.where(_holds(prompts.c.text, query))
        return self._prompts(wanted.order_by(prompts.c.position).limit(limit))

    def prompt(self, prompt_id: str) -> PromptRow:
        """The prompt with this id.

        Raises:
            UnknownRecord: there is none.
        """
        return _only(self._prompts(prompt_rows().where(prompts.c.id == prompt_id)), prompt_id)

    def prompts_reading(self, text: str) -> list[PromptRow]:
        """Prompts with exactly this text, oldest first."""
        return self._prompts(
            prompt_rows().where(prompts.c.text == text).order_by(prompts.c.position)
        )

    def responses_to(self, prompt_id: str, limit: int) -> list[ResponseRow]:
        """The newest responses to a prompt."""
        query = response_rows().where(responses.c.prompt_id == prompt_id)
        return self._all(query.order_by(responses.c.position.desc()).limit(limit), response_row)

    def response(self, response_id: str) -> ResponseRow:
        """The response with this id.

        Raises:
            UnknownRecord: there is none.
        """
        query = response_rows().where(responses.c.id == response_id)
        return self._one(query, response_row, response_id)

    def ranked_responses(self, response_set_id: str) -> list[tuple[str, str]]:
        """Id and text of the responses of a set, in the order that flags count them in."""
        query = (
            select(responses.c.id, responses.c.text)
            .join(response_set_members, response_set_members.c.response_id == responses.c.id)
            .where(response_set_members.c.response_set_id == response_set_id)
            .order_by(response_set_members.c.place)
        )
        return self._all(query, lambda row: (row.id, row.text))

    def response_texts(self, ids: Collection[str]) -> dict[str, str]:
        """The texts of responses by id; an id that there is none of is left out."""
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for some in chunks(sorted(ids)):
                query = select(responses.c.id, responses.c.text).where(responses.c.id.in_(some))
                found.update({row.id: row.text for row in connection.execute(query)})
        return found

    def comparisons_of(self, prompt_id: str, limit: int) -> list[ComparisonRow]:
        """The newest comparisons of a prompt."""
        judged = (
            select(func.count())
            .select_from(events)
            .where(events.c.comparison_id == comparisons.c.id, events.c.kind == "judgement")
            .scalar_subquery()
        )
        query = (
            select(comparisons, judged.label("judgements"))
            .where(comparisons.c.prompt_id == prompt_id)
            .order_by(comparisons.c.position.desc())
            .limit(limit)
        )
        return self._all(query, comparison_row)

    def comparison(self, comparison_id: str) -> StoredComparison:
        """The comparison with this id and its texts.

        Raises:
            UnknownRecord: there is none.
        """
        with self._database.reading() as connection:
            found = list_comparisons(connection, None, None, None, ids=[comparison_id])
        if not found:
            message = f"comparisons has no record {comparison_id}"
            raise UnknownRecord(message)
        return found[0]

    # Events --------------------------------------------------------------------------------------

    def events(
        self,
        query: str | None,
        before: int | None,
        limit: int,
        *,
        annotator_id: str | None = None,
        people_only: bool = False,
    ) -> list[EventRow]:
        """Events before a `seq` (the newest if None), newest first, all or those that match.

        `query` is text that the prompt holds, whatever its capitals; `people_only` leaves out
        simulated annotators and models.
        """
        wanted = event_rows()
        if before is not None:
            wanted = wanted.where(events.c.seq < before)
        if query:
            wanted = wanted.where(self._about(query))
        if annotator_id is not None:
            wanted = wanted.where(events.c.annotator_id == annotator_id)
        if people_only:
            wanted = wanted.where(annotators.c.kind == "human")
        return self._all(wanted.order_by(events.c.seq.desc()).limit(limit), event_row)

    def event(self, event_id: str) -> EventRow:
        """The event with this id.

        Raises:
            UnknownRecord: there is none.
        """
        return self._one(event_rows().where(events.c.id == event_id), event_row, event_id)

    def events_about(
        self, *, comparison_id: str | None = None, response_id: str | None = None
    ) -> list[EventRow]:
        """Everything that was said about a comparison or a response, oldest first."""
        query = event_rows()
        if comparison_id is not None:
            query = query.where(events.c.comparison_id == comparison_id)
        if response_id is not None:
            query = query.where(
                or_(
                    events.c.response_id == response_id,
                    events.c.comparison_id.in_(
                        select(comparisons.c.id).where(
                            or_(
                                comparisons.c.first_response_id == response_id,
                                comparisons.c.second_response_id == response_id,
                            )
                        )
                    ),
                    events.c.response_set_id.in_(
                        select(response_set_members.c.response_set_id).where(
                            response_set_members.c.response_id == response_id
                        )
                    ),
                )
            )
        return self._all(query.order_by(events.c.seq).limit(500), event_row)

    def event_blocks(self, kinds: tuple[str, ...]) -> Iterator[list[EventRow]]:
        """Standing events of these kinds in order, in blocks: for exports of any size."""
        after = 0
        while True:
            query = (
                event_rows()
                .where(events.c.kind.in_(kinds), events.c.seq > after)
                .order_by(events.c.seq)
                .limit(EXPORT_BLOCK)
            )
            block = self._all(query, event_row)
            if not block:
                return
            after = block[-1].seq
            yield [row for row in block if row.superseded_by is None]

    # Tasks ---------------------------------------------------------------------------------------

    def tasks(self, query: str | None, after: int, limit: int) -> list[TaskRow]:
        """Tasks after a position; check items and repeats are not among them."""

        def number(condition: ColumnElement[bool]) -> Any:  # noqa: ANN401 - a subquery
            return (
                select(func.count())
                .select_from(leases)
                .where(leases.c.task_id == tasks.c.id, condition)
                .scalar_subquery()
            )

        wanted = (
            select(
                tasks,
                prompts.c.text.label("prompt"),
                number(leases.c.counts).label("answers"),
                number(leases.c.state == "live").label("held"),
            )
            .join(prompts, prompts.c.id == tasks.c.prompt_id)
            .where(tasks.c.position > after, tasks.c.only_for.is_(None), _no_check())
            .order_by(tasks.c.position)
            .limit(limit)
        )
        if query:
            wanted = wanted.where(_holds(prompts.c.text, query))
        return self._all(wanted, task_row)

    def task_ids(self, kind: TaskKind) -> set[str]:
        """Every task of a kind."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(tasks.c.id).where(tasks.c.kind == kind)))

    def newest_round(self, purpose: str) -> int | None:
        """The last round with comparisons for a purpose; None before the first."""
        with self._database.reading() as connection:
            query = select(func.max(comparisons.c.round)).where(comparisons.c.purpose == purpose)
            newest: int | None = connection.scalar(query)
            return newest

    def purposes(self) -> list[str]:
        """Every purpose for which there are comparisons."""
        with self._database.reading() as connection:
            query = select(comparisons.c.purpose).distinct().order_by(comparisons.c.purpose)
            return list(connection.scalars(query))

    def unasked_comparisons(
        self, purpose: str, round_number: int, *, judged_by_nobody: bool = False
    ) -> list[StoredComparison]:
        """Comparisons of a round that are no task yet, with their texts.

        What people have judged is left out; with `judged_by_nobody` what anybody has.
        """
        later = events.alias("later")
        judged = (
            select(events.c.comparison_id)
            .join(annotators, annotators.c.id == events.c.annotator_id)
            .where(events.c.kind == "judgement")
            .where(~exists().where(later.c.supersedes == events.c.id))
        )
        judged = judged if judged_by_nobody else judged.where(annotators.c.kind == "human")
        here = comparisons.c.purpose == purpose, comparisons.c.round == round_number
        with self._database.reading() as connection:
            asked = set(connection.scalars(_asked(purpose, round_number)))
            every = connection.scalars(select(comparisons.c.id).where(*here))
            open_ = {id_ for id_ in every if id_ not in asked}
            # Judgements are many: only those on what may become a task are looked at.
            for chunk in chunks(sorted(open_)):
                known = judged.where(events.c.comparison_id.in_(chunk))
                open_.difference_update(connection.scalars(known))
            if not open_:
                return []
            found = list_comparisons(connection, purpose, round_number, None)
            return [one for one in found if one.id in open_]

    def asked_comparisons(self, purpose: str, round_number: int) -> int:
        """How many comparisons of a round are tasks."""
        with self._database.reading() as connection:
            asked = _asked(purpose, round_number).subquery()
            return connection.scalar(select(func.count()).select_from(asked)) or 0

    def judged_counts(self, purpose: str, round_number: int) -> tuple[int, int, int]:
        """Comparisons of a round; of these judged at all; of these judged by a person.

        Judgements count that stand and were not stored as extra.
        """
        later = events.alias("later")
        judged = (
            select(
                events.c.comparison_id,
                func.max(case((annotators.c.kind == "human", 1), else_=0)).label("human"),
            )
            .join(comparisons, comparisons.c.id == events.c.comparison_id)
            .join(annotators, annotators.c.id == events.c.annotator_id)
            .where(comparisons.c.purpose == purpose, comparisons.c.round == round_number)
            .where(events.c.kind == "judgement", counting())
            .where(~exists().where(later.c.supersedes == events.c.id))
            .group_by(events.c.comparison_id)
            .subquery()
        )
        with self._database.reading() as connection:
            total = connection.scalar(
                select(func.count())
                .select_from(comparisons)
                .where(comparisons.c.purpose == purpose, comparisons.c.round == round_number)
            )
            query = select(func.count(), func.coalesce(func.sum(judged.c.human), 0))
            row = connection.execute(query.select_from(judged)).one()
        return total or 0, row[0], int(row[1])

    def _all(self, query: AnySelect, read: Callable[[Row[Any]], T]) -> list[T]:
        with self._database.reading() as connection:
            return [read(row) for row in connection.execute(query)]

    def _one(self, query: AnySelect, read: Callable[[Row[Any]], T], id_: str) -> T:
        return _only(self._all(query, read), id_)

    def _prompts(self, query: AnySelect) -> list[PromptRow]:
        """Prompts with their comparisons counted in one walk, not in one for each prompt."""
        counts: dict[str, int] = {}
        with self._database.reading() as connection:
            rows = list(connection.execute(query))
            for some in chunks([row.id for row in rows]):
                counted = (
                    select(comparisons.c.prompt_id, func.count().label("number"))
                    .where(comparisons.c.prompt_id.in_(some))
                    .group_by(comparisons.c.prompt_id)
                )
                counts.update({row.prompt_id: row.number for row in connection.execute(counted)})
        return [prompt_row(row, counts.get(row.id, 0)) for row in rows]

    def _about(self, query: str) -> ColumnElement[bool]:
        """Events about a prompt that holds `query`.

        Few such prompts are looked up first and their events found from them; with many, the
        newest events soon hold some.
        """
        with self._database.reading() as connection:
            wanted = select(prompts.c.id).where(_holds(prompts.c.text, query))
            ids = list(connection.scalars(wanted.limit(FEW_PROMPTS + 1)))
        if len(ids) > FEW_PROMPTS:
            return _holds(prompts.c.text, query)

        def of(table: Any) -> Any:  # noqa: ANN401 - a table and a subquery
            return select(table.c.id).where(table.c.prompt_id.in_(ids))

        return or_(
            events.c.comparison_id.in_(of(comparisons)),
            events.c.response_id.in_(of(responses)),
            events.c.response_set_id.in_(of(response_sets)),
        )


def _only(found: list[T], id_: str) -> T:
    if not found:
        message = f"there is no record {id_}"
        raise UnknownRecord(message)
    return found[0]


def _asked(purpose: str, round_number: int) -> AnySelect:
    return (
        select(tasks.c.comparison_id)
        .join(comparisons, comparisons.c.id == tasks.c.comparison_id)
        .where(comparisons.c.purpose == purpose, comparisons.c.round == round_number)
    )


def _holds(column: ColumnElement[str], query: str) -> ColumnElement[bool]:
    return func.lower(column).contains(query.lower(), autoescape=True)


def _no_check() -> ColumnElement[bool]:
    return ~exists().where(check_items.c.task_id == tasks.c.id)
