"""The vocabulary every package shares: records without behaviour, and protocols to call upwards.

A lower layer that must call something higher (a progress bar, a metric sink, a judge, a reward)
takes one of the protocols below and is handed the real thing by the layer that knows it.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, runtime_checkable

Verdict = Literal["first", "second", "tie", "both_bad", "cannot_judge"]
"""What came back for a comparison; `first` and `second` name the sides as stored, not as shown."""

PromptKind = Literal["plain", "few_shot", "user"]
Aggregate = Literal["mean", "min", "mean_minus_variance", "mean_minus_std"]
"""How the rewards of an ensemble's members become one; see `objectives.aggregation`."""
Split = Literal["train", "validation", "test"]
"""train: sampled, judged and optimised on. validation: promotion only. test: measured only."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    """`system`, `user` or `assistant`; other roles are kept as they are."""
    content: str


class ChatPrompt(str):
    """A prompt made of chat messages: text wherever text is wanted, turns for a chat template.

    As text it reads as the turns do where a model has no chat template: each turn under its role's
    name, a blank line between turns, and the beginning of the assistant's turn at the end. The
    response begins on the line after it, so that it needs no leading space.
    """

    __slots__ = ("messages",)

    messages: tuple[Message, ...]

    def __new__(cls, messages: Sequence[Message]) -> Self:
        """Render the turns and keep them."""
        turns = "".join(f"{_speaker(one.role)}:\n{one.content}\n\n" for one in messages)
        prompt = super().__new__(cls, f"{turns}{_speaker('assistant')}:\n")
        prompt.messages = tuple(messages)
        return prompt

    def __getnewargs__(self) -> tuple[tuple[Message, ...]]:  # type: ignore[override]
        """Copied and sent to other processes by its turns."""
        return (self.messages,)


def _speaker(role: str) -> str:
    return {"user": "Human", "assistant": "Assistant", "system": "System"}.get(role, role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the policy is asked; `group` keeps prompts about one thing in one split."""

    text: str
    """A `ChatPrompt` for a chat."""
    kind: PromptKind = "plain"
    source: str = "user"
    split: Split = "train"
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsePair:
    """Two responses to one prompt, as text: what a judge sees."""

    prompt: str
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """One training example of a reward model: the chosen response won against the rejected one."""

    prompt: str
    chosen: str
    rejected: str
    strength: int | None = None
    """How clearly it won, 1 (barely) to 4 (much), where the annotator said."""
    probability: float | None = None
    """How likely it is the better one, where a judge that is a model gave that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedResponse:
    """One training example of KTO: a response that somebody marked good or bad."""

    prompt: str
    response: str
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedResponses:
    """Two or more responses to one prompt in somebody's order: one judgement, or one ranking."""

    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    """In the order of `responses`: 0 is best, and equal ranks are ties."""
    strength: int | None = None
    """How clearly the better of two won, 1 (barely) to 4 (much), where the annotator said."""
    probability: float | None = None
    """How likely the winner of two is the better one, where a judge that is a model gave that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedResponse:
    """One response with a number on each of some named axes."""

    prompt: str
    response: str
    axes: Mapping[str, float]


RewardExample = PreferencePair | RankedResponses | RatedResponse
"""What a reward model can learn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """One supervised example: the response somebody wrote for a prompt."""

    prompt: str
    response: str


@runtime_checkable
class RewardFunction(Protocol):
    """A reward on text: one finite float for each prompt and response, in order."""

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float]:
        """Score each response; called with equally long sequences."""
        ...


class Judge(Protocol):
    """Whoever compares two responses: a person, a simulated annotator, a model."""

    def judge(self, pairs: Sequence[ResponsePair], seed: int) -> Sequence[Verdict]:
        """One verdict a pair, in order; the same seed gives the same verdicts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Principle:
    """One principle of a constitution: what to criticise, to revise and to compare by."""

    name: str
    critique: str
    revision: str
    compare: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """What a writer gives where it has no answer of use; never stored as one."""

    reason: Literal["late", "nonsense", "too_long"]
    """late: no answer in time. nonsense: none of the choices. too_long: the prompt does not fit."""
    said: str = ""
    """What came instead, cut short."""


@runtime_checkable
class Writer(Protocol):
    """A model that is asked to write, or to choose: local, or behind an endpoint."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Who it is, with its parameters: what is stored as the provenance of its answers."""
        ...

    @property
    def batch(self) -> int:
        """How many prompts it takes at a time."""
        ...

    @property
    def draws_together(self) -> bool:
        """Whether the answers to one call share random draws, so a call is repeated as a whole."""
        ...

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> Sequence[str | Unanswered]:
        """One text to each prompt, in order; the same call gives the same texts where it can."""
        ...

    def choose(
        self, prompts: Sequence[str], options: Sequence[str], seeds: Sequence[int]
    ) -> Sequence[Sequence[float] | Unanswered]:
        """For each prompt the probability of each option, summing to 1."""
        ...


class MetricSink(Protocol):
    """Where metrics go: a JSONL file always, dashboards where asked for."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record named values of one step; names come from `config.metrics`."""
        ...


@runtime_checkable
class ProgressTask(Protocol):
    """One bar: a stage of known length."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move the bar; `note` is the latest figure worth showing."""
        ...


@runtime_checkable
class Progress(Protocol):
    """Shows how far long work is and how much time is left."""

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[ProgressTask]:
        """Open a bar of `total` steps of which `done` were finished by an earlier process."""
        ...


class _SilentTask:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class _SilentContext(AbstractContextManager[ProgressTask]):
    def __enter__(self) -> ProgressTask:
        return _SilentTask()

    def __exit__(self, *_: object) -> None:
        pass


class SilentProgress:
    """Shows nothing; the default of every Python call."""

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[ProgressTask]:
        """A bar nobody sees."""
        del name, total, done
        return _SilentContext()


class NoMetrics:
    """Drops every metric; for callers with a loop of their own."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Ignore the values."""
        del step, metrics
