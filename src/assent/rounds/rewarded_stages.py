"""The stages that optimise a reward: PPO, RLOO, GRPO, best-of-n and RAFT, wired alike.

They differ in settings, in the function that trains and in how many steps it takes; where prompts,
reward and reference come from and what is recorded is the same for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.best_of import BestOfNSettings, RaftSettings
from assent.config.policy_gradient import RlSettings
from assent.config.project import ProjectSettings
from assent.objectives.seeds import derive_seed
from assent.rounds.material import train_prompts
from assent.rounds.pretraining_texts import pretraining_texts
from assent.rounds.stages import prompt_mix, reference_model, reward_function
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot
from assent.training.asked import PromptMix
from assent.training.best_of import train_best_of
from assent.training.points import OnPoint
from assent.training.policy_gradient import train_policy_gradient
from assent.training.ppo import train_ppo
from assent.training.run_folder import RunFolder
from assent.types import Progress, RewardFunction

_Bound = RlSettings | BestOfNSettings
Rewarding = TypeVar("Rewarding", bound=_Bound)
Rewarding_contra = TypeVar("Rewarding_contra", bound=_Bound, contravariant=True)
"""Settings of a stage that optimises a reward."""


class TrainRewarded(Protocol[Rewarding_contra]):
    """Trains a policy against a reward; see `assent.training.ppo.train_ppo`."""

    def __call__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel | None,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        reward: RewardFunction,
        settings: Rewarding_contra,
        run: RunFolder,
        /,
        *,
        seed: int,
        mix: PromptMix,
        points: Sequence[int],
        on_point: OnPoint | None,
        progress: Progress,
    ) -> object:
        """Train, and write `run.model`."""
        ...


def _nothing(workspace: Workspace) -> Mapping[str, Any]:  # noqa: ARG001 - most stages need no more
    return {}


@dataclass(frozen=True, slots=True)
class Rewarded(Generic[Rewarding]):
    """One such stage, as `rounds.methods.Train` has it."""

    stage: str
    """As the store names it."""
    settings: Callable[[ProjectSettings], Rewarding]
    train: TrainRewarded[Rewarding]
    steps: Callable[[Rewarding], int]
    """Of a run, for the points along it."""
    besides: Callable[[Workspace], Mapping[str, Any]] = _nothing
    """What else `train` takes, out of the project."""

    def __call__(
        self,
        workspace: Workspace,
        name: str,
        *,
        policy: ModelVersion,
        reference: ModelVersion,
        reward_model: ModelVersion | None,
        snapshot: Snapshot | None,  # noqa: ARG002 - judgements are seen through the reward model
        points: int = 0,
        on_point: OnPoint | None = None,
    ) -> ModelVersion:
        """Optimise the reward on the training prompts, and record what came of it."""
        settings = self.settings(workspace.settings)
        steps = point_steps(self.steps(settings), points) if points else ()

        def run_in(run: RunFolder) -> None:
            prompts = train_prompts(workspace)
            has_adapter = settings.lora is not None
            self.train(
                workspace.model(policy),
                reference_model(workspace, policy, reference, has_adapter=has_adapter),
                workspace.tokenizer(policy),
                [prompt.text for prompt in prompts],
                reward_function(workspace, reward_model, settings.reward),
                settings,
                run,
                seed=derive_seed(workspace.seed, name),
                mix=prompt_mix(workspace, [prompt.kind for prompt in prompts], name),
                points=steps,
                on_point=on_point,
                progress=workspace.progress,
                **self.besides(workspace),
            )

        parents = {"reference": reference} | (
            {"reward_model": reward_model} if reward_model else {}
        )
        return workspace.run(
            name, self.stage, run_in, settings=settings, parent=policy, parents=parents,
            snapshot_id=reward_model.snapshot_id if reward_model else None,
        )  # fmt: skip


ppo = Rewarded(
    "ppo",
    lambda project: project.ppo,
    train_ppo,
    lambda settings: settings.updates,
    lambda workspace: {"pretraining": pretraining_texts(workspace)},
)
rloo = Rewarded(
    "rloo",
    lambda project: project.rloo,
    train_policy_gradient,
    lambda settings: settings.updates,
)
grpo = Rewarded(
    "grpo",
    lambda project: project.grpo,
    train_policy_gradient,
    lambda settings: settings.updates,
)
best_of_n = Rewarded(
    "best-of-n",
    lambda project: project.best_of_n,
    train_best_of,
    lambda settings: settings.steps,
)
raft: Rewarded[RaftSettings] = Rewarded(
    "raft",
    lambda project: project.raft,
    train_best_of,
    lambda settings: settings.iterations * settings.steps,
)
