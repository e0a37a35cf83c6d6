"""Feedback that stands: what was neither edited nor undone since, with the texts it is about.

Functions take an open transaction.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, or_, select

from assent.store.feedback_records import JudgedRanking, StoredCriticism, StoredRating
from assent.store.identity import joined, said_since
from assent.store.records import StoredDemonstration
from assent.store.response_sets import response_texts
from assent.store.rows import (
    AnyRow,
    AnySelect,
    by_name,
    in_order,
    parsed_ids,
    parsed_object,
    prompt_text,
)
from assent.store.schema import events, prompts, response_sets, responses


def list_demonstrations(connection: Connection) -> list[StoredDemonstration]:
    """Demonstrations that stand, in the order given."""
    return [
        StoredDemonstration(
            event_id=row.event_id,
            seq=row.seq,
            prompt_id=row.prompt_id,
            prompt=prompt_text(row.prompt, row.messages),
            response_id=row.response_id,
            response=row.response,
            annotator_id=row.annotator_id,
            context=parsed_object(row.payload).get("context", {}),
        )
        for row in connection.execute(_about_responses("demonstration"))
    ]


def list_ratings(connection: Connection, up_to_seq: int | None = None) -> list[StoredRating]:
    """Ratings that stand, in the order given; with `up_to_seq`, those that stood then."""
    ratings = []
    for row in connection.execute(_about_responses("rating", up_to_seq)):
        said = parsed_object(row.payload)
        ratings.append(
            StoredRating(
                event_id=row.event_id,
                seq=row.seq,
                annotator_id=row.annotator_id,
                prompt_id=row.prompt_id,
                prompt=prompt_text(row.prompt, row.messages),
                response_id=row.response_id,
                response=row.response,
                axes=said["axes"],
                lowest=said.get("lowest"),
                highest=said.get("highest"),
                flags=tuple(said.get("flags", ())),
                note=said.get("note"),
                context=said.get("context", {}),
            )
        )
    return ratings


def list_criticisms(connection: Connection) -> list[StoredCriticism]:
    """Criticisms that stand, in the order given."""
    refined = responses.alias("refined")
    query = (
        _about_responses("criticism")
        .add_columns(events.c.refinement_id, refined.c.text.label("refinement"))
        .outerjoin(refined, refined.c.id == events.c.refinement_id)
    )
    criticisms = []
    for row in connection.execute(query):
        said = parsed_object(row.payload)
        criticisms.append(
            StoredCriticism(
                event_id=row.event_id,
                seq=row.seq,
                annotator_id=row.annotator_id,
                prompt_id=row.prompt_id,
                prompt=prompt_text(row.prompt, row.messages),
                response_id=row.response_id,
                response=row.response,
                text=said["text"],
                refinement_id=row.refinement_id,
                refinement=row.refinement,
                context=said.get("context", {}),
            )
        )
    return criticisms


@dataclass(frozen=True, slots=True)
class RankingRow:
    """A ranking as read: nothing is made of what it says before the hash was compared."""

    row: AnyRow
    response_ids: tuple[str, ...]
    texts: tuple[str | None, ...]
    """None for a response that is gone."""

    @property
    def line(self) -> bytes:
        """What a snapshot's hash covers."""
        hashed = (by_name(self.row)[name] for name in _HASHED)
        said = joined(*hashed, *self.texts, *said_since(messages=self.row.messages))
        return f"{said}\x00".encode()

    def judged(self) -> JudgedRanking:
        """What was said."""
        said = parsed_object(self.row.payload)
        return JudgedRanking(
            event_id=self.row.event_id,
            seq=self.row.seq,
            response_set_id=self.row.response_set_id,
            annotator_id=self.row.annotator_id,
            prompt_id=self.row.prompt_id,
            prompt=prompt_text(self.row.prompt, self.row.messages),
            response_ids=self.response_ids,
            responses=tuple(str(text) for text in self.texts),
            ranks=tuple(said["ranks"][id_] for id_ in self.response_ids),
            flags=tuple(said.get("flags", ())),
            note=said.get("note"),
            context=said.get("context", {}),
            round=self.row.round,
        )


def ranking_rows(
    connection: Connection, purposes: Iterable[str], up_to_seq: int | None = None
) -> Iterator[RankingRow]:
    """The rankings for these purposes in order; with `up_to_seq`, those that stood then.

    The line that is hashed holds event, set, annotator, payload, round, prompt, and the texts of
    the responses in the order of the set, joined and ended by NUL; a chat's turns come last.
    """
    query = _rankings_query(purposes)
    if up_to_seq is not None:
        superseded_at = query.selected_columns["superseded_at"]
        query = query.where(events.c.seq <= up_to_seq).where(
            or_(superseded_at.is_(None), superseded_at > up_to_seq)
        )
    for block in in_order(connection, query):
        members = [parsed_ids(row.response_ids) for row in block]
        texts = response_texts(connection, (id_ for ids in members for id_ in ids))
        for row, ids in zip(block, members, strict=True):
            yield RankingRow(row, ids, tuple(texts.get(id_) for id_ in ids))


_HASHED = ("event_id", "response_set_id", "annotator_id", "payload", "round", "prompt")


def _rankings_query(purposes: Iterable[str]) -> AnySelect:
    later = events.alias("later")
    return (
        select(
            events.c.id.label("event_id"),
            events.c.seq,
            events.c.response_set_id,
            events.c.annotator_id,
            events.c.payload,
            later.c.seq.label("superseded_at"),
            response_sets.c.prompt_id,
            response_sets.c.response_ids,
            response_sets.c.round,
            prompts.c.text.label("prompt"),
            prompts.c.messages,
        )
        .join(response_sets, response_sets.c.id == events.c.response_set_id)
        .join(prompts, prompts.c.id == response_sets.c.prompt_id)
        .outerjoin(later, later.c.supersedes == events.c.id)
        .where(events.c.kind == "ranking", response_sets.c.purpose.in_(sorted(purposes)))
        .where(counting())
        .order_by(events.c.seq)
    )


def _about_responses(kind: str, up_to_seq: int | None = None) -> AnySelect:
    """Events of one kind that stand, with the response they are about and its prompt."""
    later = events.alias("later")
    superseded = exists().where(later.c.supersedes == events.c.id)
    if up_to_seq is not None:
        superseded = superseded.where(later.c.seq <= up_to_seq)
    query = (
        select(
            events.c.id.label("event_id"),
            events.c.seq,
            events.c.annotator_id,
            events.c.payload,
            responses.c.prompt_id,
            prompts.c.text.label("prompt"),
            prompts.c.messages,
            responses.c.id.label("response_id"),
            responses.c.text.label("response"),
        )
        .join(responses, responses.c.id == events.c.response_id)
        .join(prompts, prompts.c.id == responses.c.prompt_id)
        .where(events.c.kind == kind)
        .where(~superseded)
        .order_by(events.c.seq)
    )
    return query if up_to_seq is None else query.where(events.c.seq <= up_to_seq)


def counting() -> ColumnElement[bool]:
    """Events that count: not those that came late, when their task had all it wanted.

    Payloads are canonical JSON, in which a quoted name cannot occur inside a text.
    """
    return ~events.c.payload.contains('"extra":true', autoescape=True)
