"""Checks of what was judged: the chain of events, what supersedes what, and the snapshots.

After a bad event the walk goes on from what the event says, so one change is reported once.
"""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, exists, func, or_, select

from assent.store import ledger
from assent.store.identity import GENESIS, event_hash
from assent.store.records import Finding, Snapshot
from assent.store.rows import by_name, in_order
from assent.store.schema import comparisons, events, ledger_heads, responses
from assent.store.snapshots import (
    ContentDigest,
    content_line,
    list_snapshots,
    pair_from_row,
    pairs_query,
)
from assent.types import ProgressTask


def check_ledger(connection: Connection, bar: ProgressTask) -> Iterator[Finding]:
    """Changed, missing, doubled and moved events, and a ledger that is shorter than its head."""
    expected, prev_hash = 1, GENESIS
    for block in in_order(connection, select(events).order_by(events.c.seq)):
        for row in block:
            for problem in _event_problems(row, expected, prev_hash):
                yield _about(row.seq, row.id, problem)
            expected, prev_hash = row.seq + 1, row.hash
        bar.advance(len(block))
    head = connection.execute(select(ledger_heads.c.seq, ledger_heads.c.hash)).first()
    if head is None or (head.seq, head.hash) != (expected - 1, prev_hash):
        said = "is missing" if head is None else f"says that event {head.seq} is the last"
        problem = f"{said}; the ledger ends with event {expected - 1}"
        if head is not None and head.seq >= expected:
            problem += f", so events {expected} to {head.seq} are missing"
        yield Finding(table="ledger_heads", record="head", problem=problem)
    yield from _check_doubled(connection)
    yield from _check_superseding(connection)
    yield from _check_sides(connection)


def check_snapshots(connection: Connection, bar: ProgressTask) -> Iterator[Finding]:
    """Snapshots whose judgements or texts are not those that were hashed when it was taken."""
    taken = list_snapshots(connection)
    for purposes in sorted({snapshot.purposes for snapshot in taken}):
        alike = [snapshot for snapshot in taken if snapshot.purposes == purposes]
        yield from _check_snapshots_alike(connection, alike, bar)


def _event_problems(row: Row[Any], expected: int, prev_hash: str) -> Iterator[str]:
    event = by_name(row)
    seq: int = event["seq"]
    if seq > expected:
        what = (
            f"event {expected} is" if seq == expected + 1 else f"events {expected} to {seq - 1} are"
        )
        yield f"{what} missing before it"
    elif seq < expected:
        yield f"seq {seq} occurs twice"
    elif event["prev_hash"] != prev_hash:
        yield "does not follow the event before it: one was changed, removed or moved here"
    try:
        fits = event["hash"] == event_hash(ledger.hashed_content(event), event["prev_hash"])
        derived = event["id"] == ledger.event_id(event)
    except TypeError:  # a blob where text belongs
        fits = derived = False
    if not fits:
        yield "was changed: its hash does not fit what it says"
    elif not derived:
        yield "was changed: its id does not fit its annotator and key"
    elif event["kind"] == "judgement" and not _has_verdict(event["payload"]):
        yield "holds no verdict"


def _has_verdict(payload: str) -> bool:
    try:
        return json.loads(payload)["verdict"] in ledger.VERDICTS
    except (ValueError, TypeError, KeyError):
        return False


def _check_doubled(connection: Connection) -> Iterator[Finding]:
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
    standing = (
        select(events.c.comparison_id, events.c.annotator_id, func.count())
        .where(events.c.kind == "judgement")
        .where(~exists().where(later.c.supersedes == events.c.id))
        .group_by(events.c.comparison_id, events.c.annotator_id)
        .having(func.count() > 1)
    )
    for comparison, annotator, count in connection.execute(standing):
        problem = f"has {count} standing judgements of annotator {annotator}"
        yield Finding(table="comparisons", record=str(comparison), problem=problem)


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
                target.c.kind == "retract",
            )
        )
    )
    for seq, id_ in connection.execute(query):
        yield _about(seq, id_, "supersedes an event that it cannot supersede")


def _check_sides(connection: Connection) -> Iterator[Finding]:
    first, second = responses.alias("first"), responses.alias("second")
    query = (
        select(comparisons.c.id)
        .join(first, first.c.id == comparisons.c.first_response_id)
        .join(second, second.c.id == comparisons.c.second_response_id)
        .where(
            or_(
                first.c.prompt_id != comparisons.c.prompt_id,
                second.c.prompt_id != comparisons.c.prompt_id,
            )
        )
    )
    for id_ in connection.scalars(query):
        problem = "compares a response to another prompt"
        yield Finding(table="comparisons", record=str(id_), problem=problem)


def _check_snapshots_alike(
    connection: Connection, alike: list[Snapshot], bar: ProgressTask
) -> Iterator[Finding]:
    digests = {snapshot.id: ContentDigest() for snapshot in alike}
    last = max(snapshot.up_to_seq for snapshot in alike)
    query = pairs_query(alike[0].purposes).where(events.c.seq <= last)
    for block in in_order(connection, query):
        for row in block:
            try:
                line = content_line(pair_from_row(row))
            except (ValueError, TypeError, KeyError):
                continue  # reported as a changed event; the snapshot's hash will miss it
            for snapshot in alike:
                if row.seq <= snapshot.up_to_seq and (
                    row.superseded_at is None or row.superseded_at > snapshot.up_to_seq
                ):
                    digests[snapshot.id].add(line)
        bar.advance(len(block))
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
