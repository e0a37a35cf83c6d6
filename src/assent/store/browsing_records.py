"""Records of what can be looked through: rows of lists, each with the cursor that follows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from assent.store.records import AnnotatorKind, EventKind, Origin
from assent.types import PromptKind, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """A prompt and how much there is about it."""

    id: str
    position: int
    kind: PromptKind
    source: str
    split: Split
    text: str
    responses: int
    comparisons: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRow:
    """A response and the model it came from."""

    id: str
    position: int
    prompt_id: str
    text: str
    origin: Origin
    model_version_id: str | None
    model: str | None
    parameters: Mapping[str, Any] | None
    engine: str | None
    seed: int | None
    token_count: int | None
    finish_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event of the ledger with what it is about."""

    id: str
    seq: int
    kind: EventKind
    annotator_id: str
    annotator: str
    """The person's name where there is one, the annotator's otherwise."""
    annotator_kind: AnnotatorKind
    comparison_id: str | None
    sides: tuple[str, str] | None
    """The two responses of a comparison, first and second as stored."""
    response_id: str | None
    response_set_id: str | None
    prompt_id: str | None
    prompt: str | None
    purpose: str | None
    round: int | None
    payload: Mapping[str, Any]
    supersedes: str | None
    superseded_by: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """A comparison of a prompt, by the ids of its sides."""

    id: str
    first_response_id: str
    second_response_id: str
    purpose: str
    round: int
    judgements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task and how far it is."""

    id: str
    position: int
    kind: str
    source: str
    prompt_id: str
    prompt: str
    overlap: int
    answers: int
    held: int
    halted: bool
    only_for: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTally:
    """How far the tasks of one kind are; check items and repeats are not among them."""

    kind: str
    tasks: int
    done: int
    open: int
    halted: int
    answers: int
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonTally:
    """What one person did."""

    annotator_id: str
    answers: int
    skipped: int
    left: int
    """Comparisons answered with the left side."""
    sided: int
    """Comparisons answered with one side or the other."""
    checks: int
    checks_right: int
    repeats: int
    repeats_same: int
    seconds: tuple[float, ...]
    """Of the last hundred answers."""
    last_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTally:
    """The comparisons of a round and who judged them."""

    round: int
    comparisons: int
    human: int
    simulated: int
    model: int
