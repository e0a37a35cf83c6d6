"""What a project stands on: where prompts, judgements and truth come from.

In the embedded world they are made; in a project of one's own people bring the prompts and give the
judgements, and nobody knows the truth. The loop asks for them through one protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from assent.audit.reward_accuracy import Rule
from assent.rounds.trajectory import Point, Recorder
from assent.store import ModelVersion, Snapshot
from assent.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The loop waits for judgements of people."""

    round: int
    judgements: int
    """New ones since the last reward model."""
    wanted: int
    """Before the next reward model is trained."""
    open: int
    """Comparisons that nobody has judged yet."""
    ways: tuple[str, ...]
    """Commands that give judgements, and the one that goes on."""

    def as_dict(self) -> dict[str, Any]:
        """For `summary.json`."""
        return {**asdict(self), "ways": list(self.ways)}

    @property
    def sentence(self) -> str:
        """What is there and what is missing."""
        return (
            f"Round {self.round} waits for judgements of people: {self.judgements} of "
            f"{self.wanted} are there, {self.wanted - self.judgements} are missing; {self.open} "
            "comparisons are open."
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The checkpoint chosen and what it cost."""

    version: ModelVersion
    rule: str
    win_rate: float | None
    """Against the reference, ties half; of the comparisons the winner took part in."""
    win_rate_ci: tuple[float, float] | None
    comparisons: int
    """Judged, over all candidates; equal texts are ties that nobody is asked about."""
    lookups: int = 0
    """Comparisons for which the judge might look facts up."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One round, done."""

    number: int
    snapshot: Snapshot
    reward: ModelVersion
    policy: ModelVersion
    checkpoints: list[ModelVersion]
    points: list[Point]
    stopped: str | None = None
    """Why its training, or the loop after it, was ended early."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What only this ground can say of a trajectory; each a part of `summary.json`."""

    annotator: str
    prompts: Mapping[str, int]
    fall: Mapping[str, Any] | None
    examples: Sequence[Mapping[str, Any]]
    limits: Sequence[str]
    intervals: Mapping[str, str]


class Ground(Protocol):
    """Prompts, judgements and, where it is known, truth."""

    def begin(self) -> ModelVersion:
        """Make sure of prompts in the store and return the base model."""
        ...

    def recorder(self, run: RunFolder, reward: ModelVersion, reference: ModelVersion) -> Recorder:
        """What measures the policy at the points of one PPO run."""
        ...

    def ask(self, number: int, policy: ModelVersion) -> Waiting | None:
        """Ask the comparisons of a round; None when there are judgements enough to go on."""
        ...

    def standstill(
        self, number: int, newer: ModelVersion, older: ModelVersion
    ) -> Waiting | str | None:
        """What a round waits for before it may begin, or why it should not; None to go on.

        Args:
            number: of the round that would begin.
            newer: the policy that the round before it made.
            older: what that round began with.
        """
        ...

    def promote(
        self, checkpoints: Sequence[ModelVersion], reference: ModelVersion
    ) -> dict[str, Choice]:
        """Choose among the checkpoints of all rounds; `promoted` is the choice that counts."""
        ...

    def rules(self) -> Mapping[str, Rule]:
        """Rules that read no content, for a reward model to beat."""
        ...

    def findings(self, rounds: Sequence[RoundResult]) -> Findings:
        """What to say of the rounds that are done; there may be none yet."""
        ...
