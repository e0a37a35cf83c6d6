"""Prompts, samplers, responses, comparisons, annotators: what is shown, and to whom.

Each id is derived from what the record says (see `identity`), so adding the same record again
changes nothing and returns the same id. Functions take an open transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Table, and_, exists, select

from assent.errors import DataError, IdempotencyConflict
from assent.store.identity import (
    Field,
    canonical_json,
    content_id,
    require_finite,
    require_seed,
    require_text,
    said_since,
    sha256_hex,
)
from assent.store.records import (
    AnnotatorKind,
    NewComparison,
    NewResponse,
    Origin,
    StoredAnnotator,
    StoredComparison,
    StoredPrompt,
    StoredResponse,
    StoredSampler,
)
from assent.store.rows import add_missing, chunks, parsed_object, prompt_text, require
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
from assent.types import ChatPrompt, Prompt, Split

IDENTITY: Mapping[Table, tuple[str, ...]] = {
    prompts: ("text", "kind", "source", "split", "group"),
    samplers: ("model_version_id", "parameters", "engine"),
    responses: ("prompt_id", "text", "origin", "sampler_id", "seed", "index"),
    comparisons: (
        "prompt_id",
        "first_response_id",
        "second_response_id",
        "shown_order",
        "purpose",
        "round",
        "index",
    ),
    annotators: ("name",),
    response_sets: ("prompt_id", "response_ids", "purpose", "round", "index"),
}
"""The columns that make a record what it is; its id is derived from them, in this order."""

IDENTITY_SINCE: Mapping[Table, tuple[str, ...]] = {prompts: ("messages",)}
"""More such columns, which older records lack: they count where they are not null."""


def derived_id(table: Table, row: Mapping[str, Any]) -> str:
    """The id that a record's content gives."""
    later = {name: row[name] for name in IDENTITY_SINCE.get(table, ())}
    return content_id(table.name, *(row[name] for name in IDENTITY[table]), *said_since(**later))


def add_prompts(connection: Connection, new: Sequence[Prompt], created_at: str) -> list[str]:
    """Add prompts; one that says the same in every field is the same prompt."""
    rows = []
    for number, prompt in enumerate(new, start=1):
        require_text(prompt.text, f"prompt {number}")
        content = {
            "text": str(prompt.text),
            "kind": prompt.kind,
            "source": prompt.source,
            "split": prompt.split,
            "group": prompt.group,
            "messages": _messages(prompt.text, f"prompt {number}"),
        }
        rows.append({"id": derived_id(prompts, content), **content})
    return add_missing(connection, prompts, rows, created_at)


def list_prompts(
    connection: Connection, split: Split | None, source: str | None
) -> list[StoredPrompt]:
    """Prompts in the order added."""
    query = select(prompts).order_by(prompts.c.position)
    if split is not None:
        query = query.where(prompts.c.split == split)
    if source is not None:
        query = query.where(prompts.c.source == source)
    return [
        StoredPrompt(
            id=row.id,
            text=prompt_text(row.text, row.messages),
            kind=row.kind,
            source=row.source,
            split=row.split,
            group=row.group,
        )
        for row in connection.execute(query)
    ]


def add_sampler(
    connection: Connection,
    model_version_id: str,
    parameters: Mapping[str, Any],
    engine: str,
    created_at: str,
) -> str:
    """Add a sampler; the same version, parameters and engine are the same sampler."""
    require(connection, model_versions, [model_version_id])
    content = {
        "model_version_id": model_version_id,
        "parameters": canonical_json(dict(parameters)),
        "engine": engine,
    }
    row = {"id": derived_id(samplers, content), **content}
    return add_missing(connection, samplers, [row], created_at)[0]


def list_samplers(connection: Connection) -> list[StoredSampler]:
    """Samplers in the order added."""
    return [
        StoredSampler(
            id=row.id,
            model_version_id=row.model_version_id,
            parameters=parsed_object(row.parameters),
            engine=row.engine,
        )
        for row in connection.execute(select(samplers).order_by(samplers.c.position))
    ]


def add_responses(connection: Connection, new: Sequence[NewResponse], created_at: str) -> list[str]:
    """Add responses.

    A response is the same when prompt, text, origin, sampler, seed and index are; its measured
    log-probability, length and reason to finish stay those of the first time.
    """
    require(connection, prompts, (response.prompt_id for response in new))
    require(connection, samplers, (response.sampler_id for response in new))
    rows = []
    for number, response in enumerate(new, start=1):
        require_text(response.text, f"response {number}")
        require_finite(response.logprob_sum, f"response {number}: logprob_sum")
        require_seed(response.seed, f"response {number}: seed")
        if (response.origin == "sample") != (response.sampler_id is not None):
            message = (
                f"response {number}: origin is {response.origin!r} and sampler_id is "
                f"{response.sampler_id!r}; a sample has a sampler, and nothing else has"
            )
            raise DataError(message)
        content = {
            "prompt_id": response.prompt_id,
            "text": response.text,
            "origin": response.origin,
            "sampler_id": response.sampler_id,
            "seed": response.seed,
            "index": response.index,
        }
        measured = {
            "content_sha256": sha256_hex(response.text),
            "logprob_sum": response.logprob_sum,
            "token_count": response.token_count,
            "finish_reason": response.finish_reason,
        }
        rows.append({"id": derived_id(responses, content), **content, **measured})
    return add_missing(connection, responses, rows, created_at)


def list_responses(
    connection: Connection,
    prompt: str | None,
    sampler: str | None,
    origin: Origin | None,
) -> list[StoredResponse]:
    """Responses in the order added."""
    query = select(responses).order_by(responses.c.position)
    for column, wanted in (("prompt_id", prompt), ("sampler_id", sampler), ("origin", origin)):
        if wanted is not None:
            query = query.where(responses.c[column] == wanted)
    return [
        StoredResponse(
            id=row["id"],
            prompt_id=row["prompt_id"],
            text=row["text"],
            origin=row["origin"],
            sampler_id=row["sampler_id"],
            seed=row["seed"],
            logprob_sum=row["logprob_sum"],
            token_count=row["token_count"],
            finish_reason=row["finish_reason"],
            index=row["index"],
            content_sha256=row["content_sha256"],
        )
        for row in connection.execute(query).mappings()
    ]


def add_comparisons(
    connection: Connection, new: Sequence[NewComparison], created_at: str
) -> list[str]:
    """Add comparisons of two responses to one prompt that do not read the same."""
    require(connection, prompts, (comparison.prompt_id for comparison in new))
    sides = _sides(connection, new)
    rows = []
    for number, comparison in enumerate(new, start=1):
        _require_comparable(comparison, sides, f"comparison {number}")
        content = {
            "prompt_id": comparison.prompt_id,
            "first_response_id": comparison.first_response_id,
            "second_response_id": comparison.second_response_id,
            "shown_order": comparison.shown_order,
            "purpose": comparison.purpose,
            "round": comparison.round,
            "index": comparison.index,
        }
        key = dedupe_key(
            comparison.first_response_id,
            comparison.second_response_id,
            comparison.purpose,
            comparison.round,
            comparison.index,
        )
        rows.append({"id": derived_id(comparisons, content), "dedupe_key": key, **content})
    _require_asked_once(connection, rows)
    return add_missing(connection, comparisons, rows, created_at)


def dedupe_key(first_response: str, second_response: str, *asked: Field) -> str:
    """Equal for two responses asked about again, whichever side they are on.

    `asked` is purpose, round and index.
    """
    return content_id("pair", *sorted((first_response, second_response)), *asked)


def list_comparisons(
    connection: Connection,
    purpose: str | None,
    round_: int | None,
    unjudged_by: str | None,
    *,
    ids: Sequence[str] | None = None,
) -> list[StoredComparison]:
    """Comparisons with their texts in the order added."""
    first, second = responses.alias("first"), responses.alias("second")
    query = (
        select(
            comparisons,
            prompts.c.text.label("prompt"),
            prompts.c.messages,
            first.c.text.label("first"),
            second.c.text.label("second"),
        )
        .join(prompts, prompts.c.id == comparisons.c.prompt_id)
        .join(first, first.c.id == comparisons.c.first_response_id)
        .join(second, second.c.id == comparisons.c.second_response_id)
        .order_by(comparisons.c.position)
    )
    if ids is not None:
        query = query.where(comparisons.c.id.in_(list(ids)))
    if purpose is not None:
        query = query.where(comparisons.c.purpose == purpose)
    if round_ is not None:
        query = query.where(comparisons.c.round == round_)
    if unjudged_by is not None:
        require(connection, annotators, [unjudged_by])
        later = events.alias("later")
        query = query.where(
            ~exists().where(
                and_(
                    events.c.comparison_id == comparisons.c.id,
                    events.c.annotator_id == unjudged_by,
                    events.c.kind == "judgement",
                    ~exists().where(later.c.supersedes == events.c.id),
                )
            )
        )
    return [
        StoredComparison(
            id=row["id"],
            prompt_id=row["prompt_id"],
            prompt=prompt_text(row["prompt"], row["messages"]),
            first_response_id=row["first_response_id"],
            first=row["first"],
            second_response_id=row["second_response_id"],
            second=row["second"],
            shown_order=row["shown_order"],
            purpose=row["purpose"],
            round=row["round"],
            index=row["index"],
        )
        for row in connection.execute(query).mappings()
    ]


def add_annotator(
    connection: Connection,
    name: str,
    kind: AnnotatorKind,
    parameters: Mapping[str, Any],
    created_at: str,
) -> str:
    """Add an annotator; a name belongs to one kind and one set of parameters for ever.

    Raises:
        IdempotencyConflict: the name is taken by another annotator.
    """
    require_text(name, "annotator name")
    row = {
        "id": derived_id(annotators, {"name": name}),
        "name": name,
        "kind": kind,
        "parameters": canonical_json(dict(parameters)),
    }
    stored = connection.execute(select(annotators).where(annotators.c.name == name)).first()
    if stored is not None and (stored.kind, stored.parameters) != (kind, row["parameters"]):
        message = (
            f"annotator {name!r} exists as {stored.kind} with parameters {stored.parameters}; "
            "give the new one another name"
        )
        raise IdempotencyConflict(message)
    return add_missing(connection, annotators, [row], created_at)[0]


def list_annotators(connection: Connection) -> list[StoredAnnotator]:
    """Annotators in the order added."""
    return [
        StoredAnnotator(
            id=row.id, name=row.name, kind=row.kind, parameters=parsed_object(row.parameters)
        )
        for row in connection.execute(select(annotators).order_by(annotators.c.position))
    ]


def _messages(prompt: str, where: str) -> str | None:
    if not isinstance(prompt, ChatPrompt):
        return None
    for turn, message in enumerate(prompt.messages, start=1):
        require_text(message.role, f"{where}: role of message {turn}")
        require_text(message.content, f"{where}: message {turn}")
    return canonical_json([asdict(message) for message in prompt.messages])


def _sides(connection: Connection, new: Sequence[NewComparison]) -> dict[str, tuple[str, str]]:
    ids = [id_ for pair in new for id_ in (pair.first_response_id, pair.second_response_id)]
    require(connection, responses, ids)
    sides: dict[str, tuple[str, str]] = {}
    for chunk in chunks(ids):
        query = select(responses.c.id, responses.c.prompt_id, responses.c.content_sha256)
        for row in connection.execute(query.where(responses.c.id.in_(chunk))):
            sides[row.id] = (row.prompt_id, row.content_sha256)
    return sides


def _require_comparable(
    comparison: NewComparison, sides: Mapping[str, tuple[str, str]], where: str
) -> None:
    first = sides[comparison.first_response_id]
    second = sides[comparison.second_response_id]
    for id_, (prompt, _) in (
        (comparison.first_response_id, first),
        (comparison.second_response_id, second),
    ):
        if prompt != comparison.prompt_id:
            message = f"{where}: response {id_} answers prompt {prompt}, not {comparison.prompt_id}"
            raise DataError(message)
    if first[1] == second[1]:
        message = (
            f"{where}: responses {comparison.first_response_id} and "
            f"{comparison.second_response_id} read the same, so there is nothing to judge"
        )
        raise DataError(message)


def _require_asked_once(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    asked: dict[str, str] = {}
    for chunk in chunks([row["dedupe_key"] for row in rows]):
        query = select(comparisons.c.dedupe_key, comparisons.c.id)
        for stored in connection.execute(query.where(comparisons.c.dedupe_key.in_(chunk))):
            asked[stored.dedupe_key] = stored.id
    for row in rows:
        other = asked.setdefault(row["dedupe_key"], row["id"])
        if other != row["id"]:
            message = (
                f"comparison {other} asks about the same two responses for the same purpose and "
                "round; give this one another index to ask again"
            )
            raise IdempotencyConflict(message)
