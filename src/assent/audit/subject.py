"""Who is audited, and what an audit is: the protocols that the runner carries.

An *item audit* names items, asks a model about each and scores the replies; the runner does the
rest. A *record audit* looks at what is recorded (judgements, reward models, trajectories) and
brings its own estimates. Both name their figures, with the margin that would matter, beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from assent.audit.questions import Item, Logprobs, Question, Reply, Role, Samples
from assent.config.audit import AuditSettings
from assent.config.ppo import SamplingSettings
from assent.stats.verdicts import Better
from assent.store import ModelVersion, Project
from assent.types import Progress, SilentProgress
from assent.worlds.almanac import World

Scores = Mapping[str, float | None]
"""Named scores of one item; None where a score is not asked of it."""


class Respondent(Protocol):
    """Whoever answers: a Hugging Face model, or a scripted policy in tests."""

    @property
    def identity(self) -> str:
        """A hash of weights and tokenizer: equal for models that answer alike."""
        ...

    def sample(self, prompts: Sequence[str], ask: Samples, seed: int) -> list[Reply]:
        """`ask.count` responses to each prompt; the same seed gives the same."""
        ...

    def logprobs(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]], ask: Logprobs
    ) -> list[Reply]:
        """The log-probability of every answer to each prompt."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One model to audit, and everything an audit may look at."""

    name: str
    """As the user named it: a model in the store, or a folder."""
    model: Respondent
    base: Respondent | None = None
    """The base model it came from, where there is one."""
    settings: AuditSettings = field(default_factory=AuditSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """How the policy samples in training, and so in audits."""
    seed: int = 0
    """Of the project; draws derive from it and the audit's name."""
    world: World | None = None
    """The embedded world, in a project that is about it."""
    project: Project | None = None
    version: ModelVersion | None = None
    """The audited model in the store, unless it is a folder from elsewhere."""
    folder: Path | None = None
    """The audited model's Hugging Face folder."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = field(default_factory=SilentProgress)

    def samples(self) -> Samples:
        """The usual way to ask for samples: as many as set, drawn as in training."""
        return Samples(
            count=self.settings.samples,
            temperature=self.sampling.temperature,
            max_new_tokens=self.sampling.max_new_tokens,
        )

    def respondent(self, role: Role) -> Respondent:
        """The model in a role.

        Raises:
            KeyError: there is no base model; audits that ask it check that first.
        """
        if role == "model":
            return self.model
        if self.base is None:
            raise KeyError(role)
        return self.base


FigureKind = Literal["share", "mean"]
"""share: in [0, 1], with Wilson's interval. mean: anything else, with a bootstrap over clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number an audit reports, declared before anything is measured.

    The estimate is the mean over items of the score `of`, or, where `per` is given, the sum of `of`
    over the sum of `per`. Items whose scores are None are left out.
    """

    name: str
    of: str
    per: str | None = None
    kind: FigureKind = "share"
    better: Better | None = None
    """Which way is good; None is descriptive and gets no verdict."""
    margin: float | None = None
    """The smallest difference that would matter; the settings' for its kind and unit if None."""
    unit: str = ""
    """Of the estimate, where it is no share: `nats/token`, `tokens` …"""
    span: float = 1.0
    """The most that one item's score can differ between two models."""
    what: str = ""
    """One sentence for people: what it is, and of whom."""
    descriptive: str = ""
    """Why it is no unbiased estimate, where it is none (plug-in entropy, ECE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRecord:
    """One item with the exact texts, what came back and how it was scored."""

    id: str
    cluster: str
    stratum: str
    data: Mapping[str, Any]
    asked: Sequence[Mapping[str, Any]] = ()
    """Questions, each with its reply under `reply`."""
    scores: Scores = field(default_factory=dict)
    failed: str | None = None
    """Why it has no scores; it is then left out, never scored as zero."""

    def as_dict(self) -> dict[str, Any]:
        """A line of `items.jsonl`."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure as measured on one model."""

    name: str
    estimate: float | None
    """None where it could not be measured; `problem` says why."""
    interval: tuple[float, float] | None = None
    method: str = ""
    """How the interval was made."""
    n: int = 0
    """Items that count."""
    clusters: int = 0
    problem: str | None = None
    exact: float | None = None
    """Its exact value for these items, where the world can be enumerated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a record audit found."""

    figures: Sequence[Estimate]
    records: Sequence[ItemRecord] = ()
    """Rows behind the figures. Where they carry scores, models are compared on them in pairs."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the report shows, as JSON: calibration bins, curves, causes in words."""


class Audit(Protocol):
    """What every audit declares."""

    @property
    def name(self) -> str:
        """In lower case with hyphens, as in `assent audit run DIR NAME`."""
        ...

    @property
    def version(self) -> int:
        """Raised when items, questions or scores change: results of another are not reused."""
        ...

    @property
    def title(self) -> str:
        """One line for `assent audit list`."""
        ...

    @property
    def figures(self) -> Sequence[Figure]:
        """All numbers it reports."""
        ...


@runtime_checkable
class ItemAudit(Audit, Protocol):
    """An audit that asks a model about items."""

    def items(self, subject: Subject) -> Sequence[Item]:
        """The items, the same for every model of a project.

        Raises:
            NotAuditable: the project has nothing to ask about; says what is missing.
            DataError: an item cannot be used; names it.
        """
        ...

    def ask(self, subject: Subject, item: Item, replies: Sequence[Reply]) -> Sequence[Question]:
        """What to ask next, given the replies so far in the order asked; nothing when done."""
        ...

    def score(self, item: Item, replies: Sequence[Reply]) -> Scores:
        """The scores of an item; an exception fails the item alone."""
        ...

    def exact(self, subject: Subject, items: Sequence[Item]) -> Mapping[str, float]:
        """Exact values of figures by enumeration, for these items; empty where there are none."""
        ...

    def tables(self, records: Sequence[ItemRecord]) -> Mapping[str, Any]:
        """What else the report shows, as JSON; empty where there is nothing."""
        ...


@runtime_checkable
class RecordAudit(Audit, Protocol):
    """An audit of what is recorded, with estimates of its own."""

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        """What the result depends on besides the model and the settings, as JSON.

        A snapshot's hash, the reward model's weights: with equal inputs nothing is measured again.

        Raises:
            NotAuditable: the project lacks what is looked at; says what.
        """
        ...

    def measure(self, subject: Subject) -> Measured:
        """Measure.

        Raises:
            NotAuditable: as `inputs`.
        """
        ...


AnyAudit = ItemAudit | RecordAudit
