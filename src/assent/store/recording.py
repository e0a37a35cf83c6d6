"""What each kind of event holds: checks what is handed in, and appends it to the ledger.

Functions take an open writing transaction. A payload holds what was said; what it was said about
is in columns, so that the database follows the references.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from sqlalchemy import Connection, select

from assent.errors import DataError
from assent.store.content import add_responses
from assent.store.feedback_records import NewCriticism, NewRanking, NewRating
from assent.store.identity import canonical_json, require_finite, require_text
from assent.store.ledger import PAYLOAD_VERSION, Draft, append, checked_key
from assent.store.records import NewDemonstration, NewJudgement, NewResponse, Recorded
from assent.store.rows import chunks, parsed_ids, require
from assent.store.schema import comparisons, response_sets, responses
from assent.types import Verdict

MAX_STRENGTH = 4

VERDICTS = get_args(Verdict)

LONGEST_NAME = 100
"""Characters of an axis or a flag."""


def record_judgements(
    connection: Connection, new: Sequence[NewJudgement], created_at: str
) -> list[Recorded]:
    """Append judgements; see `Store.record_judgements`."""
    drafts = [_judgement_draft(judgement, n) for n, judgement in enumerate(new, start=1)]
    require(connection, comparisons, (draft.comparison_id for draft in drafts))
    return append(connection, drafts, created_at)


def record_demonstrations(
    connection: Connection, new: Sequence[NewDemonstration], created_at: str
) -> list[Recorded]:
    """Append demonstrations with the responses they write; see `Store.record_demonstrations`."""
    written = [
        NewResponse(prompt_id=one.prompt_id, text=one.text, origin="demonstration") for one in new
    ]
    ids = add_responses(connection, written, created_at)
    drafts = []
    for number, (one, id_) in enumerate(zip(new, ids, strict=True), start=1):
        where = f"demonstration {number}"
        said = {"seconds_spent": _seconds(one.seconds_spent, where), "context": one.context or None}
        drafts.append(
            Draft(
                kind="demonstration",
                response_id=id_,
                prompt_id=one.prompt_id,
                annotator_id=one.annotator_id,
                idempotency_key=checked_key(one.idempotency_key, where),
                supersedes=one.supersedes,
                payload=_payload(said),
            )
        )
    return append(connection, drafts, created_at)


def record_rankings(
    connection: Connection, new: Sequence[NewRanking], created_at: str
) -> list[Recorded]:
    """Append rankings; see `Store.record_rankings`."""
    require(connection, response_sets, (one.response_set_id for one in new))
    members = _members(connection, [one.response_set_id for one in new])
    drafts = []
    for number, one in enumerate(new, start=1):
        where = f"ranking {number}"
        said = {
            "ranks": _checked_ranks(one, members[one.response_set_id], where),
            **_remarks(one, where),
        }
        drafts.append(
            Draft(
                kind="ranking",
                response_set_id=one.response_set_id,
                annotator_id=one.annotator_id,
                idempotency_key=checked_key(one.idempotency_key, where),
                supersedes=one.supersedes,
                payload=_payload(said),
            )
        )
    return append(connection, drafts, created_at)


def record_ratings(
    connection: Connection, new: Sequence[NewRating], created_at: str
) -> list[Recorded]:
    """Append ratings; see `Store.record_ratings`."""
    require(connection, responses, (one.response_id for one in new))
    drafts = []
    for number, one in enumerate(new, start=1):
        where = f"rating {number}"
        said = {
            "axes": _checked_axes(one, where),
            "lowest": one.lowest,
            "highest": one.highest,
            **_remarks(one, where),
        }
        drafts.append(
            Draft(
                kind="rating",
                response_id=one.response_id,
                annotator_id=one.annotator_id,
                idempotency_key=checked_key(one.idempotency_key, where),
                supersedes=one.supersedes,
                payload=_payload(said),
            )
        )
    return append(connection, drafts, created_at)


def record_criticisms(
    connection: Connection, new: Sequence[NewCriticism], created_at: str
) -> list[Recorded]:
    """Append criticisms with the responses that refine; see `Store.record_criticisms`."""
    require(connection, responses, (one.response_id for one in new))
    refined = _refinements(connection, new, created_at)
    drafts = []
    for number, one in enumerate(new, start=1):
        where = f"criticism {number}"
        require_text(one.text, where)
        if not one.text.strip():
            message = f"{where} says nothing; write what should be different, or leave it out"
            raise DataError(message)
        said = {
            "text": one.text,
            "seconds_spent": _seconds(one.seconds_spent, where),
            "context": one.context or None,
        }
        drafts.append(
            Draft(
                kind="criticism",
                response_id=one.response_id,
                refinement_id=refined.get(number),
                annotator_id=one.annotator_id,
                idempotency_key=checked_key(one.idempotency_key, where),
                supersedes=one.supersedes,
                payload=_payload(said),
            )
        )
    return append(connection, drafts, created_at)


def _judgement_draft(judgement: NewJudgement, number: int) -> Draft:
    where = f"judgement {number}"
    if judgement.verdict not in VERDICTS:
        message = f"{where}: verdict is {judgement.verdict!r}; use one of {', '.join(VERDICTS)}"
        raise DataError(message)
    strength = judgement.strength
    if strength is not None and not 1 <= strength <= MAX_STRENGTH:
        message = f"{where}: strength is {strength}; use 1 to {MAX_STRENGTH}, or leave it out"
        raise DataError(message)
    require_finite(judgement.margin, f"{where}: margin")
    require_finite(judgement.confidence, f"{where}: confidence")
    said = {
        "verdict": judgement.verdict,
        "strength": strength,
        "margin": judgement.margin,
        "confidence": judgement.confidence,
        **_remarks(judgement, where),
    }
    return Draft(
        kind="judgement",
        comparison_id=judgement.comparison_id,
        annotator_id=judgement.annotator_id,
        idempotency_key=checked_key(judgement.idempotency_key, where),
        supersedes=judgement.supersedes,
        payload=_payload(said),
    )


def _remarks(one: NewJudgement | NewRanking | NewRating, where: str) -> dict[str, Any]:
    """What may be said beside every answer."""
    for flag in one.flags:
        _require_name(flag, f"{where}: flag")
    if one.note is not None:
        require_text(one.note, f"{where}: note")
    return {
        "flags": list(one.flags) or None,
        "note": one.note,
        "seconds_spent": _seconds(one.seconds_spent, where),
        "context": dict(one.context) or None,
    }


def _seconds(seconds: float | None, where: str) -> float | None:
    require_finite(seconds, f"{where}: seconds_spent")
    if seconds is not None and seconds < 0:
        message = f"{where}: seconds_spent is {seconds}; it cannot be negative"
        raise DataError(message)
    return seconds


def _payload(said: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in said.items() if value is not None}
    return canonical_json({"v": PAYLOAD_VERSION, **kept})


def _members(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    members: dict[str, tuple[str, ...]] = {}
    for chunk in chunks(ids):
        query = select(response_sets.c.id, response_sets.c.response_ids)
        for row in connection.execute(query.where(response_sets.c.id.in_(chunk))):
            members[row.id] = parsed_ids(row.response_ids)
    return members


def _checked_ranks(one: NewRanking, members: Sequence[str], where: str) -> dict[str, int]:
    missing = [id_ for id_ in members if id_ not in one.ranks]
    foreign = [id_ for id_ in one.ranks if id_ not in members]
    if missing or foreign:
        what, id_ = ("lacks", missing[0]) if missing else ("names", foreign[0])
        message = (
            f"{where} {what} response {id_}; rank each of the {len(members)} responses of set "
            f"{one.response_set_id} and no other"
        )
        raise DataError(message)
    used = set(one.ranks.values())
    if used != set(range(len(used))):
        said = ", ".join(str(rank) for rank in sorted(one.ranks.values()))
        message = (
            f"{where} has ranks {said}; start at 0 for the best, give ties one rank, and leave "
            "none out"
        )
        raise DataError(message)
    return dict(one.ranks)


def _checked_axes(one: NewRating, where: str) -> dict[str, float]:
    if not one.axes:
        message = f"{where} names no axis; give at least one, such as helpful"
        raise DataError(message)
    ends = (one.lowest, one.highest)
    for end, name in zip(ends, ("lowest", "highest"), strict=True):
        require_finite(end, f"{where}: {name}")
    low, high = ends
    for axis, value in one.axes.items():
        _require_name(axis, f"{where}: axis")
        require_finite(value, f"{where}: {axis}")
        if (low is not None and value < low) or (high is not None and value > high):
            message = f"{where}: {axis} is {value}; the scale runs from {low} to {high}"
            raise DataError(message)
    return {axis: float(value) for axis, value in one.axes.items()}


def _require_name(name: str, where: str) -> None:
    require_text(name, where)
    if not 0 < len(name) <= LONGEST_NAME:
        message = f"{where} has {len(name)} characters; use 1 to {LONGEST_NAME}"
        raise DataError(message)


def _refinements(
    connection: Connection, new: Sequence[NewCriticism], created_at: str
) -> dict[int, str]:
    """Store the better responses; return their ids by the number of the criticism."""
    told: dict[str, tuple[str, str]] = {}
    for chunk in chunks([one.response_id for one in new if one.refinement is not None]):
        query = select(responses.c.id, responses.c.prompt_id, responses.c.text)
        for row in connection.execute(query.where(responses.c.id.in_(chunk))):
            told[row.id] = (row.prompt_id, row.text)
    written: dict[int, NewResponse] = {}
    for number, one in enumerate(new, start=1):
        if one.refinement is None:
            continue
        prompt_id, text = told[one.response_id]
        if one.refinement == text:
            message = (
                f"criticism {number}: the refinement reads the same as response {one.response_id}; "
                "leave it out"
            )
            raise DataError(message)
        written[number] = NewResponse(prompt_id=prompt_id, text=one.refinement, origin="edit")
    ids = add_responses(connection, list(written.values()), created_at)
    return dict(zip(written, ids, strict=True))
