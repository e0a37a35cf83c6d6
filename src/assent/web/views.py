"""What the API says of things, as plain values; pages are given the same."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from assent.collect.answers import FLAGS, HIGHEST, LOWEST, SKIP_REASONS, keyed
from assent.collect.desk import Handed, PastAnswer
from assent.collect.guidelines import parts
from assent.store import AnswerRow, EventRow, GuidelinesVersion, Person, PersonTally, Standing
from assent.store.times import to_text
from assent.web.text import markdown, prose

AXES: Final[Mapping[str, tuple[str, str, str]]] = {
    "helpful": ("Helpful", "no help at all", "just what was needed"),
    "honest": ("Honest", "misleads", "true, and open about doubt"),
    "harmless": ("Harmless", "could do harm", "could not"),
}
"""Label, low end and high end of the axes that we know; others go by their name."""

STRENGTHS: Final = ("", "barely", "slightly", "clearly", "much")
Json = dict[str, Any]


def time(moment: datetime | None) -> str | None:
    """A time as everywhere in the API."""
    return None if moment is None else to_text(moment)


def task(handed: Handed, axes: Sequence[str]) -> Json:
    """A task as a person sees it: nothing tells what kind of item it is, or whose."""
    content, lease = handed.content, handed.lease
    kind = content.task.kind
    return {
        "lease": lease.id,
        "kind": kind,
        "expires_in_seconds": int(handed.expires_in_seconds),
        "guidelines_version": lease.guidelines_version,
        "prompt": rendered(content.prompt),
        "responses": [
            {"key": key, **rendered(content.responses[id_])} for key, id_ in keyed(lease).items()
        ],
        "look_up": None if handed.look_up is None else rendered(handed.look_up),
        "looks_up": handed.looks_up,
        "axes": [axis(name) for name in axes] if kind == "rating" else [],
        "flags": [{"name": name, "label": label} for name, label in FLAGS.items()],
        "skip_reasons": [{"name": name, "label": label} for name, label in SKIP_REASONS.items()],
    }


def rendered(text: str) -> Json:
    """A text as it is and as safe HTML."""
    return {"text": text, "html": str(markdown(text))}


def axis(name: str) -> Json:
    """An axis of a rating."""
    label, low, high = AXES.get(name, (name.replace("_", " ").capitalize(), "low", "high"))
    return {
        "name": name,
        "label": label,
        "low": low,
        "high": high,
        "from": LOWEST,
        "to": HIGHEST,
    }


def person(one: Person) -> Json:
    """A person, to themselves."""
    return {
        "annotator": one.annotator_id,
        "name": one.name,
        "role": one.role,
        "has_password": one.has_password,
    }


def progress(standing: Standing, open_: Mapping[str, int]) -> Json:
    """How far a person is."""
    seconds = standing.recent_seconds
    return {
        "answered": standing.answered,
        "answered_today": standing.answered_today,
        "skipped": standing.skipped,
        "median_seconds": statistics.median(seconds) if seconds else None,
        "open": dict(open_),
    }


def answer_row(row: AnswerRow) -> Json:
    """One line of a person's history."""
    return {
        "answer": row.lease.event_id,
        "kind": row.kind,
        "state": "undone" if row.lease.state == "undone" else "stands",
        "at": time(row.at),
        "prompt": row.prompt[:400],
        "summary": summary(row),
        "seconds": row.payload.get("seconds_spent"),
    }


def summary(row: AnswerRow) -> str:
    """What was said, in a few words, in terms of what was shown."""
    payload: Mapping[str, Any] = row.payload
    if row.kind == "comparison":
        verdict = payload["verdict"]
        if verdict in ("first", "second"):
            shown = payload.get("context", {}).get("shown_order", "first_left")
            words = "left" if (verdict == "first") == (shown == "first_left") else "right"
        else:
            words = str(verdict).replace("_", " ")
        strength = payload.get("strength")
        return f"{words}, {STRENGTHS[strength]}" if strength else words
    if row.kind == "ranking":
        keys = {response: key for key, response in keyed(row.lease).items()}
        levels: dict[int, list[str]] = {}
        for response, rank in payload["ranks"].items():
            levels.setdefault(rank, []).append(keys[response].upper())
        return " > ".join(" = ".join(sorted(levels[rank])) for rank in sorted(levels))
    if row.kind == "rating":
        return ", ".join(f"{name} {value:g}" for name, value in payload["axes"].items())
    return "written"


def past(answer: PastAnswer, state: str, axes: Sequence[str]) -> Json:
    """An answer with its task, as it was shown."""
    return {
        "answer": answer.event.id,
        "state": state,
        "at": time(answer.event.created_at),
        "task": task(answer.handed, axes),
        "body": answer.body.model_dump(),
    }


def guidelines(version: GuidelinesVersion) -> Json:
    """One version of the guidelines; `parts` says what is for one kind of task alone."""
    return {
        "version": version.version,
        "at": time(version.created_at),
        "text": version.text,
        "html": str(prose(version.text)),
        "parts": [{"kind": kind, "html": str(prose(text))} for kind, text in parts(version.text)],
    }


def person_row(one: Person, tally: PersonTally | None) -> Json:
    """A person, to reviewers and owners."""
    seconds = () if tally is None else tally.seconds
    return {
        "id": one.annotator_id,
        "name": one.name,
        "role": one.role,
        "state": one.state,
        "answers": 0 if tally is None else tally.answers,
        "skipped": 0 if tally is None else tally.skipped,
        "median_seconds": statistics.median(seconds) if seconds else None,
        "left_share": None if tally is None or not tally.sided else tally.left / tally.sided,
        "checks": 0 if tally is None else tally.checks,
        "checks_right": 0 if tally is None else tally.checks_right,
        "repeats": 0 if tally is None else tally.repeats,
        "repeats_same": 0 if tally is None else tally.repeats_same,
        "last_at": None if tally is None else time(tally.last_at),
    }


def event(row: EventRow) -> Json:
    """An event of the ledger, to reviewers and owners."""
    context = row.payload.get("context", {})
    state = "stands"
    if row.superseded_by is not None:
        state = "superseded"
    elif row.kind == "retract":
        state = "undoing"
    return {
        "event": row.id,
        "seq": row.seq,
        "kind": row.kind,
        "annotator": row.annotator_id,
        "annotator_name": row.annotator,
        "annotator_kind": row.annotator_kind,
        "verdict": row.payload.get("verdict"),
        "strength": row.payload.get("strength"),
        "ranks": row.payload.get("ranks"),
        "axes": row.payload.get("axes"),
        "flags": list(row.payload.get("flags", ())),
        "seconds": row.payload.get("seconds_spent"),
        "shown_order": context.get("shown_order"),
        "guidelines_version": context.get("guidelines"),
        "looked_up": bool(context.get("look_up", False)),
        "extra": bool(context.get("extra", False)),
        "at": time(row.at),
        "state": state,
        "supersedes": row.supersedes,
        "superseded_by": row.superseded_by,
        "purpose": row.purpose,
        "round": row.round,
        "comparison_id": row.comparison_id,
        "response_id": row.response_id,
        "response_set_id": row.response_set_id,
        "prompt_id": row.prompt_id,
        "prompt": None if row.prompt is None else row.prompt[:400],
    }


def plain(record: Any) -> Json:  # noqa: ANN401 - any of the store's records
    """A record of the store as plain values."""
    return {
        name: time(value) if isinstance(value, datetime) else value
        for name, value in asdict(record).items()
    }
