"""The updates of a run that samples, scores and learns: PPO's, and those without a value head."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

from torch.optim import Optimizer
from transformers import PreTrainedModel

from assent.config.policy_gradient import RlSettings
from assent.models.reward_sums import part_figures
from assent.models.rewards import at_precision, checked_rewards
from assent.models.sampling import Rollouts
from assent.training.actors import Actors
from assent.training.asked import PromptMix, figures_by_kind
from assent.training.memory import memory_advice
from assent.training.points import OnPoint, Points
from assent.training.run_folder import RunFolder
from assent.training.self_check import SelfCheck
from assent.types import Progress, RewardFunction, SilentProgress


class Learner(Protocol):
    """What samples responses and learns from their rewards."""

    stage: str
    actors: Actors
    optimiser: Optimizer
    seed: int
    updates_done: int
    self_check: SelfCheck | None
    last_rows: dict[str, list[float]]

    @property
    def settings(self) -> RlSettings:
        """Of the stage."""
        ...

    @property
    def state(self) -> dict[str, Any]:
        """What a run goes on from, beside weights and moments."""
        ...

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from what `RunFolder.restore` returned."""
        ...

    def asked(self, prompts: Sequence[str]) -> list[str]:
        """The prompt of each response of `rollout`."""
        ...

    def rollout(self, prompts: Sequence[str]) -> Rollouts:
        """Responses to prompts from the policy as it is now."""
        ...

    def texts(self, rollouts: Rollouts) -> list[str]:
        """The responses as text, without their end token."""
        ...

    def learn(self, rollouts: Rollouts, rewards: Sequence[float]) -> dict[str, float]:
        """One update; its metrics."""
        ...


def run_updates(
    learner: Learner,
    prompts: Sequence[str],
    fitting: Sequence[int],
    reward: RewardFunction,
    run: RunFolder,
    *,
    prompts_per_update: int,
    data: str,
    mix: PromptMix | None,
    points: Sequence[int],
    on_point: OnPoint | None,
    progress: Progress | None,
) -> PreTrainedModel:
    """All updates from where the run folder stands, and `run.model`; the policy.

    Args:
        learner: as it is at the start of a run.
        prompts: all of them.
        fitting: numbers of those that leave room for a response.
        reward: any function of texts; where it is a model, it is read as precisely as the policy.
        run: where to write and where to go on from.
        prompts_per_update: how many are asked in each.
        data: fingerprint of what is learned from.
        mix: of what kinds the prompts are, and which are asked when.
        points: numbers of updates after which a checkpoint is kept and `on_point` called.
        on_point: measures the policy there.
        progress: shows updates and KL.

    Raises:
        CannotResume: the folder holds a run of other settings, seed or data.
        RewardError: the reward returned the wrong count or a value that is not finite, or did not
            answer.
        SelfCheckFailed: sampling and scoring disagree.
        NonFinite: a loss or a gradient is NaN or infinite.
        OutOfMemory: memory ran out; says what to change.
    """
    actors, settings, stage = learner.actors, learner.settings, learner.stage
    reward = at_precision(reward, settings.precision)
    run.begin(settings, seed=learner.seed, data=data)
    state = run.restore(actors.modules, learner.optimiser)
    learner.take_up(state)
    done, total = learner.updates_done, settings.updates
    kept = Points(
        run=run,
        policy=actors.policy,
        tokenizer=actors.tokenizer,
        adapter=actors.adapter,
        at=points,
        on_point=on_point,
    )
    saves = {*points, *range(0, total, max(total // 10, 1))}
    mix = mix or PromptMix()
    shown = progress or SilentProgress()
    micro_batch = settings.micro_batch_size or settings.rollouts_per_update // settings.minibatches
    with (
        memory_advice(stage, micro_batch=micro_batch, device=actors.policy.device),
        run.sink(done) as sink,
        shown.task(stage, total, done) as bar,
    ):
        if "episodes" not in state:
            kept.passed(0)
        for update in range(done, total):
            began = time.perf_counter()
            numbers = mix.prompts_of(update, prompts_per_update, fitting, learner.seed, stage=stage)
            chosen = [prompts[number] for number in numbers]
            rollouts = learner.rollout(chosen)
            scores = checked_rewards(reward, learner.asked(chosen), learner.texts(rollouts))
            is_first = learner.self_check is None
            figures = learner.learn(rollouts, scores) | part_figures(reward)
            if is_first and update == 0 and learner.self_check is not None:
                figures["policy/ratio_deviation"] = learner.self_check.ratio_deviation
            if mix.kinds is not None:
                kinds = learner.asked([mix.kinds[at] for at in numbers])
                figures |= figures_by_kind(kinds, learner.last_rows)
            figures["time/step_seconds"] = time.perf_counter() - began
            sink.log(update + 1, figures)
            kept.passed(update + 1)
            if update + 1 in saves and update + 1 < total and not kept.stopped:
                run.save_state(update + 1, actors.modules, learner.optimiser, learner.state)
            bar.advance(1, kept.note or f"KL {figures['policy/kl_nats']:.2f}")
            if kept.stopped:
                break
    return kept.finish()
