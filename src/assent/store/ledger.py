"""The ledger: feedback of every kind and its undoing, as events that are only ever added.

`recording` says what each kind of event holds. An edit or an undo is a new event that supersedes
the old one, at most once for each event, so what happened to a judgement is a line and not a tree.
Each event carries the hash of the one before it. Functions take an open writing transaction, in
which nobody else can append.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, exists, insert, select, update

from assent.errors import (
    AlreadyJudged,
    AlreadySuperseded,
    DataError,
    IdempotencyConflict,
    StoreError,
    UnknownRecord,
)
from assent.store.identity import (
    Field,
    canonical_json,
    content_id,
    joined,
    require_text,
    said_since,
    sha256_hex,
)
from assent.store.records import EventKind, Recorded, StoredEvent
from assent.store.rows import AnyRow, by_name, chunks, parsed_object, require
from assent.store.schema import annotators, events, ledger_heads, responses
from assent.store.times import from_text

GENESIS = "0" * 64
"""What the first event chains to."""

PAYLOAD_VERSION = 1
"""Written into every payload as `v`, so that a later form can be told apart."""

ASKED_ONCE: Mapping[str, Column[str]] = {
    "judgement": events.c.comparison_id,
    "ranking": events.c.response_set_id,
    "rating": events.c.response_id,
}
"""Kinds of which an annotator has at most one that stands, and the column that says about what."""

# Made once: an alias copies every column, which takes longer than the query.
_LATER = events.alias("later")

Content = tuple[str | None, ...]

_CONTENT = (
    "kind",
    "comparison_id",
    "response_id",
    "response_set_id",
    "refinement_id",
    "supersedes",
    "payload",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event before it has a place in the ledger."""

    kind: EventKind
    annotator_id: str
    idempotency_key: str
    supersedes: str | None
    payload: str
    comparison_id: str | None = None
    response_id: str | None = None
    response_set_id: str | None = None
    refinement_id: str | None = None
    prompt_id: str | None = None
    """What a demonstration answers: an edited one is another response to the same prompt."""

    @property
    def id(self) -> str:
        """Who sent it under which key."""
        return event_id(self.annotator_id, self.idempotency_key)

    @property
    def content(self) -> Content:
        """What must be the same when the same key comes back."""
        return tuple(getattr(self, name) for name in _CONTENT)

    @property
    def asked(self) -> str | None:
        """What the event answers and an annotator may answer only once: its kind and an id.

        Nothing for a demonstration or a criticism: of those an annotator may give several.
        """
        column = ASKED_ONCE.get(self.kind)
        return None if column is None else f"{self.kind} {getattr(self, column.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the ledger already says about one event."""

    seq: int
    kind: EventKind
    annotator_id: str
    about: tuple[str | None, ...]
    """Comparison, response set, and the prompt or the response: what an edit must share."""
    content: Content


@dataclass(slots=True, kw_only=True)
class _Ledger:
    """As much of the ledger as a batch of drafts can touch, kept current while they are added."""

    known: dict[str, _Known]
    superseded: dict[str, str]
    """Event to the event that superseded it."""
    live: dict[tuple[str, str], str]
    """(`Draft.asked`, annotator) to the answer that stands."""


def retract(
    connection: Connection, target: str, annotator: str, idempotency_key: str, created_at: str
) -> Recorded:
    """Append the undoing of an event; see `Store.retract`."""
    row = connection.execute(select(events).where(events.c.id == target)).first()
    if row is None:
        raise _unknown_event(target)
    draft = Draft(
        kind="retract",
        comparison_id=row.comparison_id,
        response_id=row.response_id,
        response_set_id=row.response_set_id,
        refinement_id=row.refinement_id,
        annotator_id=annotator,
        idempotency_key=checked_key(idempotency_key, "retraction"),
        supersedes=target,
        payload=canonical_json({"v": PAYLOAD_VERSION}),
    )
    return append(connection, [draft], created_at)[0]


def list_events(connection: Connection, after_seq: int, limit: int | None) -> list[StoredEvent]:
    """Events in the order they happened."""
    query = select(events).where(events.c.seq > after_seq).order_by(events.c.seq).limit(limit)
    return [
        StoredEvent(
            **{
                **row,
                "payload": parsed_object(row["payload"]),
                "created_at": from_text(row["created_at"]),
            }
        )
        for row in connection.execute(query).mappings()
    ]


def event_id(annotator_id: str, idempotency_key: str) -> str:
    """The id of an event: who sent it under which key."""
    return content_id("events", annotator_id, idempotency_key)


HASHED = (
    "id",
    "kind",
    "comparison_id",
    "response_id",
    "annotator_id",
    "idempotency_key",
    "supersedes",
    "payload",
    "created_at",
    "prev_hash",
)
"""The columns that an event's hash covers, in order: all but `seq` and the hash.

The chain, and the rule that seq counts 1, 2, 3 …, fix seq already; without it a moved event can be
told from a changed one.
"""


HASHED_SINCE = ("response_set_id", "refinement_id")
"""Columns that came later: hashed by name, and only where they are not null."""


def event_hash(*fields: Field, **later: Field) -> str:
    """The hash of an event, from the columns named in `HASHED` and `HASHED_SINCE`."""
    return sha256_hex(joined(*fields, *said_since(**later)))


def checked_key(key: str, where: str) -> str:
    """An idempotency key that can be stored.

    Raises:
        DataError: it is empty, too long, or no text.
    """
    require_text(key, f"{where}: idempotency_key")
    longest = 200
    if not 0 < len(key) <= longest:
        message = f"{where}: idempotency_key has {len(key)} characters; use 1 to {longest}"
        raise DataError(message)
    return key


def append(connection: Connection, drafts: Sequence[Draft], created_at: str) -> list[Recorded]:
    """Give each draft its place at the end of the chain, or its old place if it was sent before."""
    require(connection, annotators, (draft.annotator_id for draft in drafts))
    ledger = _read(connection, drafts)
    head = connection.execute(select(ledger_heads.c.seq, ledger_heads.c.hash)).one()
    seq, prev_hash = int(head.seq), str(head.hash)
    recorded: list[Recorded] = []
    rows: list[dict[str, Any]] = []
    for draft in drafts:
        before = _sent_before(draft, ledger)
        if before is not None:
            recorded.append(before)
            continue
        _require_allowed(draft, ledger)
        seq += 1
        row: dict[str, Any] = {
            "seq": seq,
            "id": draft.id,
            "kind": draft.kind,
            "comparison_id": draft.comparison_id,
            "response_id": draft.response_id,
            "response_set_id": draft.response_set_id,
            "refinement_id": draft.refinement_id,
            "annotator_id": draft.annotator_id,
            "idempotency_key": draft.idempotency_key,
            "supersedes": draft.supersedes,
            "payload": draft.payload,
            "created_at": created_at,
            "prev_hash": prev_hash,
        }
        prev_hash = row["hash"] = event_hash(
            *(row[name] for name in HASHED), **{name: row[name] for name in HASHED_SINCE}
        )
        rows.append(row)
        recorded.append(Recorded(event_id=draft.id, seq=seq, replayed=False))
        _add_to(ledger, draft, seq)
    if rows:
        connection.execute(insert(events), rows)
        connection.execute(update(ledger_heads).values(seq=seq, hash=prev_hash))
    return recorded


def _sent_before(draft: Draft, ledger: _Ledger) -> Recorded | None:
    known = ledger.known.get(draft.id)
    if known is None:
        return None
    if known.content != draft.content:
        message = (
            f"idempotency key {draft.idempotency_key!r} of annotator {draft.annotator_id} was used "
            f"for event {draft.id}, which says something else; send a changed judgement under a "
            f"new key, with supersedes={draft.id!r}"
        )
        raise IdempotencyConflict(message)
    return Recorded(event_id=draft.id, seq=known.seq, replayed=True)


def _require_allowed(draft: Draft, ledger: _Ledger) -> None:
    target = draft.supersedes
    if target is not None:
        _require_supersedable(draft, target, ledger)
    if draft.asked is not None:
        standing = ledger.live.get((draft.asked, draft.annotator_id))
        if standing not in (None, target):
            done, what = _DONE[draft.kind]
            message = (
                f"annotator {draft.annotator_id} has {done} {what} {draft.asked.split()[1]} "
                f"(event {standing}); supersede that event to change it"
            )
            raise AlreadyJudged(message)


def _require_supersedable(draft: Draft, target: str, ledger: _Ledger) -> None:
    known = ledger.known.get(target)
    if known is None:
        raise _unknown_event(target)
    if target in ledger.superseded:
        message = f"event {target} was edited or undone by event {ledger.superseded[target]}"
        raise AlreadySuperseded(message)
    if known.kind == "retract":
        message = f"event {target} is an undoing and stays; judge or demonstrate again instead"
        raise StoreError(message)
    if known.annotator_id != draft.annotator_id:
        message = f"event {target} is annotator {known.annotator_id}'s; only they can change it"
        raise StoreError(message)
    if draft.kind == "retract":
        return
    if known.kind != draft.kind or known.about != _about(draft, draft.prompt_id):
        message = (
            f"event {target} is a {known.kind} about something else, so this cannot replace it"
        )
        raise StoreError(message)


def _about(event: Draft | AnyRow, prompt_id: str | None) -> tuple[str | None, ...]:
    demonstrated = prompt_id if event.kind == "demonstration" else event.response_id
    return (event.comparison_id, event.response_set_id, demonstrated)


def _add_to(ledger: _Ledger, draft: Draft, seq: int) -> None:
    ledger.known[draft.id] = _Known(
        seq=seq,
        kind=draft.kind,
        annotator_id=draft.annotator_id,
        about=_about(draft, draft.prompt_id),
        content=draft.content,
    )
    if draft.supersedes is not None:
        ledger.superseded[draft.supersedes] = draft.id
        ledger.live = {k: id_ for k, id_ in ledger.live.items() if id_ != draft.supersedes}
    if draft.asked is not None:
        ledger.live[draft.asked, draft.annotator_id] = draft.id


def _read(connection: Connection, drafts: Sequence[Draft]) -> _Ledger:
    ledger = _Ledger(known={}, superseded={}, live={})
    targets = [draft.supersedes for draft in drafts if draft.supersedes is not None]
    query = select(events, responses.c.prompt_id).outerjoin(
        responses, responses.c.id == events.c.response_id
    )
    for chunk in chunks([*(draft.id for draft in drafts), *targets]):
        for row in connection.execute(query.where(events.c.id.in_(chunk))):
            ledger.known[row.id] = _Known(
                seq=row.seq,
                kind=row.kind,
                annotator_id=row.annotator_id,
                about=_about(row, row.prompt_id),
                content=tuple(by_name(row)[name] for name in _CONTENT),
            )
    for chunk in chunks(targets):
        superseding = select(events.c.supersedes, events.c.id)
        for row in connection.execute(superseding.where(events.c.supersedes.in_(chunk))):
            ledger.superseded[row.supersedes] = row.id
    for kind, column in ASKED_ONCE.items():
        asked = [getattr(draft, column.name) for draft in drafts if draft.kind == kind]
        if not asked:
            continue
        ledger.live.update(_standing(connection, kind, column, asked))
    return ledger


def _standing(
    connection: Connection, kind: str, column: Column[str], asked: Sequence[str]
) -> dict[tuple[str, str], str]:
    query = (
        select(column, events.c.annotator_id, events.c.id)
        .where(events.c.kind == kind)
        .where(~exists().where(_LATER.c.supersedes == events.c.id))
    )
    standing: dict[tuple[str, str], str] = {}
    for chunk in chunks(asked):
        for subject, annotator, id_ in connection.execute(query.where(column.in_(chunk))):
            standing[f"{kind} {subject}", annotator] = id_
    return standing


def _unknown_event(id_: str) -> UnknownRecord:
    return UnknownRecord(f"events has no record {id_}")


_DONE = {
    "judgement": ("judged", "comparison"),
    "ranking": ("ranked", "response set"),
    "rating": ("rated", "response"),
}
