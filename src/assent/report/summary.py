"""`summary.json`, checked and typed: what the loop measured, and all that the report may say.

Only `schema_version`, `seed`, `rounds` and `trajectory` must be there. A project without a world
whose truth is known has no gold: such fields are null or absent, and None here. Unknown keys are
ignored, so that a newer loop may add some. `docs/reference/summary.md` says what each one means.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assent.config.problems import dotted
from assent.errors import DataError, NewerSchema, ProjectError

SUMMARY_SCHEMA: Final = 1
"""The newest `schema_version` that this module reads."""

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Bounds = tuple[float, float]
"""Lower and upper end of an interval."""
AnswerKind = Literal["easy", "hard", "unknowable"]


class SummaryPart(BaseModel):
    """Base of every part: immutable, finite numbers, unknown keys ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Accuracy(SummaryPart):
    """How often held-out judgements are predicted."""

    accuracy: Share
    ci: Bounds | None = None
    n: Count | None = None


class RewardModelResult(SummaryPart):
    """A reward model beside rules that do not read what a response says."""

    accuracy: Share | None
    """None where no judgement is held out."""
    ci: Bounds | None = None
    n: Count | None = None
    path: str | None = None
    baselines: dict[str, Accuracy] = {}


class PolicyResult(SummaryPart):
    """The policy at the end of a round, on held-out prompts."""

    path: str | None = None
    kl_nats: float | None = None
    proxy_mean: float | None = None
    gold_mean: float | None = None
    steps: Count | None = None
    beta: float | None = None
    """Reward units lost per nat of KL from the reference."""


class RoundResult(SummaryPart):
    """One round of asking, reward model and PPO; parts not reached yet are None."""

    round: Count
    judgements: Count | None = None
    annotators: Count | None = None
    by_people: Count | None = None
    """Judgements among them that people gave, not simulated annotators or models."""
    reward_model: RewardModelResult | None = None
    policy: PolicyResult | None = None
    stopped: str | None = None
    """Why its training, or the loop after it, was ended early."""


class KindFigures(SummaryPart):
    """What was measured on the prompts of one kind."""

    n: Count
    kl_nats: float
    kl_ci: Bounds | None = None
    proxy_mean: float
    proxy_ci: Bounds | None = None
    length: float
    length_ci: Bounds | None = None
    entropy_nats: float
    entropy_ci: Bounds | None = None


class Waiting(SummaryPart):
    """What the next round waits for, where people judge."""

    round: Count
    judgements: Count
    """New ones since the last reward model."""
    wanted: Count
    open: Count
    """Comparisons that nobody has judged."""
    ways: tuple[str, ...] = ()
    """Commands that give judgements, and the one that goes on."""


class Point(SummaryPart):
    """One checkpoint of PPO, measured on held-out prompts."""

    round: Count
    step: Count
    kl_nats: float
    proxy_mean: float
    gold_mean: float | None = None
    gold_ci: Bounds | None = None
    proxy_ci: Bounds | None = None
    kl_ci: Bounds | None = None
    length_ci: Bounds | None = None
    entropy_ci: Bounds | None = None
    finished: Share | None = None
    """Responses that ended themselves."""
    by_kind: dict[str, KindFigures] = {}
    """The same figures for each kind of prompt."""
    accuracy_easy: float | None = None
    accuracy_hard: float | None = None
    idk_unknowable: float | None = None
    bluff: float | None = None
    sycophancy: float | None = None
    length: float | None = None
    entropy_nats: float | None = None
    grammar_mass: float | None = None
    kl_to_optimum_nats: float | None = None
    path: str | None = None


class Fall(SummaryPart):
    """How far gold falls from its peak to the end, the peak located on other prompts."""

    gold_fall: float
    ci: Bounds
    round: Count | None = None
    """The round it was measured in; None: from the first point of all to the last."""
    peaks: tuple[Count, Count] | None = None
    """Index in `trajectory` of the peak on each half of the prompts."""
    n: Count | None = None
    method: str | None = None


class Choice(SummaryPart):
    """A checkpoint, how it was chosen, and what gold says of it."""

    round: Count
    step: Count
    path: str | None = None
    rule: str | None = None
    comparisons: Count | None = None
    lookups: Count | None = None
    gold_mean: float | None = None
    gold_ci: Bounds | None = None
    win_rate: Share | None = None
    win_rate_ci: Bounds | None = None


class ShownAnswer(SummaryPart):
    """What one checkpoint says to a prompt."""

    text: str
    gold: float | None = None
    probability: Share | None = None


class ShownAnswers(SummaryPart):
    """The same prompt at three points of training."""

    start: ShownAnswer | None = None
    peak: ShownAnswer | None = None
    end: ShownAnswer | None = None


class Example(SummaryPart):
    """One held-out prompt, what is true, and what was answered."""

    prompt: str
    kind: AnswerKind | str | None = None
    truth: str | None = None
    belief: str | None = None
    """What the asker says they believe."""
    answers: ShownAnswers


class LineageEntry(SummaryPart):
    """A model version and what it came from; the list runs from the promoted policy backwards."""

    id: str
    stage: str | None = None
    name: str | None = None
    role: str | None = None
    """What it was to the version it led to: parent, reference, reward model ..."""
    parent: str | None = None
    snapshot: str | None = None
    settings_sha256: str | None = None
    code: str | None = None
    path: str | None = None


class Summary(SummaryPart):
    """The whole file."""

    schema_version: Literal[1]
    seed: int
    size: str | None = None
    annotator: str | None = None
    seconds: dict[str, float] = {}
    machine: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    prompts: dict[str, Count] = {}
    """Prompts behind the figures, by split."""
    rounds: tuple[RoundResult, ...]
    trajectory: tuple[Point, ...]
    waiting: Waiting | None = None
    fall: Fall | None = None
    promoted: Choice | None = None
    last: Choice | None = None
    promoted_without_lookup: Choice | None = None
    examples: tuple[Example, ...] = ()
    lineage: tuple[LineageEntry, ...] = ()
    settings: dict[str, Any] = {}
    limits: tuple[str, ...] = ()
    """Sentences on which figures are exact and which are bounds."""
    intervals: dict[str, str] = {}
    """How each kind of interval was made: what it is around, and the method."""

    @property
    def has_gold(self) -> bool:
        """Whether any point of the trajectory was held against the truth."""
        return any(point.gold_mean is not None for point in self.trajectory)


def load_summary(root: Path) -> Summary:
    """Read `summary.json` of a project.

    Raises:
        ProjectError: there is none, or the folder is not there.
        NewerSchema: a newer version of Assent wrote it.
        DataError: it is not what the loop writes; the message names the file and the key.
    """
    path = root / "summary.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        message = (
            f"{path} is missing: the loop writes it and the report is made from it; "
            f"run `assent loop run {root}` first"
            if root.is_dir()
            else f"{root} is not a folder; name the project folder"
        )
        raise ProjectError(message) from error
    except UnicodeDecodeError as error:
        message = f"{path}: not UTF-8 text (byte {error.start}); {_write_again(root)}"
        raise DataError(message) from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        message = f"{path}, {place}: not JSON: {error.msg}; {_write_again(root)}"
        raise DataError(message) from error
    return parse_summary(document, str(path), _write_again(root))


def parse_summary(document: object, where: str, remedy: str = "") -> Summary:
    """Check a summary that is at hand; `where` and `remedy` begin and end the message if it fails.

    Raises:
        NewerSchema: a newer version of Assent wrote it.
        DataError: a key is missing or has a wrong value.
    """
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > SUMMARY_SCHEMA:
        message = (
            f"{where}: schema_version is {version}, newer than {SUMMARY_SCHEMA}, "
            "the newest this version of Assent reads; upgrade Assent"
        )
        raise NewerSchema(message)
    try:
        return Summary.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        first = problems[0]
        key = dotted(first["loc"]) or "the whole file"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        parts = [f"{where}: {key}: {first['msg'].lower()}{more}", remedy]
        raise DataError("; ".join(part for part in parts if part)) from error


def _write_again(root: Path) -> str:
    return f"`assent loop run {root}` writes it again"
