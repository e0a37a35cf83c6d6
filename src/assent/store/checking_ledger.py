"""Checks of what was judged: the chain of events, what supersedes what, and the snapshots.

After a bad event the walk goes on from what the event says, so one change is reported once.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, func, or_, select

from assent.store import ledger, recording
from assent.store.records import Finding, Snapshot
from assent.store.rows import in_order
from assent.store.schema import events, ledger_heads
from assent.store.snapshots import (
    ContentDigest,
    content_line,
    list_snapshots,
    pairs_query,
)
from assent.store.standing import ranking_rows
from assent.types import ProgressTask


def check_chain(connection: Connection, bar: ProgressTask) -> Iterator[Finding]:
    """Changed, missing, doubled and moved events, and a ledger that is shorter than its head."""
    expected, prev_hash = 1, ledger.GENESIS
    names = ("seq", "hash", *ledger.HASHED, *ledger.HASHED_SINCE)
    columns = (events.c[name] for name in names)
    end = len(ledger.HASHED)
    for block in in_order(connection, select(*columns).order_by(events.c.seq)):
        for seq, hash_, *said in block:
            later = dict(zip(ledger.HASHED_SINCE, said[end:], strict=True))
            for problem in _event_problems(seq, hash_, said[:end], later, expected, prev_hash):
                yield _about(seq, said[0], problem)
            expected, prev_hash = seq + 1, hash_
        bar.advance(len(block))
    yield from _check_head(connection, expected - 1, prev_hash)


def check_snapshots(connection: Connection, bar: ProgressTask) -> Iterator[Finding]:
    """Snapshots whose judgements or texts are not those that were hashed when it was taken."""
    taken = list_snapshots(connection)
    for purposes in sorted({snapshot.purposes for snapshot in taken}):
        alike = [snapshot for snapshot in taken if snapshot.purposes == purposes]
        yield from _check_snapshots_alike(connection, alike, bar)


def _event_problems(
    seq: int,
    hash_: str,
    said: Sequence[Any],
    later: Mapping[str, str | None],
    expected: int,
    prev_hash: str,
) -> Iterator[str]:
    id_, kind, _, _, annotator_id, key, _, payload, _, said_prev_hash = said
    if seq > expected:
        one = seq == expected + 1
        what = f"event {expected} is" if one else f"events {expected} to {seq - 1} are"
        yield f"{what} missing before it"
    elif seq < expected:
        yield f"seq {seq} occurs twice"
    elif said_prev_hash != prev_hash:
        yield "does not follow the event before it: one was changed, removed or moved here"
    if hash_ != ledger.event_hash(*said, **later):
        yield "was changed: its hash does not fit what it says"
    elif id_ != ledger.event_id(annotator_id, key):
        yield "was changed: its id does not fit its annotator and key"
    elif not _says(kind, payload):
        yield f"holds no {_SAID[kind]}"


def _check_head(connection: Connection, last: int, last_hash: str) -> Iterator[Finding]:
    head = connection.execute(select(ledger_heads.c.seq, ledger_heads.c.hash)).first()
    if head is None:
        problem = f"is missing; the ledger ends with event {last}"
    elif head.seq > last:
        problem = f"says that event {head.seq} is the last; the ledger ends with event {last}, so "
        one = head.seq == last + 1
        problem += f"event {head.seq} is missing" if one else f"events {last + 1} on are missing"
    elif (head.seq, head.hash) != (last, last_hash):
        problem = f"does not fit event {last}, where the ledger ends"
    else:
        return
    yield Finding(table="ledger_heads", record="head", problem=problem)


_SAID = {"judgement": "verdict", "ranking": "ranks", "rating": "axes", "criticism": "text"}
"""What the payload of each kind of event must hold; the others need nothing."""


def _says(kind: str, payload: str) -> bool:
    if kind not in _SAID:
        return True
    try:
        said = json.loads(payload)[_SAID[kind]]
    except (ValueError, TypeError, KeyError):
        return False
    if kind == "judgement":
        return said in recording.VERDICTS
    return isinstance(said, str if kind == "criticism" else dict) and bool(said)


def check_doubled(connection: Connection) -> Iterator[Finding]:
    """Events that are there twice, and what supersedes or stands more often than it may."""
    keys = select(events.c.id, func.count()).group_by(events.c.id).having(func.count() > 1)
    for id_, count in connection.execute(keys):
        yield Finding(table="events", record=str(id_), problem=f"is there {count} times")
    targets = (
        select(events.c.supersedes, func.count())
        .where(events.c.supersedes.is_not(None))
        .group_by(events.c.supersedes)
        .having(func.count() > 1)
    )
    for id_, count in connection.execute(targets):
        yield Finding(table="events", record=str(id_), problem=f"was superseded {count} times")
    later = events.alias("later")
    for kind, column in ledger.ASKED_ONCE.items():
        standing = (
            select(column, events.c.annotator_id, func.count())
            .where(events.c.kind == kind)
            .where(~exists().where(later.c.supersedes == events.c.id))
            .group_by(column, events.c.annotator_id)
            .having(func.count() > 1)
        )
        (asked,) = column.foreign_keys
        for id_, annotator, count in connection.execute(standing):
            problem = f"has {count} standing {kind}s of annotator {annotator}"
            yield Finding(table=asked.column.table.name, record=str(id_), problem=problem)
    yield from _check_superseding(connection)


def _check_superseding(connection: Connection) -> Iterator[Finding]:
    target = events.alias("target")
    query = (
        select(events.c.seq, events.c.id)
        .join(target, target.c.id == events.c.supersedes)
        .where(
            or_(
                target.c.seq >= events.c.seq,
                target.c.annotator_id != events.c.annotator_id,
                target.c.comparison_id != events.c.comparison_id,
                target.c.response_set_id != events.c.response_set_id,
                and_(events.c.kind == "rating", target.c.response_id != events.c.response_id),
                and_(events.c.kind != "retract", target.c.kind != events.c.kind),
                target.c.kind == "retract",
            )
        )
    )
    for seq, id_ in connection.execute(query):
        yield _about(seq, id_, "supersedes an event that it cannot supersede")


def _check_snapshots_alike(
    connection: Connection, alike: list[Snapshot], bar: ProgressTask
) -> Iterator[Finding]:
    digests = {snapshot.id: ContentDigest() for snapshot in alike}
    last = max(snapshot.up_to_seq for snapshot in alike)
    query = pairs_query(alike[0].purposes).where(events.c.seq <= last)
    for block in in_order(connection, query):
        for row in block:
            line = content_line(row)
            for snapshot in alike:
                if row.seq <= snapshot.up_to_seq and (
                    row.superseded_at is None or row.superseded_at > snapshot.up_to_seq
                ):
                    digests[snapshot.id].add(line)
        bar.advance(len(block))
    for ranking in ranking_rows(connection, alike[0].purposes):
        for snapshot in alike:
            superseded_at = ranking.row.superseded_at
            if ranking.row.seq <= snapshot.up_to_seq and (
                superseded_at is None or superseded_at > snapshot.up_to_seq
            ):
                digests[snapshot.id].add(ranking.line)
        bar.advance()
    for snapshot in alike:
        digest = digests[snapshot.id]
        if (digest.count, digest.hexdigest()) != (snapshot.event_count, snapshot.content_sha256):
            problem = (
                f"held {snapshot.event_count} judgements with hash {snapshot.content_sha256[:12]} "
                f"and now gives {digest.count} with {digest.hexdigest()[:12]}"
            )
            yield Finding(table="snapshots", record=snapshot.name, problem=problem)


def _about(seq: int, id_: str, problem: str) -> Finding:
    return Finding(table="events", record=f"{id_} (seq {seq})", problem=problem)
