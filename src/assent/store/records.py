"""What goes into the store and what comes out: frozen records without behaviour.

`New…` records are handed in; the others are read back. Texts are kept as they are given. Sides are
`first` and `second` as stored; `shown_order` says which of them stood on the left. Times are aware
and in UTC, by the clock of whoever writes. Paths are POSIX and relative to the project folder. A
prompt's text is a `types.ChatPrompt` where the prompt is a chat. Feedback on other things than two
responses is in `feedback_records`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from assent.store.feedback_records import Context
from assent.types import PromptKind, Split, Verdict

Origin = Literal["sample", "demonstration", "edit", "import"]
"""Where a response came from; only a sample has a sampler."""

FinishReason = Literal["stop", "length"]
"""stop: the model ended the response itself. length: it was cut at the token limit."""

ShownOrder = Literal["first_left", "second_left"]
"""Which stored side stood on the left (or on top) when the comparison was shown."""

AnnotatorKind = Literal["human", "simulated", "model"]

EventKind = Literal["judgement", "demonstration", "ranking", "rating", "criticism", "retract"]

RunStatus = Literal["running", "done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrompt:
    """A prompt with its id; the fields are those of `types.Prompt`."""

    id: str
    text: str
    kind: PromptKind
    source: str
    split: Split
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSampler:
    """A way of drawing responses: a model version, its parameters, and the engine that ran it."""

    id: str
    model_version_id: str
    parameters: Mapping[str, Any]
    engine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResponse:
    """A response to store; equal text drawn twice with one seed is told apart by `index`."""

    prompt_id: str
    text: str
    origin: Origin = "sample"
    sampler_id: str | None = None
    seed: int | None = None
    logprob_sum: float | None = None
    """Sum of the sampled tokens' log-probabilities under the sampler, in nats; at most 0."""
    token_count: int | None = None
    finish_reason: FinishReason | None = None
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response as stored; `content_sha256` is the hash of its text alone."""

    id: str
    prompt_id: str
    text: str
    origin: Origin
    sampler_id: str | None
    seed: int | None
    logprob_sum: float | None
    token_count: int | None
    finish_reason: FinishReason | None
    index: int
    content_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewComparison:
    """Two responses to put before a judge; `index` tells apart the same pair asked again."""

    prompt_id: str
    first_response_id: str
    second_response_id: str
    shown_order: ShownOrder
    purpose: str = "reward"
    """Why it is asked: `reward` and `promotion` in the loop, any short word elsewhere."""
    round: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredComparison:
    """A comparison with everything a judge needs to see."""

    id: str
    prompt_id: str
    prompt: str
    first_response_id: str
    first: str
    second_response_id: str
    second: str
    shown_order: ShownOrder
    purpose: str
    round: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnnotator:
    """Whoever judges or demonstrates."""

    id: str
    name: str
    kind: AnnotatorKind
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJudgement:
    """What came back for a comparison.

    The same `idempotency_key` with the same content is answered with the stored event, so a retry
    is safe; `supersedes` names the judgement that this one edits.
    """

    comparison_id: str
    annotator_id: str
    verdict: Verdict
    idempotency_key: str
    strength: int | None = None
    """How clearly the winner won: 1 (barely) to 4 (much)."""
    margin: float | None = None
    """The winner's lead in another unit, such as points of a score."""
    confidence: float | None = None
    """How sure the annotator was, on the scale of whoever asked."""
    flags: tuple[str, ...] = ()
    """Short words for what else was wrong or remarkable, such as `unsafe`."""
    note: str | None = None
    seconds_spent: float | None = None
    context: Context = field(default_factory=dict)
    """What else the asker keeps about how it was asked: see `feedback_records`."""
    supersedes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDemonstration:
    """A response that an annotator wrote for a prompt."""

    prompt_id: str
    text: str
    annotator_id: str
    idempotency_key: str
    seconds_spent: float | None = None
    context: Context = field(default_factory=dict)
    supersedes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Where an event stands in the ledger; `replayed` when it was there before this call."""

    event_id: str
    seq: int
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One row of the ledger, hash and all."""

    seq: int
    id: str
    kind: EventKind
    comparison_id: str | None
    response_id: str | None
    annotator_id: str
    idempotency_key: str
    supersedes: str | None
    payload: Mapping[str, Any]
    created_at: datetime
    prev_hash: str
    hash: str
    response_set_id: str | None = None
    refinement_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDemonstration:
    """A demonstration that was neither edited nor retracted since."""

    event_id: str
    seq: int
    prompt_id: str
    prompt: str
    response_id: str
    response: str
    annotator_id: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Judgements and rankings fixed: those of `purposes` that were live after event `up_to_seq`."""

    id: str
    name: str
    purposes: tuple[str, ...]
    up_to_seq: int
    event_count: int
    content_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """One live judgement of a snapshot with the texts it was about."""

    event_id: str
    seq: int
    comparison_id: str
    annotator_id: str
    prompt_id: str
    prompt: str
    first: str
    second: str
    shown_order: ShownOrder
    verdict: Verdict
    strength: int | None
    round: int
    margin: float | None = None
    confidence: float | None = None
    flags: tuple[str, ...] = ()
    note: str | None = None
    context: Context = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """One execution of a stage, about to start; without `id` one is derived from the rest."""

    stage: str
    name: str
    settings: Mapping[str, Any]
    seed: int
    code_version: str
    git_commit: str | None = None
    parents: Mapping[str, str] = field(default_factory=dict)
    """Model versions that the run reads, by role: `policy`, `reference`, `reward_model` …"""
    snapshot_id: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as stored; a run that was killed is still `running`."""

    id: str
    stage: str
    name: str
    status: RunStatus
    settings: Mapping[str, Any]
    settings_sha256: str
    seed: int
    code_version: str
    git_commit: str | None
    parents: Mapping[str, str]
    snapshot_id: str | None
    problem: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModelVersion:
    """A model that a run made (or that came from outside); without `id` one is derived."""

    stage: str
    name: str
    weights_sha256: str
    path: str
    """Of the model folder, relative to the project folder; adopt the folder first."""
    settings_sha256: str | None = None
    code_version: str | None = None
    parent_id: str | None = None
    snapshot_id: str | None = None
    run_id: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A model version as stored: weights, parent, snapshot, settings and code."""

    id: str
    stage: str
    name: str
    weights_sha256: str
    path: str
    settings_sha256: str | None
    code_version: str | None
    parent_id: str | None
    snapshot_id: str | None
    run_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """One link of a lineage."""

    role: str
    """What it was to the version below it: `self`, `parent`, or a role in `StoredRun.parents`."""
    of_id: str | None
    """The version below it; None for the version that was asked about."""
    version: ModelVersion
    run: StoredRun | None
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file or folder under `artifacts/` and the hash of what it holds."""

    sha256: str
    kind: str
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that `check_project` found wrong: which table, which record, and what."""

    table: str
    record: str
    problem: str
