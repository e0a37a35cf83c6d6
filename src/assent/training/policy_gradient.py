"""Policy gradients without a value head: RLOO, GRPO, Dr. GRPO and REINFORCE with a baseline.

One update: sample several responses to each prompt of a batch, score them, compare each with the
others to its prompt (or with what earlier batches got), and take one or a few clipped steps.
`train_policy_gradient` is the whole; `PolicyGradient.step` is for people with a loop of their own.
Dropout is off throughout, and a self-check on the first minibatch proves that the policy that is
trained is the one that sampled.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.policy_gradient import KlInLoss, KlInReward, PolicyGradientSettings
from assent.errors import DataError
from assent.models.loading import require_fit
from assent.models.sampling import Rollouts
from assent.models.scoring import chunks
from assent.models.tokens import Rows
from assent.objectives.group_advantages import (
    MovingBaseline,
    group_advantages,
    identical_groups,
    returns_to_go,
)
from assent.objectives.kl import k1
from assent.objectives.policy_losses import kl_loss, ppo_policy_loss, response_weights
from assent.training.actors import Actors, Ahead, kl_controller
from assent.training.asked import PromptMix, fitting_prompts
from assent.training.handed_in import checked_rows, checked_scores
from assent.training.optimising import require_finite
from assent.training.points import OnPoint
from assent.training.rollout_steps import Measured, first_rows, paid_scores, take_steps
from assent.training.rollout_updates import run_updates
from assent.training.run_folder import RunFolder, fingerprint
from assent.training.self_check import SelfCheck, check_policy
from assent.types import Progress, RewardFunction


class _Batch(NamedTuple):
    rows: Rows
    old_logprobs: Tensor
    reference_logprobs: Tensor
    advantages: Tensor
    kl_coef: float
    """Of the KL in the loss; 0 where KL is paid in the reward."""
    drawn_logprobs: Tensor | None
    ahead: Ahead


class PolicyGradient:
    """A policy, its frozen reference, a baseline, and one optimiser."""

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel | None,
        tokenizer: PreTrainedTokenizerBase,
        settings: PolicyGradientSettings,
        *,
        seed: int,
        updates: int | None = None,
    ) -> None:
        """Take a policy to train and a reference that stays as it is.

        Args:
            policy: a causal LM, changed in place.
            reference: another causal LM with the same vocabulary; never changed. None with
                `settings.lora`: then it is the policy with its adapter switched off.
            tokenizer: with pad and eos, two tokens.
            settings: everything the method needs.
            seed: every draw derives from it and the number of the update.
            updates: length of the learning-rate schedule; `settings.updates` if left out.

        Raises:
            TokenizerUnfit: pad or eos is missing, they are one token, or the model is too small.
            ModelError: policy and reference are one object, or there is neither a reference nor an
                adapter; the KL would always be zero.
        """
        require_fit(tokenizer)
        self.stage = settings.stage
        self.actors = Actors(policy, reference, tokenizer, settings, seed=seed, stage=self.stage)
        self.policy, self.reference = policy, reference
        self.tokenizer, self.settings = tokenizer, settings
        self.optimiser = self.actors.optimiser()
        self.seed, self.updates_done, self.episodes = seed, 0, 0
        self.total_updates = updates or settings.updates
        self.controller = kl_controller(settings)
        self.baseline = MovingBaseline(decay=settings.baseline_decay)
        self.self_check: SelfCheck | None = None
        self.last_rows: dict[str, list[float]] = {}
        """Reward, KL and length of each response of the last update, by the metric they make."""

    @property
    def state(self) -> dict[str, Any]:
        """What a run goes on from, beside weights and moments."""
        return {
            "episodes": self.episodes,
            "kl_coef": self.controller.coef,
            "baseline": self.baseline.mean,
        }

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from what `RunFolder.restore` returned."""
        self.updates_done = int(state["step"])
        if "episodes" in state:
            self.episodes = int(state["episodes"])
            self.controller = replace(self.controller, coef=float(state["kl_coef"]))
            self.baseline = replace(self.baseline, mean=state["baseline"])

    def rollout(self, prompts: Sequence[str]) -> Rollouts:
        """`samples_per_prompt` responses to each prompt, side by side, from the policy as it is.

        Raises:
            DataError: a prompt has no token.
        """
        return self.actors.rollout(self.asked(prompts), self.updates_done)

    def asked(self, prompts: Sequence[str]) -> list[str]:
        """The prompt of each response of `rollout`."""
        return [one for one in prompts for _ in range(self.settings.samples_per_prompt)]

    def texts(self, rollouts: Rollouts) -> list[str]:
        """The responses as text, without their end token."""
        return self.actors.texts(rollouts)

    def step(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        rewards: Sequence[float],
        *,
        finished: Sequence[bool] | None = None,
    ) -> dict[str, float]:
        """One update from texts and rewards of your own; return its metrics.

        Args:
            prompts: the prompt of each response; the responses to one stand side by side, as many
                as `settings.samples_per_prompt`.
            responses: sampled from the policy as it is now, at `settings.sampling.temperature`.
            rewards: one finite number a response.
            finished: False for a response cut off before its end; all ended if left out.

        Raises:
            DataError: the counts differ, a group is incomplete or of two prompts, a prompt or
                response has no token, or the responses do not split into minibatches; no weight was
                changed.
            RewardError: not one reward a response, or one that is not finite; the same.
            NonFinite: a loss or gradient is NaN or infinite; no weight was changed by that step.
        """
        rows, ends = checked_rows(self.tokenizer, prompts, responses, finished)
        _require_groups(prompts, self.settings.samples_per_prompt, self.stage)
        return self._update(
            rows.to(self.policy.device), self._checked(rewards, rows), ends, drawn_logprobs=None
        )

    def learn(self, rollouts: Rollouts, rewards: Sequence[float]) -> dict[str, float]:
        """One update from rollouts of `rollout` and their rewards; return its metrics.

        Raises:
            DataError: the rollouts are no whole groups or do not split into minibatches; no weight
                was changed.
            RewardError: not one reward a rollout, or one that is not finite; the same.
            SelfCheckFailed: on the first call, the policy does not reproduce what it sampled at.
            NonFinite: a loss or gradient is NaN or infinite; no weight was changed by that step.
        """
        _require_groups(len(rollouts.rows.tokens), self.settings.samples_per_prompt, self.stage)
        return self._update(
            rollouts.rows,
            self._checked(rewards, rollouts.rows),
            rollouts.finished,
            drawn_logprobs=rollouts.logprobs,
        )

    def _checked(self, rewards: Sequence[float], rows: Rows) -> Tensor:
        return checked_scores(rewards, len(rows.tokens), self.settings.minibatches, self.stage)

    def _update(
        self, rows: Rows, scores: Tensor, finished: Tensor, drawn_logprobs: Tensor | None
    ) -> dict[str, float]:
        settings, coef = self.settings, self.controller.coef
        device, mask = self.policy.device, rows.response_mask
        scores, finished = scores.to(device), finished.to(device)
        paid = paid_scores(scores, finished, settings)
        first = first_rows(
            settings, count=len(scores), seed=self.seed, stage=self.stage, update=self.updates_done
        )
        old = self.actors.score_before(rows, first)
        penalty, kl = settings.kl_penalty, k1(old.logprobs, old.reference)
        in_reward = isinstance(penalty, KlInReward)
        returns = returns_to_go(
            paid.scores,
            kl,
            mask,
            kl_coef=coef if in_reward else 0.0,
            level=penalty.level,
        )
        advantages, own = self._advantages(returns, paid.scores, mask)
        batch = _Batch(
            rows, old.logprobs, old.reference, advantages, 0.0 if in_reward else coef,
            drawn_logprobs, old.ahead,
        )  # fmt: skip
        figures = take_steps(
            self.optimiser,
            settings,
            lambda numbers, _: self._minibatch(batch, numbers),
            count=len(scores),
            seed=self.seed,
            stage=self.stage,
            update=self.updates_done,
            updates=self.total_updates,
        )
        seen = Measured(scores, paid, kl.sum(1), old.logprobs, rows, finished)
        self.controller = self.controller.after(float(seen.kl.mean()), len(scores))
        self.updates_done += 1
        self.episodes += len(scores)
        self.last_rows = seen.by_row()
        return {
            **figures,
            **own,
            **seen.figures(coef),
            "reward/total_mean": float((paid.scores - coef * seen.kl).mean()),
            "data/episodes": float(self.episodes),
        }

    def _advantages(
        self, returns: Tensor, scores: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Advantages of the tokens, and what to log of the baseline."""
        settings = self.settings
        figures: dict[str, float] = {}
        if settings.samples_per_prompt > 1:
            identical = identical_groups(scores, settings.samples_per_prompt)
            figures["reward/undecided_share"] = float(identical.float().mean())
        if settings.advantage == "reinforce":
            advantages = self.baseline.advantages(returns, mask)
            self.baseline = self.baseline.after(returns[:, 0])
            assert self.baseline.mean is not None
            figures["reward/baseline"] = self.baseline.mean
            return advantages, figures
        advantages = group_advantages(
            returns, mask, samples=settings.samples_per_prompt, baseline=settings.advantage
        )
        return advantages, figures

    def _minibatch(self, batch: _Batch, numbers: Sequence[int]) -> dict[str, float]:
        """Gradients of one minibatch, split into micro-batches, and its figures."""
        settings = self.settings
        chosen = torch.as_tensor(numbers, device=self.policy.device)
        if self.self_check is None and batch.drawn_logprobs is not None:
            self.self_check = check_policy(
                self.policy, batch.rows.select(chosen), batch.drawn_logprobs[chosen], settings,
                self.stage,
            )  # fmt: skip
        mask = batch.rows.response_mask[chosen]
        tokens = mask.sum()
        weights = response_weights(
            mask, settings.averaged_over, length=settings.sampling.max_new_tokens
        )
        sums: dict[str, float] = {}
        for part in chunks(len(numbers), settings.micro_batch_size):
            index, weight = chosen[part], weights[part]
            rows = batch.rows.select(index)
            new = (batch.ahead.take(numbers[part]) or self.actors.score(rows)).logprobs
            policy = ppo_policy_loss(
                new,
                batch.old_logprobs[index],
                batch.advantages[index],
                rows.response_mask,
                clip_range=settings.clip_range,
                normaliser=tokens,
                weights=weight,
            )
            loss = policy.loss
            figures = {
                "loss/policy": policy.loss,
                "policy/approx_kl_nats": policy.approximate_kl,
                "policy/clip_fraction": policy.clip_fraction,
                "policy/ratio_mean": policy.ratio_mean,
            }
            if isinstance(settings.kl_penalty, KlInLoss):
                figures["loss/kl"] = batch.kl_coef * kl_loss(
                    new,
                    batch.reference_logprobs[index],
                    rows.response_mask,
                    estimator=settings.kl_penalty.estimator,
                    level=settings.kl_penalty.level,
                    weights=weight,
                )
                loss = loss + figures["loss/kl"]
            require_finite(loss, stage=self.stage, step=self.updates_done, examples=numbers[part])
            torch.autograd.backward(loss)
            for name, figure in figures.items():
                sums[name] = sums.get(name, 0.0) + float(figure.detach())
        return sums


def train_policy_gradient(
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    reward: RewardFunction,
    settings: PolicyGradientSettings,
    run: RunFolder,
    *,
    seed: int,
    mix: PromptMix | None = None,
    points: Sequence[int] = (),
    on_point: OnPoint | None = None,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """Run `settings.updates` updates and write `run.model`.

    Args:
        policy: a causal LM, changed in place.
        reference: what the price of KL holds the policy near; never changed. None with
            `settings.lora`: the policy as it is now, its adapter switched off.
        tokenizer: with pad and eos, two tokens.
        prompts: at least one; each update takes the next of a shuffled pass over them. Those that
            leave no room for a response are left out and counted in the log.
        reward: any function of texts; see `types.RewardFunction`.
        settings: everything the method needs.
        run: where to write and where to go on from.
        seed: every draw derives from it.
        mix: of what kinds the prompts are, and which are asked when.
        points: numbers of updates after which a checkpoint is kept and `on_point` called; 0 is the
            start. The run can go on from each of them, and from every tenth of the way.
        on_point: called once the checkpoint is written; called again for a point whose state was
            not saved yet when the process died, with the same weights. A note that is a `Stop`
            ends training there.
        progress: shows updates, KL and reward.

    Returns:
        The policy, an adapter merged into it.

    Raises:
        DataError: there are no prompts, one has no token, or none leaves room for a response.
        RewardError: the reward returned the wrong count or a value that is not finite, or did not
            answer.
        SelfCheckFailed: sampling and scoring disagree.
        NonFinite: a loss or a gradient is NaN or infinite.
        OutOfMemory: memory ran out; says what to change.

    Source: Ahmadian et al. 2024 (RLOO, REINFORCE), Shao et al. 2024 (GRPO), Liu et al. 2025
    (Dr. GRPO); see `objectives.group_advantages`.
    """
    room, stage = settings.sampling.max_new_tokens, settings.stage
    fitting = fitting_prompts(policy, tokenizer, prompts, room, stage=stage)
    learner = PolicyGradient(policy, reference, tokenizer, settings, seed=seed)
    return run_updates(
        learner,
        prompts,
        fitting,
        reward,
        run,
        prompts_per_update=settings.prompts_per_update,
        data=fingerprint(prompts),
        mix=mix,
        points=points,
        on_point=on_point,
        progress=progress,
    )


def _require_groups(prompts: Sequence[str] | int, samples: int, stage: str) -> None:
    """Refuse responses that do not stand side by side, `samples` to each prompt."""
    count = prompts if isinstance(prompts, int) else len(prompts)
    if count % samples:
        message = f"{count} responses are no whole groups of {stage}.samples_per_prompt = {samples}"
        raise DataError(message)
    if isinstance(prompts, int):
        return
    for start in range(0, count, samples):
        odd = [at for at in range(start, start + samples) if prompts[at] != prompts[start]]
        if odd:
            message = (
                f"response {odd[0]} answers another prompt than response {start}; put the "
                f"{samples} responses to a prompt side by side"
            )
            raise DataError(message)
