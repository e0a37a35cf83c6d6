"""What the browser of records selects, and how a row of it becomes a record."""

from typing import Any

from sqlalchemy import Row, func, select

from assent.store.browsing_records import (
    ComparisonRow,
    EventRow,
    PromptRow,
    ResponseRow,
    TaskRow,
)
from assent.store.rows import AnySelect, parsed_object
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
from assent.store.schema_people import personal_data
from assent.store.times import from_text


def prompt_rows() -> AnySelect:
    """Prompts, with how many responses each has."""
    number = (
        select(func.count())
        .select_from(responses)
        .where(responses.c.prompt_id == prompts.c.id)
        .scalar_subquery()
    )
    return select(prompts, number.label("responses"))


def response_rows() -> AnySelect:
    """Responses, with what drew them."""
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


def event_rows() -> AnySelect:
    """Events, with whose they are, what they are about and what came after."""
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
            comparisons.c.first_response_id.label("first_side"),
            comparisons.c.second_response_id.label("second_side"),
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


def prompt_row(row: Row[Any], comparison_count: int) -> PromptRow:
    """As a record."""
    return PromptRow(
        id=row.id,
        position=row.position,
        kind=row.kind,
        source=row.source,
        split=row.split,
        text=row.text,
        responses=row.responses,
        comparisons=comparison_count,
    )


def response_row(row: Row[Any]) -> ResponseRow:
    """As a record."""
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


def comparison_row(row: Row[Any]) -> ComparisonRow:
    """As a record."""
    return ComparisonRow(
        id=row.id,
        first_response_id=row.first_response_id,
        second_response_id=row.second_response_id,
        purpose=row.purpose,
        round=row.round,
        judgements=row.judgements,
    )


def event_row(row: Row[Any]) -> EventRow:
    """As a record."""
    return EventRow(
        id=row.id,
        seq=row.seq,
        kind=row.kind,
        annotator_id=row.annotator_id,
        annotator=row.pseudonym if row.person is None else row.person,
        annotator_kind=row.annotator_kind,
        comparison_id=row.comparison_id,
        sides=None if row.comparison_id is None else (row.first_side, row.second_side),
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


def task_row(row: Row[Any]) -> TaskRow:
    """As a record."""
    return TaskRow(
        id=row.id,
        position=row.position,
        kind=row.kind,
        source=row.source,
        prompt_id=row.prompt_id,
        prompt=row.prompt,
        overlap=row.overlap,
        answers=row.answers,
        held=row.held,
        halted=row.halted_at is not None,
        only_for=row.only_for,
    )
