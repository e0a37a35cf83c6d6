"""PPO: optimise a policy against a reward, held near a frozen reference by a KL penalty.

One update: sample a response to each prompt of a batch, score them, turn scores and KL penalty into
advantages, and take a few epochs of clipped steps. `train_ppo` is the whole; `Ppo.step` is for
people with a loop of their own. Dropout is off throughout, so that the policy that is scored is the
policy that sampled; a self-check on the first minibatch proves it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.ppo import PpoSettings
from assent.models.heads import ValueHead
from assent.models.loading import require_fit
from assent.models.sampling import Rollouts
from assent.models.scoring import chunks
from assent.models.tokens import Rows
from assent.models.value_model import ValueModel
from assent.objectives.advantages import explained_variance, gae, shaped_rewards
from assent.objectives.kl import k1
from assent.objectives.masks import masked_whiten
from assent.objectives.policy_losses import ppo_policy_loss, value_loss
from assent.training.actors import Actors, Ahead, kl_controller, value_model_for
from assent.training.asked import PromptMix, fitting_prompts
from assent.training.handed_in import checked_rows, checked_scores
from assent.training.optimising import require_finite
from assent.training.points import OnPoint
from assent.training.pretraining_mix import PretrainingMix
from assent.training.rollout_steps import Measured, first_rows, paid_scores, take_steps
from assent.training.rollout_updates import run_updates
from assent.training.run_folder import RunFolder, fingerprint
from assent.training.self_check import SelfCheck, check_policy
from assent.types import Progress, RewardFunction


class _Batch(NamedTuple):
    rows: Rows
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    drawn_logprobs: Tensor | None
    ahead: Ahead


class Ppo:
    """A policy, its frozen reference, what predicts its reward, and one optimiser."""

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel | None,
        tokenizer: PreTrainedTokenizerBase,
        settings: PpoSettings,
        *,
        seed: int,
        updates: int | None = None,
        value_model: ValueModel | None = None,
        pretraining: Sequence[str] = (),
    ) -> None:
        """Take a policy to train and a reference that stays as it is.

        Args:
            policy: a causal LM, changed in place.
            reference: another causal LM with the same vocabulary; never changed. None with
                `settings.lora`: then it is the policy with its adapter switched off.
            tokenizer: with pad and eos, two tokens.
            settings: everything PPO needs.
            seed: every draw derives from it and the number of the update.
            updates: length of the learning-rate schedule; `settings.updates` if left out.
            value_model: where `settings.value_model` is separate, what it begins as; a copy of the
                reference's trunk if left out.
            pretraining: texts that `settings.pretraining` goes on learning, where it is set.

        Raises:
            DataError: `settings.pretraining` is set and there are no texts.
            TokenizerUnfit: pad or eos is missing, they are one token, or the model is too small.
            ModelError: policy and reference are one object, or there is neither a reference nor an
                adapter; the KL would always be zero.
        """
        require_fit(tokenizer)
        self.stage = "ppo"
        self.actors = Actors(
            policy, reference, tokenizer, settings, seed=seed, value_model=value_model
        )
        self.policy, self.reference = policy, reference
        self.tokenizer, self.settings = tokenizer, settings
        self.optimiser = self.actors.optimiser()
        self.pretraining = (
            PretrainingMix(policy, tokenizer, pretraining, settings, seed=seed)
            if settings.pretraining
            else None
        )
        self.seed, self.updates_done, self.episodes = seed, 0, 0
        self.total_updates = updates or settings.updates
        self.controller = kl_controller(settings)
        self.self_check: SelfCheck | None = None
        self.last_rows: dict[str, list[float]] = {}
        """Reward, KL and length of each response of the last update, by the metric they make."""

    @property
    def modules(self) -> dict[str, torch.nn.Module]:
        """What is trained, by name, as a run folder saves it."""
        return self.actors.modules

    @property
    def value_head(self) -> ValueHead:
        """The value head, on the policy's trunk or on that of the value model."""
        head = self.actors.value_head
        if head is None:
            assert self.actors.value_model is not None
            head = self.actors.value_model.head
        return head

    @property
    def state(self) -> dict[str, Any]:
        """What a run goes on from, beside weights and moments."""
        return {"episodes": self.episodes, "kl_coef": self.controller.coef}

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from what `RunFolder.restore` returned."""
        self.updates_done, self.episodes = int(state["step"]), int(state.get("episodes", 0))
        if "kl_coef" in state:
            self.controller = replace(self.controller, coef=float(state["kl_coef"]))

    def asked(self, prompts: Sequence[str]) -> list[str]:
        """The prompt of each response of `rollout`."""
        return list(prompts)

    def rollout(self, prompts: Sequence[str]) -> Rollouts:
        """One response to each prompt from the policy as it is now.

        Raises:
            DataError: a prompt has no token.
        """
        return self.actors.rollout(prompts, self.updates_done)

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
            prompts: the prompts the responses answer.
            responses: sampled from the policy as it is now, at `settings.sampling.temperature`.
            rewards: one finite number a response.
            finished: False for a response cut off before its end; all ended if left out.

        Raises:
            DataError: the counts differ, a prompt or response has no token, or the responses do not
                split into minibatches; no weight was changed.
            RewardError: not one reward a response, or one that is not finite; the same.
            NonFinite: a loss or gradient is NaN or infinite; no weight was changed by that step.
        """
        rows, ends = checked_rows(self.tokenizer, prompts, responses, finished)
        scores = checked_scores(rewards, len(responses), self.settings.minibatches)
        return self._update(rows.to(self.policy.device), scores, ends, drawn_logprobs=None)

    def learn(self, rollouts: Rollouts, rewards: Sequence[float]) -> dict[str, float]:
        """One update from rollouts of `rollout` and their rewards; return its metrics.

        Raises:
            DataError: the rollouts do not split into minibatches; no weight was changed.
            RewardError: not one reward a rollout, or one that is not finite; the same.
            SelfCheckFailed: on the first call, the policy does not reproduce what it sampled at.
            NonFinite: a loss or gradient is NaN or infinite; no weight was changed by that step.
        """
        return self._update(
            rollouts.rows,
            checked_scores(rewards, len(rollouts.rows.tokens), self.settings.minibatches),
            rollouts.finished,
            drawn_logprobs=rollouts.logprobs,
        )

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
        assert old.values is not None
        rewards = shaped_rewards(paid.scores, old.logprobs, old.reference, mask, kl_coef=coef)
        advantages = gae(
            rewards,
            old.values,
            mask,
            discount=settings.discount,
            gae_lambda=settings.gae_lambda,
        )
        batch = _Batch(
            rows,
            old.logprobs,
            old.values,
            masked_whiten(advantages.advantages, mask),
            advantages.returns,
            drawn_logprobs,
            old.ahead,
        )
        figures = self._epochs(batch)
        kl = k1(old.logprobs, old.reference).sum(1)
        seen = Measured(scores, paid, kl, old.logprobs, rows, finished)
        self.controller = self.controller.after(float(kl.mean()), len(scores))
        self.updates_done += 1
        self.episodes += len(scores)
        self.last_rows = seen.by_row()
        return {
            **figures,
            **seen.figures(coef),
            "reward/total_mean": float(rewards.sum(1).mean()),
            "value/explained_variance": explained_variance(old.values, advantages.returns, mask),
            "data/episodes": float(self.episodes),
        }

    def _epochs(self, batch: _Batch) -> dict[str, float]:
        def minibatch(numbers: Sequence[int], step: int) -> dict[str, float]:
            if self.self_check is None and batch.drawn_logprobs is not None:
                self.self_check = check_policy(
                    self.policy, batch.rows.select(numbers),
                    batch.drawn_logprobs[torch.as_tensor(numbers)], self.settings,
                )  # fmt: skip
            figures = self._minibatch(batch, numbers)
            if self.pretraining is not None:
                figures["loss/pretraining_nats"] = self.pretraining.add_gradient(step)
            return figures

        return take_steps(
            self.optimiser,
            self.settings,
            minibatch,
            count=len(batch.rows.tokens),
            seed=self.seed,
            stage=self.stage,
            update=self.updates_done,
            updates=self.total_updates,
        )

    def _minibatch(self, batch: _Batch, numbers: Sequence[int]) -> dict[str, float]:
        """Gradients of one minibatch, split into micro-batches, and its figures."""
        settings = self.settings
        tokens = batch.rows.response_mask[torch.as_tensor(numbers)].sum()
        sums: dict[str, float] = {}
        for part in chunks(len(numbers), settings.micro_batch_size):
            index = torch.as_tensor(numbers[part], device=self.policy.device)
            rows = batch.rows.select(index)
            new = batch.ahead.take(numbers[part]) or self.actors.score(rows)
            assert new.values is not None
            policy = ppo_policy_loss(
                new.logprobs,
                batch.old_logprobs[index],
                batch.advantages[index],
                rows.response_mask,
                clip_range=settings.clip_range,
                normaliser=tokens,
            )
            value = value_loss(
                new.values,
                batch.old_values[index],
                batch.returns[index],
                rows.response_mask,
                clip_range=settings.value_clip_range,
                normaliser=tokens,
            )
            loss = policy.loss + settings.value_coef * value.loss
            require_finite(loss, stage="ppo", step=self.updates_done, examples=numbers[part])
            torch.autograd.backward(loss)
            for name, figure in (
                ("loss/policy", policy.loss),
                ("loss/value", value.loss),
                ("policy/approx_kl_nats", policy.approximate_kl),
                ("policy/clip_fraction", policy.clip_fraction),
                ("policy/ratio_mean", policy.ratio_mean),
                ("value/clip_fraction", value.clip_fraction),
            ):
                sums[name] = sums.get(name, 0.0) + float(figure.detach())
        return sums


def train_ppo(  # noqa: PLR0913 - keywords, each a thing that only the caller knows
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    reward: RewardFunction,
    settings: PpoSettings,
    run: RunFolder,
    *,
    seed: int,
    mix: PromptMix | None = None,
    pretraining: Sequence[str] = (),
    points: Sequence[int] = (),
    on_point: OnPoint | None = None,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """Run PPO for `settings.updates` updates and write `run.model`.

    Args:
        policy: a causal LM, changed in place.
        reference: what the KL penalty holds the policy near; never changed. None with
            `settings.lora`: the policy as it is now, its adapter switched off.
        tokenizer: with pad and eos, two tokens.
        prompts: at least one; each batch takes the next of a shuffled pass over them. Those that
            leave no room for a response are left out and counted in the log.
        reward: any function of texts; see `types.RewardFunction`.
        settings: everything PPO needs.
        run: where to write and where to go on from.
        seed: every draw derives from it.
        mix: of what kinds the prompts are, and which are asked when.
        pretraining: texts that `settings.pretraining` goes on learning, where it is set.
        points: numbers of updates after which a checkpoint is kept and `on_point` called; 0 is the
            start. The run can go on from each of them, and from every tenth of the way.
        on_point: called once the checkpoint is written; called again for a point whose state was
            not saved yet when the process died, with the same weights. A note that is a `Stop`
            ends training there.
        progress: shows updates, KL and reward.

    Returns:
        The policy, an adapter merged into it.

    Raises:
        DataError: there are no prompts, one has no token, or none leaves room for a response; or
            `settings.pretraining` is set and there are no texts.
        RewardError: the reward returned the wrong count or a value that is not finite, or did not
            answer.
        SelfCheckFailed: sampling and scoring disagree.
        NonFinite: a loss or a gradient is NaN or infinite.
        OutOfMemory: memory ran out; says what to change.

    Source: Schulman et al. 2017; Ziegler et al. 2019; Stiennon et al. 2020; Huang et al. 2024.
    """
    fitting = fitting_prompts(policy, tokenizer, prompts, settings.sampling.max_new_tokens)
    value_model = value_model_for(settings, reward, tokenizer)
    ppo = Ppo(
        policy, reference, tokenizer, settings, seed=seed, value_model=value_model,
        pretraining=pretraining,
    )  # fmt: skip
    texts = [pretraining] if settings.pretraining else []
    return run_updates(
        ppo,
        prompts,
        fitting,
        reward,
        run,
        prompts_per_update=settings.rollouts_per_update,
        data=fingerprint(prompts, *texts),
        mix=mix,
        points=points,
        on_point=on_point,
        progress=progress,
    )
