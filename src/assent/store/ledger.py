"""The ledger: judgements, demonstrations and their undoing, as events that are only ever added.

An edit or an undo is a new event that supersedes the old one, at most once for each event, so what
happened to a judgement is a line and not a tree. Each event carries the hash of the one before it.
Functions take an open writing transaction, in which nobody else can append.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import Connection, exists, insert, select, update

from assent.errors import (
    AlreadyJudged,
    AlreadySuperseded,
    DataError,
    IdempotencyConflict,
    StoreError,
    UnknownRecord,
)
from assent.store.content import add_responses
from assent.store.identity import (
    Field,
    canonical_json,
    content_id,
    joined,
    require_finite,
    require_text,
    sha256_hex,
)
from assent.store.records import (
    EventKind,
    NewDemonstration,
    NewJudgement,
    NewResponse,
    Recorded,
    StoredDemonstration,
    StoredEvent,
)
from assent.store.rows import chunks, parsed_object, require
from assent.store.schema import (
    annotators,
    comparisons,
    events,
    ledger_heads,
    prompts,
    responses,
)
from assent.store.times import from_text
from assent.types import Verdict

GENESIS = "0" * 64
"""What the first event chains to."""

PAYLOAD_VERSION = 1
"""Written into every payload as `v`, so that a later form can be told apart."""

MAX_STRENGTH = 3

VERDICTS = get_args(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """An event before it has a place in the ledger."""

    kind: EventKind
    comparison_id: str | None
    response_id: str | None
    prompt_id: str | None
    annotator_id: str
    idempotency_key: str
    supersedes: str | None
    payload: str

    @property
    def id(self) -> str:
        return event_id(self.annotator_id, self.idempotency_key)

    @property
    def subject(self) -> tuple[str | None, ...]:
        return (self.kind, self.comparison_id, self.response_id, self.supersedes, self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the ledger already says about one event."""

    seq: int
    annotator_id: str
    prompt_id: str | None
    subject: tuple[str | None, ...]


@dataclass(slots=True, kw_only=True)
class _Ledger:
    """As much of the ledger as a batch of drafts can touch, kept current while they are added."""

    known: dict[str, _Known]
    superseded: dict[str, str]
    """Event to the event that superseded it."""
    live: dict[tuple[str, str], str]
    """(comparison, annotator) to the judgement that stands."""


def record_judgements(
    connection: Connection, new: Sequence[NewJudgement], created_at: str
) -> list[Recorded]:
    """Append judgements; see `Store.record_judgements`."""
    drafts = [_judgement_draft(judgement, n) for n, judgement in enumerate(new, start=1)]
    require(connection, comparisons, (draft.comparison_id for draft in drafts))
    return _append(connection, drafts, created_at)


def record_demonstrations(
    connection: Connection, new: Sequence[NewDemonstration], created_at: str
) -> list[Recorded]:
    """Append demonstrations with the responses they write; see `Store.record_demonstrations`."""
    written = [
        NewResponse(prompt_id=one.prompt_id, text=one.text, origin="demonstration") for one in new
    ]
    ids = add_responses(connection, written, created_at)
    drafts = [
        _Draft(
            kind="demonstration",
            comparison_id=None,
            response_id=id_,
            prompt_id=one.prompt_id,
            annotator_id=one.annotator_id,
            idempotency_key=_key(one.idempotency_key, f"demonstration {number}"),
            supersedes=one.supersedes,
            payload=canonical_json({"v": PAYLOAD_VERSION}),
        )
        for number, (one, id_) in enumerate(zip(new, ids, strict=True), start=1)
    ]
    return _append(connection, drafts, created_at)


def retract(
    connection: Connection, target: str, annotator: str, idempotency_key: str, created_at: str
) -> Recorded:
    """Append the undoing of an event; see `Store.retract`."""
    row = connection.execute(select(events).where(events.c.id == target)).first()
    if row is None:
        raise _unknown_event(target)
    draft = _Draft(
        kind="retract",
        comparison_id=row.comparison_id,
        response_id=row.response_id,
        prompt_id=None,
        annotator_id=annotator,
        idempotency_key=_key(idempotency_key, "retraction"),
        supersedes=target,
        payload=canonical_json({"v": PAYLOAD_VERSION}),
    )
    return _append(connection, [draft], created_at)[0]


def list_demonstrations(connection: Connection) -> list[StoredDemonstration]:
    """Demonstrations that stand, in the order given."""
    later = events.alias("later")
    query = (
        select(
            events.c.id.label("event_id"),
            events.c.seq,
            events.c.annotator_id,
            responses.c.prompt_id,
            prompts.c.text.label("prompt"),
            responses.c.id.label("response_id"),
            responses.c.text.label("response"),
        )
        .join(responses, responses.c.id == events.c.response_id)
        .join(prompts, prompts.c.id == responses.c.prompt_id)
        .where(events.c.kind == "demonstration")
        .where(~exists().where(later.c.supersedes == events.c.id))
        .order_by(events.c.seq)
    )
    return [StoredDemonstration(**row) for row in connection.execute(query).mappings()]


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


def event_hash(*fields: Field) -> str:
    """The hash of an event, from the columns named in `HASHED`."""
    return sha256_hex(joined(*fields))


def _judgement_draft(judgement: NewJudgement, number: int) -> _Draft:
    where = f"judgement {number}"
    if judgement.verdict not in VERDICTS:
        message = f"{where}: verdict is {judgement.verdict!r}; use one of {', '.join(VERDICTS)}"
        raise DataError(message)
    strength, seconds = judgement.strength, judgement.seconds_spent
    if strength is not None and not 1 <= strength <= MAX_STRENGTH:
        message = f"{where}: strength is {strength}; use 1 to {MAX_STRENGTH}, or leave it out"
        raise DataError(message)
    require_finite(seconds, f"{where}: seconds_spent")
    if seconds is not None and seconds < 0:
        message = f"{where}: seconds_spent is {seconds}; it cannot be negative"
        raise DataError(message)
    if judgement.note is not None:
        require_text(judgement.note, f"{where}: note")
    payload = {
        "v": PAYLOAD_VERSION,
        "verdict": judgement.verdict,
        "strength": strength,
        "note": judgement.note,
        "seconds_spent": seconds,
    }
    return _Draft(
        kind="judgement",
        comparison_id=judgement.comparison_id,
        response_id=None,
        prompt_id=None,
        annotator_id=judgement.annotator_id,
        idempotency_key=_key(judgement.idempotency_key, where),
        supersedes=judgement.supersedes,
        payload=canonical_json({k: v for k, v in payload.items() if v is not None}),
    )


def _key(key: str, where: str) -> str:
    require_text(key, f"{where}: idempotency_key")
    longest = 200
    if not 0 < len(key) <= longest:
        message = f"{where}: idempotency_key has {len(key)} characters; use 1 to {longest}"
        raise DataError(message)
    return key


def _append(connection: Connection, drafts: Sequence[_Draft], created_at: str) -> list[Recorded]:
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
            "annotator_id": draft.annotator_id,
            "idempotency_key": draft.idempotency_key,
            "supersedes": draft.supersedes,
            "payload": draft.payload,
            "created_at": created_at,
            "prev_hash": prev_hash,
        }
        prev_hash = row["hash"] = event_hash(*(row[name] for name in HASHED))
        rows.append(row)
        recorded.append(Recorded(event_id=draft.id, seq=seq, replayed=False))
        _add_to(ledger, draft, seq)
    if rows:
        connection.execute(insert(events), rows)
        connection.execute(update(ledger_heads).values(seq=seq, hash=prev_hash))
    return recorded


def _sent_before(draft: _Draft, ledger: _Ledger) -> Recorded | None:
    known = ledger.known.get(draft.id)
    if known is None:
        return None
    if known.subject != draft.subject:
        message = (
            f"idempotency key {draft.idempotency_key!r} of annotator {draft.annotator_id} was used "
            f"for event {draft.id}, which says something else; send a changed judgement under a "
            f"new key, with supersedes={draft.id!r}"
        )
        raise IdempotencyConflict(message)
    return Recorded(event_id=draft.id, seq=known.seq, replayed=True)


def _require_allowed(draft: _Draft, ledger: _Ledger) -> None:
    target = draft.supersedes
    if target is not None:
        _require_supersedable(draft, target, ledger)
    if draft.kind == "judgement":
        standing = ledger.live.get((str(draft.comparison_id), draft.annotator_id))
        if standing not in (None, target):
            message = (
                f"annotator {draft.annotator_id} has judged comparison {draft.comparison_id} "
                f"(event {standing}); supersede that event to change the verdict"
            )
            raise AlreadyJudged(message)


def _require_supersedable(draft: _Draft, target: str, ledger: _Ledger) -> None:
    known = ledger.known.get(target)
    if known is None:
        raise _unknown_event(target)
    if target in ledger.superseded:
        message = f"event {target} was edited or undone by event {ledger.superseded[target]}"
        raise AlreadySuperseded(message)
    kind, comparison_id = known.subject[:2]
    if kind == "retract":
        message = f"event {target} is an undoing and stays; judge or demonstrate again instead"
        raise StoreError(message)
    if known.annotator_id != draft.annotator_id:
        message = f"event {target} is annotator {known.annotator_id}'s; only they can change it"
        raise StoreError(message)
    if draft.kind == "retract":
        return
    same = comparison_id == draft.comparison_id and known.prompt_id == draft.prompt_id
    if kind != draft.kind or not same:
        message = f"event {target} is a {kind} about something else, so this cannot replace it"
        raise StoreError(message)


def _add_to(ledger: _Ledger, draft: _Draft, seq: int) -> None:
    ledger.known[draft.id] = _Known(
        seq=seq,
        annotator_id=draft.annotator_id,
        prompt_id=draft.prompt_id,
        subject=draft.subject,
    )
    if draft.supersedes is not None:
        ledger.superseded[draft.supersedes] = draft.id
    if draft.comparison_id is not None:
        pair = (draft.comparison_id, draft.annotator_id)
        if draft.kind == "judgement":
            ledger.live[pair] = draft.id
        else:
            ledger.live.pop(pair, None)


def _read(connection: Connection, drafts: Sequence[_Draft]) -> _Ledger:
    ledger = _Ledger(known={}, superseded={}, live={})
    targets = [draft.supersedes for draft in drafts if draft.supersedes is not None]
    query = select(events, responses.c.prompt_id).outerjoin(
        responses, responses.c.id == events.c.response_id
    )
    for chunk in chunks([*(draft.id for draft in drafts), *targets]):
        for row in connection.execute(query.where(events.c.id.in_(chunk))):
            ledger.known[row.id] = _Known(
                seq=row.seq,
                annotator_id=row.annotator_id,
                prompt_id=row.prompt_id,
                subject=(
                    row.kind,
                    row.comparison_id,
                    row.response_id,
                    row.supersedes,
                    row.payload,
                ),
            )
    for chunk in chunks(targets):
        superseding = select(events.c.supersedes, events.c.id)
        for row in connection.execute(superseding.where(events.c.supersedes.in_(chunk))):
            ledger.superseded[row.supersedes] = row.id
    ledger.live.update(
        _standing(connection, (d.comparison_id for d in drafts if d.kind == "judgement"))
    )
    return ledger


def _standing(
    connection: Connection, comparison_ids: Iterable[str | None]
) -> dict[tuple[str, str], str]:
    later = events.alias("later")
    query = (
        select(events.c.comparison_id, events.c.annotator_id, events.c.id)
        .where(events.c.kind == "judgement")
        .where(~exists().where(later.c.supersedes == events.c.id))
    )
    standing: dict[tuple[str, str], str] = {}
    for chunk in chunks([id_ for id_ in comparison_ids if id_ is not None]):
        for row in connection.execute(query.where(events.c.comparison_id.in_(chunk))):
            standing[row.comparison_id, row.annotator_id] = row.id
    return standing


def _unknown_event(id_: str) -> UnknownRecord:
    return UnknownRecord(f"events has no record {id_}")
