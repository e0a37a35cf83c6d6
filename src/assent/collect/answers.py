"""Answers as people give them: in terms of what they saw, checked, and turned into events and back.

Responses go by the keys `a`, `b`, `c` … in the order shown; `left` is `a`. What is stored names the
sides as stored. The models here are what the browser sends: strict types, no unknown fields.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from assent.errors import DataError
from assent.store import (
    Lease,
    NewDemonstration,
    NewJudgement,
    NewRanking,
    NewRating,
    StoredEvent,
    TaskContent,
)
from assent.types import Verdict

KEYS: Final = "abcdefghi"
LOWEST, HIGHEST = 1, 7
"""The scale of a rating."""

FLAGS: Final[Mapping[str, str]] = {
    "false": "says something untrue",
    "harmful": "harmful or unsafe",
    "offensive": "rude or offensive",
    "personal": "gives away personal data",
    "broken": "cut off, empty or garbled",
    "off_topic": "does not answer what was asked",
}
"""What may be said of a response besides which is better."""

SKIP_REASONS: Final[Mapping[str, str]] = {
    "unclear": "I do not understand the task",
    "no_knowledge": "I do not know enough about it",
    "too_long": "it takes too long",
    "upsetting": "I would rather not read this",
    "broken": "something is broken",
}

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Note = Annotated[str, StringConstraints(max_length=4_000)]
Key = Literal["a", "b", "c", "d", "e", "f", "g", "h", "i"]
Flags = dict[Key, list[Annotated[str, StringConstraints(max_length=32)]]]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)

    note: Note | None = None
    """What else there is to say; kept apart, and erased with the person."""
    seconds: Seconds | None = None
    """How long the task was on the screen and in front."""


class ComparisonAnswer(_Answer):
    """Which of two responses is better."""

    kind: Literal["comparison"]
    verdict: Literal["left", "right", "tie", "both_bad", "cannot_judge"]
    strength: Annotated[int, Field(ge=1, le=4)] | None = None
    """1 barely, 2 slightly, 3 clearly, 4 much better; only where a side won."""
    flags: Flags = {}


class RankingAnswer(_Answer):
    """The order of several responses."""

    kind: Literal["ranking"]
    levels: Annotated[list[Annotated[list[Key], Field(max_length=9)]], Field(max_length=9)]
    """Best first, ties together; every response once."""
    flags: Flags = {}


class RatingAnswer(_Answer):
    """One response on every axis."""

    kind: Literal["rating"]
    ratings: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=100)],
            Annotated[int, Field(ge=LOWEST, le=HIGHEST)],
        ],
        Field(max_length=50),
    ]
    flags: Flags = {}


class DemonstrationAnswer(_Answer):
    """A response written by hand."""

    kind: Literal["demonstration"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


Answer = Annotated[
    ComparisonAnswer | RankingAnswer | RatingAnswer | DemonstrationAnswer,
    Field(discriminator="kind"),
]
NewAnswer = NewJudgement | NewRanking | NewRating | NewDemonstration

_SIDES: Final[tuple[Verdict, Verdict]] = ("first", "second")


def keyed(lease: Lease) -> dict[str, str]:
    """Key to response id, in the order shown."""
    return dict(zip(KEYS, lease.shown, strict=False))


def to_event(
    answer: Answer,
    content: TaskContent,
    lease: Lease,
    *,
    key: str,
    axes: Sequence[str],
    context: Mapping[str, str | int | bool],
    supersedes: str | None = None,
) -> NewAnswer:
    """An answer as the event that is stored.

    Args:
        answer: what came back.
        content: of the task.
        lease: what the person was shown.
        key: idempotency key.
        axes: what a rating has to be about.
        context: what else to keep about how it was asked.
        supersedes: the answer that this one replaces.

    Raises:
        DataError: the answer is for another kind of task, or names what was not shown.
    """
    task = content.task
    if answer.kind != task.kind:
        message = f"kind: the answer is a {answer.kind} and the task a {task.kind}"
        raise DataError(message)
    common: dict[str, Any] = {
        "annotator_id": lease.annotator_id,
        "idempotency_key": key,
        "seconds_spent": answer.seconds,
        "context": dict(context),
        "supersedes": supersedes,
    }
    if isinstance(answer, DemonstrationAnswer):
        if not answer.text.strip():
            message = "text: nothing is written; write a response, or skip the task"
            raise DataError(message)
        return NewDemonstration(prompt_id=task.prompt_id, text=answer.text, **common)
    common["flags"] = _stored_flags(answer.flags, lease, content)
    if isinstance(answer, ComparisonAnswer):
        if answer.strength is not None and answer.verdict not in ("left", "right"):
            message = f"strength: nothing won, so leave it out (the verdict is {answer.verdict})"
            raise DataError(message)
        return NewJudgement(
            comparison_id=str(task.comparison_id),
            verdict=_as_stored(answer.verdict, lease, content),
            strength=answer.strength,
            **common,
        )
    if isinstance(answer, RankingAnswer):
        return NewRanking(
            response_set_id=str(task.response_set_id), ranks=_ranks(answer.levels, lease), **common
        )
    _require_axes(answer.ratings, axes)
    return NewRating(
        response_id=str(task.response_id),
        axes={name: float(value) for name, value in answer.ratings.items()},
        lowest=float(LOWEST),
        highest=float(HIGHEST),
        **common,
    )


def to_body(event: StoredEvent, content: TaskContent, lease: Lease, text: str | None) -> Answer:
    """A stored answer in terms of what the person saw, to be shown or edited; without its note.

    Args:
        event: the answer.
        content: of its task.
        lease: what the person was shown.
        text: of the response, for a demonstration.
    """
    payload = event.payload
    seconds = payload.get("seconds_spent")
    if content.task.kind == "demonstration":
        return DemonstrationAnswer(kind="demonstration", text=text or "", seconds=seconds)
    flags = _shown_flags(payload.get("flags", ()), lease, content)
    if content.task.kind == "comparison":
        return ComparisonAnswer(
            kind="comparison",
            verdict=as_shown(payload["verdict"], lease, content),
            strength=payload.get("strength"),
            flags=flags,
            seconds=seconds,
        )
    if content.task.kind == "ranking":
        ranks: Mapping[str, int] = payload["ranks"]
        levels: dict[int, list[Any]] = {}
        for key, response in keyed(lease).items():
            levels.setdefault(ranks[response], []).append(key)
        return RankingAnswer(
            kind="ranking",
            levels=[levels[rank] for rank in sorted(levels)],
            flags=flags,
            seconds=seconds,
        )
    ratings = {name: int(value) for name, value in payload["axes"].items()}
    return RatingAnswer(kind="rating", ratings=ratings, flags=flags, seconds=seconds)


def as_shown(
    verdict: str, lease: Lease, content: TaskContent
) -> Literal["left", "right", "tie", "both_bad", "cannot_judge"]:
    """A stored verdict in terms of the sides as shown."""
    if verdict in _SIDES:
        side = list(content.responses)[_SIDES.index(verdict)]
        return "left" if side == lease.shown[0] else "right"
    return verdict  # type: ignore[return-value]


def note_hash(note: str | None, key: str | None) -> str | None:
    """What the event keeps of a note: enough to tell a retry from a change, nothing to read.

    The key is the person's and is erased with them; after that nobody can test a guess.
    """
    if note is None or key is None:
        return None
    return hmac.new(bytes.fromhex(key), note.encode(), hashlib.sha256).hexdigest()[:32]


def _as_stored(verdict: str, lease: Lease, content: TaskContent) -> Verdict:
    if verdict in ("left", "right"):
        side = lease.shown[0 if verdict == "left" else 1]
        return _SIDES[list(content.responses).index(side)]
    return verdict  # type: ignore[return-value]


def _ranks(levels: Sequence[Sequence[str]], lease: Lease) -> dict[str, int]:
    shown = keyed(lease)
    ranks: dict[str, int] = {}
    for rank, level in enumerate(levels):
        if not level:
            message = f"levels: place {rank + 1} is empty; leave it out"
            raise DataError(message)
        for key in level:
            if key not in shown:
                message = f"levels: {key!r} was not shown; rank {', '.join(shown)}"
                raise DataError(message)
            if shown[key] in ranks:
                message = f"levels: {key!r} is ranked twice"
                raise DataError(message)
            ranks[shown[key]] = rank
    missing = [key for key, response in shown.items() if response not in ranks]
    if missing:
        message = f"levels: {', '.join(missing)} is not ranked; put it last, or beside another"
        raise DataError(message)
    return ranks


def _require_axes(ratings: Mapping[str, int], axes: Sequence[str]) -> None:
    unknown = [name for name in ratings if name not in axes]
    missing = [name for name in axes if name not in ratings]
    if unknown:
        message = f"ratings: there is no axis {unknown[0]!r}; rate {', '.join(axes)}"
        raise DataError(message)
    if missing:
        message = f"ratings: {missing[0]!r} is not rated; rate {', '.join(axes)}"
        raise DataError(message)


def _stored_flags(flags: Flags, lease: Lease, content: TaskContent) -> tuple[str, ...]:
    """`false` of the only response, `1:false` of the first as stored."""
    shown = keyed(lease)
    stored = list(content.responses)
    found: set[str] = set()
    for key, names in flags.items():
        if key not in shown:
            message = f"flags: {key!r} was not shown; use {', '.join(shown)}"
            raise DataError(message)
        for name in names:
            if name not in FLAGS:
                message = f"flags: there is no flag {name!r}; use {', '.join(FLAGS)}"
                raise DataError(message)
            place = stored.index(shown[key]) + 1
            found.add(name if len(stored) == 1 else f"{place}:{name}")
    return tuple(sorted(found))


def _shown_flags(flags: Sequence[str], lease: Lease, content: TaskContent) -> Flags:
    stored = list(content.responses)
    keys = {response: key for key, response in keyed(lease).items()}
    shown: dict[Any, list[str]] = {}
    for flag in flags:
        place, _, name = flag.rpartition(":")
        shown.setdefault(keys[stored[int(place or 1) - 1]], []).append(name)
    return shown
