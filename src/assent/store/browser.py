"""Looking through a project: prompts, responses, judgements and tasks, a page at a time.

Lists are read by a cursor (a position or a `seq`), never by an offset, so a page costs the same
wherever it is. Each method is one transaction that changes nothing.
"""

from collections.abc import Callable, Iterator
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
from assent.store.content import list_comparisons
from assent.store.database import Database
from assent.store.people_records import TaskKind
from assent.store.records import StoredComparison
from assent.store.rows import AnySelect, chunks, parsed_object
from assent.store.schema import (
    annotators,
    comparisons,
    events,
    model_versions,
    prompts,
    response_sets,
    responses,
    samplers,
)
from assent.store.schema_people import check_items, leases, personal_data, tasks
from assent.store.standing import counting
from assent.store.times import from_text

EXPORT_BLOCK = 1_000

T = TypeVar("T")


class Browser:
    """Reads only; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Prompts and responses -----------------------------------------------------------------------

    def prompts(self, query: str | None, after: int, limit: int) -> list[PromptRow]:
        """Prompts after a position whose text holds `query`, whatever its capitals."""
        wanted = _prompt_rows().where(prompts.c.position > after)
        if query:
            wanted = wanted.where(_holds(prompts.c.text, query))
        return self._all(wanted.order_by(prompts.c.position).limit(limit), _prompt_row)

    def prompt(self, prompt_id: str) -> PromptRow:
        """The prompt with this id.

        Raises:
            UnknownRecord: there is none.
        """
        return self._one(_prompt_rows().where(prompts.c.id == prompt_id), _prompt_row, prompt_id)

    def prompts_reading(self, text: str) -> list[PromptRow]:
        """Prompts with exactly this text, oldest first."""
        query = _prompt_rows().where(prompts.c.text == text).order_by(prompts.c.position)
        return self._all(query, _prompt_row)

    def responses_to(self, prompt_id: str, limit: int) -> list[ResponseRow]:
        """The newest responses to a prompt."""
        query = _response_rows().where(responses.c.prompt_id == prompt_id)
        return self._all(query.order_by(responses.c.position.desc()).limit(limit), _response_row)

    def response(self, response_id: str) -> ResponseRow:
        """The response with this id.

        Raises:
            UnknownRecord: there is none.
        """
        query = _response_rows().where(responses.c.id == response_id)
        return self._one(query, _response_row, response_id)

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
        return self._all(query, _comparison_row)

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
        wanted = _event_rows()
        if before is not None:
            wanted = wanted.where(events.c.seq < before)
        if query:
            wanted = wanted.where(_holds(prompts.c.text, query))
        if annotator_id is not None:
            wanted = wanted.where(events.c.annotator_id == annotator_id)
        if people_only:
            wanted = wanted.where(annotators.c.kind == "human")
        return self._all(wanted.order_by(events.c.seq.desc()).limit(limit), _event_row)

    def event(self, event_id: str) -> EventRow:
        """The event with this id.

        Raises:
            UnknownRecord: there is none.
        """
        return self._one(_event_rows().where(events.c.id == event_id), _event_row, event_id)

    def events_about(
        self, *, comparison_id: str | None = None, response_id: str | None = None
    ) -> list[EventRow]:
        """Everything that was said about a comparison or a response, oldest first."""
        query = _event_rows()
        if comparison_id is not None:
            query = query.where(events.c.comparison_id == comparison_id)
        if response_id is not None:
            query = query.where(
                or_(
                    events.c.response_id == response_id,
                    comparisons.c.first_response_id == response_id,
                    comparisons.c.second_response_id == response_id,
                )
            )
        return self._all(query.order_by(events.c.seq).limit(500), _event_row)

    def event_blocks(self, kinds: tuple[str, ...]) -> Iterator[list[EventRow]]:
        """Standing events of these kinds in order, in blocks: for exports of any size."""
        after = 0
        while True:
            query = (
                _event_rows()
                .where(events.c.kind.in_(kinds), events.c.seq > after)
                .order_by(events.c.seq)
                .limit(EXPORT_BLOCK)
            )
            block = self._all(query, _event_row)
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
        return self._all(wanted, _task_row)

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
        found = self._all(query, read)
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


def _prompt_rows() -> AnySelect:
    def number(table: Any) -> Any:  # noqa: ANN401 - a table and a subquery
        return (
            select(func.count())
            .select_from(table)
            .where(table.c.prompt_id == prompts.c.id)
            .scalar_subquery()
        )

    return select(
        prompts, number(responses).label("responses"), number(comparisons).label("comparisons")
    )


def _response_rows() -> AnySelect:
    return (
        select(
            responses,
            samplers.c.model_version_id,
            samplers.c.parameters,
            samplers.c.engine,
            model_versions.c.name.label("model"),
        )
        .outerjoin(samplers, samplers.c.id == responses.c.sampler_id)
        .outerjoin(model_versions, model_versions.c.id == samplers.c.model_version_id)
    )


def _event_rows() -> AnySelect:
    later = events.alias("later")
    about = func.coalesce(comparisons.c.prompt_id, responses.c.prompt_id, response_sets.c.prompt_id)
    return (
        select(
            events,
            later.c.id.label("superseded_by"),
            annotators.c.name.label("pseudonym"),
            annotators.c.kind.label("annotator_kind"),
            personal_data.c.name.label("person"),
            comparisons.c.purpose,
            comparisons.c.round,
            prompts.c.id.label("prompt_id"),
            prompts.c.text.label("prompt"),
        )
        .join(annotators, annotators.c.id == events.c.annotator_id)
        .outerjoin(personal_data, personal_data.c.annotator_id == events.c.annotator_id)
        .outerjoin(later, later.c.supersedes == events.c.id)
        .outerjoin(comparisons, comparisons.c.id == events.c.comparison_id)
        .outerjoin(responses, responses.c.id == events.c.response_id)
        .outerjoin(response_sets, response_sets.c.id == events.c.response_set_id)
        .outerjoin(prompts, prompts.c.id == about)
    )


def _prompt_row(row: Row[Any]) -> PromptRow:
    return PromptRow(
        id=row.id,
        position=row.position,
        kind=row.kind,
        source=row.source,
        split=row.split,
        text=row.text,
        responses=row.responses,
        comparisons=row.comparisons,
    )


def _response_row(row: Row[Any]) -> ResponseRow:
    return ResponseRow(
        id=row.id,
        position=row.position,
        prompt_id=row.prompt_id,
        text=row.text,
        origin=row.origin,
        model_version_id=row.model_version_id,
        model=row.model,
        parameters=None if row.parameters is None else parsed_object(row.parameters),
        engine=row.engine,
        seed=row.seed,
        token_count=row.token_count,
        finish_reason=row.finish_reason,
    )


def _comparison_row(row: Row[Any]) -> ComparisonRow:
    return ComparisonRow(
        id=row.id,
        first_response_id=row.first_response_id,
        second_response_id=row.second_response_id,
        purpose=row.purpose,
        round=row.round,
        judgements=row.judgements,
    )


def _event_row(row: Row[Any]) -> EventRow:
    return EventRow(
        id=row.id,
        seq=row.seq,
        kind=row.kind,
        annotator_id=row.annotator_id,
        annotator=row.pseudonym if row.person is None else row.person,
        annotator_kind=row.annotator_kind,
        comparison_id=row.comparison_id,
        response_id=row.response_id,
        response_set_id=row.response_set_id,
        prompt_id=row.prompt_id,
        prompt=row.prompt,
        purpose=row.purpose,
        round=row.round,
        payload=parsed_object(row.payload),
        supersedes=row.supersedes,
        superseded_by=row.superseded_by,
        at=from_text(row.created_at),
    )


def _task_row(row: Row[Any]) -> TaskRow:
    return TaskRow(
        id=row.id,
        position=row.position,
        kind=row.kind,
        source=row.source,
        prompt=row.prompt,
        overlap=row.overlap,
        answers=row.answers,
        held=row.held,
        halted=row.halted_at is not None,
        only_for=row.only_for,
    )
