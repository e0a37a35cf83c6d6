"""Snapshots: which judgements a model was trained on, fixed for ever by a hash of their content.

A judgement or a ranking is in a snapshot when its comparison or response set has one of the
purposes, it was recorded at or before `up_to_seq`, and no event up to there superseded it. The hash
covers each judgement, then each ranking, and the texts they were about, so a snapshot read back is
the one that was taken, or it is refused.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection, RowMapping, insert, or_, select

from assent.errors import DataError, IdempotencyConflict, StoreDamaged, UnknownRecord
from assent.store.feedback_records import JudgedRanking
from assent.store.identity import canonical_json, content_id, joined, require_text, said_since
from assent.store.records import JudgedPair, Snapshot
from assent.store.rows import AnyRow, AnySelect, parsed_object, prompt_text
from assent.store.schema import comparisons, events, ledger_heads, prompts, responses, snapshots
from assent.store.standing import counting, ranking_rows

_HASHED = 8


def take(
    connection: Connection,
    name: str,
    purposes: Sequence[str],
    up_to_seq: int | None,
    created_at: str,
) -> Snapshot:
    """Take a snapshot, or return the one of that name; see `Store.take_snapshot`."""
    require_text(name, "snapshot name")
    wanted = tuple(sorted(set(purposes)))
    if not wanted:
        message = f"snapshot {name!r} names no purpose, so it would be empty"
        raise DataError(message)
    named = select(snapshots).where(snapshots.c.name == name)
    stored = connection.execute(named).mappings().first()
    if stored is not None:
        snapshot = from_row(stored)
        if snapshot.purposes != wanted or up_to_seq not in (None, snapshot.up_to_seq):
            message = (
                f"snapshot {name!r} exists with purposes {', '.join(snapshot.purposes)} up to "
                f"event {snapshot.up_to_seq}; take this one under another name"
            )
            raise IdempotencyConflict(message)
        return snapshot
    head = int(connection.scalars(select(ledger_heads.c.seq)).one())
    if up_to_seq is not None and not 0 <= up_to_seq <= head:
        message = f"snapshot {name!r}: up_to_seq is {up_to_seq}; the ledger has events 1 to {head}"
        raise DataError(message)
    last = head if up_to_seq is None else up_to_seq
    digest = ContentDigest()
    for row in _rows(connection, wanted, last):
        digest.add(content_line(row))
    for ranking in ranking_rows(connection, wanted, last):
        digest.add(ranking.line)
    connection.execute(
        insert(snapshots).values(
            id=content_id("snapshots", name),
            name=name,
            up_to_seq=last,
            query=canonical_json({"purposes": wanted}),
            event_count=digest.count,
            content_sha256=digest.hexdigest(),
            created_at=created_at,
        )
    )
    return Snapshot(
        id=content_id("snapshots", name),
        name=name,
        purposes=wanted,
        up_to_seq=last,
        event_count=digest.count,
        content_sha256=digest.hexdigest(),
    )


def find(connection: Connection, id_: str) -> Snapshot:
    """The snapshot with this id.

    Raises:
        UnknownRecord: there is none.
    """
    row = connection.execute(select(snapshots).where(snapshots.c.id == id_)).mappings().first()
    if row is None:
        message = f"snapshots has no record {id_}"
        raise UnknownRecord(message)
    return from_row(row)


def list_snapshots(connection: Connection) -> list[Snapshot]:
    """Every snapshot, by the event it reaches to and by name."""
    query = select(snapshots).order_by(snapshots.c.up_to_seq, snapshots.c.name)
    return [from_row(row) for row in connection.execute(query).mappings()]


def judged_pairs(connection: Connection, id_: str) -> list[JudgedPair]:
    """The judgements of a snapshot in the order they were made.

    Raises:
        UnknownRecord: no such snapshot.
        StoreDamaged: its content is not what it was when the snapshot was taken.
    """
    return _read(connection, id_)[0]


def judged_rankings(connection: Connection, id_: str) -> list[JudgedRanking]:
    """The rankings of a snapshot in the order they were made.

    Raises:
        UnknownRecord, StoreDamaged: as `judged_pairs`.
    """
    return _read(connection, id_)[1]


def _read(connection: Connection, id_: str) -> tuple[list[JudgedPair], list[JudgedRanking]]:
    snapshot = find(connection, id_)
    rows = list(_rows(connection, snapshot.purposes, snapshot.up_to_seq))
    rankings = list(ranking_rows(connection, snapshot.purposes, snapshot.up_to_seq))
    digest = ContentDigest()
    for row in rows:
        digest.add(content_line(row))
    for ranking in rankings:
        digest.add(ranking.line)
    if digest.hexdigest() != snapshot.content_sha256:
        message = (
            f"snapshot {snapshot.name!r} held {snapshot.event_count} judgements with hash "
            f"{snapshot.content_sha256[:12]} and now gives {digest.count} with "
            f"{digest.hexdigest()[:12]}; run `assent db check` to see what was changed"
        )
        raise StoreDamaged(message)
    return [_pair(row) for row in rows], [ranking.judged() for ranking in rankings]


def from_row(row: RowMapping) -> Snapshot:
    """A row of the table as a record."""
    return Snapshot(
        id=row["id"],
        name=row["name"],
        purposes=tuple(parsed_object(row["query"])["purposes"]),
        up_to_seq=row["up_to_seq"],
        event_count=row["event_count"],
        content_sha256=row["content_sha256"],
    )


class ContentDigest:
    """The running hash of a snapshot, judgement by judgement."""

    def __init__(self) -> None:
        self.count = 0
        self._digest = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """Take in the next judgement."""
        self._digest.update(line)
        self.count += 1

    def hexdigest(self) -> str:
        """The hash so far."""
        return self._digest.hexdigest()


def content_line(row: AnyRow) -> bytes:
    """What a snapshot's hash covers of one row of `pairs_query`."""
    return f"{joined(*row[:_HASHED], *said_since(messages=row.messages))}\x00".encode()


def pairs_query(purposes: Iterable[str]) -> AnySelect:
    """Every judgement for these purposes in order, with the seq of what superseded it, if any."""
    first, second, later = (
        responses.alias("first"),
        responses.alias("second"),
        events.alias("later"),
    )
    return (
        select(
            # These first eight are hashed: `_HASHED`.
            events.c.id.label("event_id"),
            comparisons.c.id.label("comparison_id"),
            events.c.annotator_id,
            events.c.payload,
            comparisons.c.round,
            prompts.c.text.label("prompt"),
            first.c.text.label("first"),
            second.c.text.label("second"),
            events.c.seq,
            later.c.seq.label("superseded_at"),
            comparisons.c.prompt_id,
            comparisons.c.shown_order,
            prompts.c.messages,
        )
        .join(comparisons, comparisons.c.id == events.c.comparison_id)
        .join(prompts, prompts.c.id == comparisons.c.prompt_id)
        .join(first, first.c.id == comparisons.c.first_response_id)
        .join(second, second.c.id == comparisons.c.second_response_id)
        .outerjoin(later, later.c.supersedes == events.c.id)
        .where(events.c.kind == "judgement", comparisons.c.purpose.in_(sorted(purposes)))
        .where(counting())
        .order_by(events.c.seq)
    )


def _rows(connection: Connection, purposes: Iterable[str], up_to_seq: int) -> Iterator[AnyRow]:
    query = pairs_query(purposes)
    superseded_at = query.selected_columns["superseded_at"]
    within = query.where(events.c.seq <= up_to_seq).where(
        or_(superseded_at.is_(None), superseded_at > up_to_seq)
    )
    yield from connection.execute(within)


def _pair(row: AnyRow) -> JudgedPair:
    payload = parsed_object(row.payload)
    return JudgedPair(
        event_id=row.event_id,
        seq=row.seq,
        comparison_id=row.comparison_id,
        annotator_id=row.annotator_id,
        prompt_id=row.prompt_id,
        prompt=prompt_text(row.prompt, row.messages),
        first=row.first,
        second=row.second,
        shown_order=payload.get("context", {}).get("shown_order", row.shown_order),
        verdict=payload["verdict"],
        strength=payload.get("strength"),
        round=row.round,
        margin=payload.get("margin"),
        confidence=payload.get("confidence"),
        flags=tuple(payload.get("flags", ())),
        note=payload.get("note"),
        context=payload.get("context", {}),
    )
