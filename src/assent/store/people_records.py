"""Records of people and their work: who may come in, what is asked, and who holds it.

As in `records`, `New…` is handed in and the others are read back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from assent.store.records import EventKind

Role = Literal["annotator", "reviewer", "owner"]
"""annotator: does tasks. reviewer: sees all answers too. owner: also lets people in, sets tasks."""

PersonState = Literal["active", "invited", "disabled", "erased"]

TaskKind = Literal["comparison", "ranking", "rating", "demonstration"]

LeaseState = Literal["live", "submitted", "skipped", "released", "expired", "undone"]

CheckAnswer = Literal["first", "second"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who may come in; `name` is the pseudonym once the person was erased."""

    annotator_id: str
    name: str
    role: Role
    state: PersonState
    has_password: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidelinesVersion:
    """One version of what annotators go by; version 0 is the empty one before the first."""

    version: int
    text: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """Something to ask people; the subject fits the kind, and is all that makes it another task."""

    kind: TaskKind
    prompt_id: str
    source: str
    """Where it came from, such as `round-2`."""
    overlap: int = 1
    look_up: bool = False
    """Whether the judge may look the fact up."""
    comparison_id: str | None = None
    response_set_id: str | None = None
    response_id: str | None = None
    only_for: str | None = None
    """The one person who is asked; None for everybody."""
    repeat_of: str | None = None
    """The task whose pair this person is shown again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as stored; `remaining` slots are neither answered nor in somebody's hands."""

    id: str
    position: int
    kind: TaskKind
    prompt_id: str
    source: str
    overlap: int
    remaining: int
    look_up: bool
    comparison_id: str | None
    response_set_id: str | None
    response_id: str | None
    only_for: str | None
    repeat_of: str | None
    halted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContent:
    """What a person sees of a task, before the order of sides is drawn."""

    task: Task
    prompt: str
    responses: Mapping[str, str]
    """Response id to text, in the order stored."""
    purpose: str
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A task in somebody's hands: what they were shown, and how it ended."""

    id: str
    task_id: str
    annotator_id: str
    ordinal: int
    """The how-manieth task this person was given, from 1."""
    shown: tuple[str, ...]
    """Response ids in the order shown, left first."""
    guidelines_version: int
    state: LeaseState
    counts: bool
    """Whether the answer is one of the `overlap` that count for the task."""
    reason: str | None
    event_id: str | None
    claimed_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckItem:
    """A comparison whose answer is known, with how people did on it."""

    task_id: str
    comparison_id: str
    prompt: str
    first: str
    second: str
    answer: CheckAnswer
    why: str
    answered: int
    right: int
    halted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """One answer in somebody's history."""

    lease: Lease
    kind: TaskKind
    prompt: str
    event_kind: EventKind
    payload: Mapping[str, object]
    edited: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a person is."""

    answered: int
    answered_today: int
    skipped: int
    recent_seconds: tuple[float, ...]
    """Times of the last hundred answers."""
