"""The methods that improve a policy, by the name of their stage.

The loop and `assent train` look them up here; a new one is one entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from assent.config.stages import POLICY
from assent.rounds.language_stages import constitutional, ilf
from assent.rounds.preference_stages import dpo, kto
from assent.rounds.rewarded_stages import best_of_n, grpo, ppo, raft, rloo
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot
from assent.training.points import OnPoint


class Train(Protocol):
    """Makes a policy out of a policy."""

    def __call__(
        self,
        workspace: Workspace,
        name: str,
        *,
        policy: ModelVersion,
        reference: ModelVersion,
        reward_model: ModelVersion | None,
        snapshot: Snapshot | None,
        points: int = 0,
        on_point: OnPoint | None = None,
    ) -> ModelVersion:
        """Train, or go on with, the run of this name.

        Args:
            workspace: the project at work.
            name: of the run and its model version.
            policy: what it begins as.
            reference: what it is held near.
            reward_model: the newest; None where the method has no use for one, or the settings name
                another reward.
            snapshot: the judgements to learn from, for methods that learn from them directly.
            points: how often a checkpoint is kept and `on_point` called, start and end among them.
            on_point: measures; see `assent.training.points.OnPoint`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """One way of improving a policy."""

    stage: str
    train: Train
    rewarded: bool = True
    """It optimises a reward; otherwise it learns from the judgements of a snapshot, unless its
    settings name a reward all the same, as DPO's do for pairs that a reward makes."""
    judged: bool = True
    """Without a reward it learns from judgements; otherwise from other things that people say."""


_METHODS = (
    Method("ppo", ppo),
    Method("rloo", rloo),
    Method("grpo", grpo),
    Method("best-of-n", best_of_n),
    Method("raft", raft),
    Method("dpo", dpo, rewarded=False),
    Method("kto", kto, rewarded=False),
    Method("ilf", ilf, rewarded=False, judged=False),
    Method("constitutional", constitutional, rewarded=False, judged=False),
)

METHODS: Mapping[str, Method] = {method.stage: method for method in _METHODS}
assert set(METHODS) == set(POLICY)
