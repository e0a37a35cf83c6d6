"""Sets of responses to one prompt, for annotators to put in order. Functions take a transaction."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, exists, insert, select

from assent.errors import DataError
from assent.store.content import derived_id
from assent.store.feedback_records import NewResponseSet, StoredResponseSet
from assent.store.identity import canonical_json
from assent.store.rows import add_missing, chunks, existing, parsed_ids, prompt_text, require
from assent.store.schema import (
    annotators,
    events,
    prompts,
    response_set_members,
    response_sets,
    responses,
)

FEWEST, MOST = 2, 9
"""How many responses a set may have: as many as the keys 1 to 9 can rank."""


def add_response_sets(
    connection: Connection, new: Sequence[NewResponseSet], created_at: str
) -> list[str]:
    """Add sets of responses to one prompt, no two of which read the same."""
    require(connection, prompts, (one.prompt_id for one in new))
    told = _told(connection, [id_ for one in new for id_ in one.response_ids])
    rows = []
    for number, one in enumerate(new, start=1):
        _require_rankable(one, told, f"response set {number}")
        content = {
            "prompt_id": one.prompt_id,
            "response_ids": canonical_json(list(one.response_ids)),
            "purpose": one.purpose,
            "round": one.round,
            "index": one.index,
        }
        rows.append({"id": derived_id(response_sets, content), **content})
    known = existing(connection, response_sets, [str(row["id"]) for row in rows])
    ids = add_missing(connection, response_sets, rows, created_at)
    fresh = {id_: one for id_, one in zip(ids, new, strict=True) if id_ not in known}
    members = [
        {"response_set_id": id_, "place": place, "response_id": response}
        for id_, one in fresh.items()
        for place, response in enumerate(one.response_ids, start=1)
    ]
    if members:
        connection.execute(insert(response_set_members), members)
    return ids


def list_response_sets(
    connection: Connection,
    purpose: str | None,
    round_: int | None,
    unranked_by: str | None,
    ids: Sequence[str] | None = None,
) -> list[StoredResponseSet]:
    """Sets with their texts in the order added, all or those that match."""
    query = (
        select(response_sets, prompts.c.text.label("prompt"), prompts.c.messages)
        .join(prompts, prompts.c.id == response_sets.c.prompt_id)
        .order_by(response_sets.c.position)
    )
    if purpose is not None:
        query = query.where(response_sets.c.purpose == purpose)
    if round_ is not None:
        query = query.where(response_sets.c.round == round_)
    if ids is not None:
        query = query.where(response_sets.c.id.in_(list(ids)))
    if unranked_by is not None:
        require(connection, annotators, [unranked_by])
        later = events.alias("later")
        query = query.where(
            ~exists().where(
                events.c.response_set_id == response_sets.c.id,
                events.c.annotator_id == unranked_by,
                events.c.kind == "ranking",
                ~exists().where(later.c.supersedes == events.c.id),
            )
        )
    rows = connection.execute(query).mappings().all()
    members = {row["id"]: parsed_ids(row["response_ids"]) for row in rows}
    texts = response_texts(connection, (id_ for ids in members.values() for id_ in ids))
    return [
        StoredResponseSet(
            id=row["id"],
            prompt_id=row["prompt_id"],
            prompt=prompt_text(row["prompt"], row["messages"]),
            response_ids=members[row["id"]],
            responses=tuple(texts[id_] for id_ in members[row["id"]]),
            purpose=row["purpose"],
            round=row["round"],
            index=row["index"],
        )
        for row in rows
    ]


def response_texts(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The text of each of these responses, by id."""
    texts: dict[str, str] = {}
    for chunk in chunks(list(ids)):
        query = select(responses.c.id, responses.c.text).where(responses.c.id.in_(chunk))
        texts.update((row.id, row.text) for row in connection.execute(query))
    return texts


def _told(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """For each response the prompt that it answers and the hash of its text."""
    require(connection, responses, ids)
    told: dict[str, tuple[str, str]] = {}
    for chunk in chunks(ids):
        query = select(responses.c.id, responses.c.prompt_id, responses.c.content_sha256)
        for row in connection.execute(query.where(responses.c.id.in_(chunk))):
            told[row.id] = (row.prompt_id, row.content_sha256)
    return told


def _require_rankable(one: NewResponseSet, told: Mapping[str, tuple[str, str]], where: str) -> None:
    if not FEWEST <= len(one.response_ids) <= MOST:
        message = f"{where} has {len(one.response_ids)} responses; use {FEWEST} to {MOST}"
        raise DataError(message)
    seen: dict[str, str] = {}
    for id_ in one.response_ids:
        prompt, text = told[id_]
        if prompt != one.prompt_id:
            message = f"{where}: response {id_} answers prompt {prompt}, not {one.prompt_id}"
            raise DataError(message)
        if text in seen:
            message = f"{where}: responses {seen[text]} and {id_} read the same; leave one out"
            raise DataError(message)
        seen[text] = id_
