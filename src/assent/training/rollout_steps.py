"""What PPO and the gradients without a value head do alike with a batch of rollouts.

What its responses are paid, the optimiser steps taken on it, and the figures that say how it went.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor
from torch.optim import Optimizer

from assent.config.policy_gradient import RlSettings
from assent.models.scoring import chunks
from assent.models.tokens import Rows
from assent.objectives.advantages import apply_missing_eos
from assent.objectives.seeds import permutation
from assent.training.optimising import optimiser_step

Minibatch = Callable[[Sequence[int], int], dict[str, float]]
"""Called with the numbers of rollouts and the number of the optimiser step, from 0 over the whole
run; leaves gradients behind and returns what to log."""


class Paid(NamedTuple):
    """What the responses of a batch are worth before any price of KL, on the policy's device."""

    scores: Tensor
    clipped_share: float
    """Share of the scores that the safety clip changed."""


def paid_scores(scores: Tensor, finished: Tensor, settings: RlSettings) -> Paid:
    """Scores clipped, and those of responses that did not end dealt with."""
    clipped = scores.clamp(-settings.reward_clip, settings.reward_clip)
    worth = apply_missing_eos(
        clipped,
        finished,
        penalty=settings.missing_eos.penalty,
        mode=settings.missing_eos.mode,
    )
    return Paid(worth, float((clipped != scores).float().mean()))


def take_steps(
    optimiser: Optimizer,
    settings: RlSettings,
    minibatch: Minibatch,
    *,
    count: int,
    seed: int,
    stage: str,
    update: int,
    updates: int,
) -> dict[str, float]:
    """All optimiser steps of an update; the mean of their figures, and the last learning rate.

    Args:
        optimiser: of what is trained.
        settings: epochs, minibatches and the optimiser's.
        minibatch: leaves the gradients of some rollouts behind.
        count: rollouts of the batch.
        seed: of the order, with the stage, the update and the epoch.
        stage: named in errors.
        update: 0 is the first.
        updates: of the whole run, for the learning rate.

    Raises:
        NonFinite: a gradient is NaN or infinite; no weight was changed by that step.
    """
    steps = settings.epochs * settings.minibatches
    sums: dict[str, float] = {}
    step = update * steps
    for epoch in range(settings.epochs):
        order = _order(count, seed, stage, update, epoch)
        for part in chunks(count, count // settings.minibatches):
            # What an earlier step left behind when it was refused halfway is no part of this one.
            optimiser.zero_grad(set_to_none=True)
            figures = minibatch(order[part], step)
            figures |= optimiser_step(
                optimiser, settings.optimiser, step=step, total=updates * steps, stage=stage
            )
            step += 1
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value / steps
    sums["optim/lr"] = figures["optim/lr"]
    return sums


def first_rows(
    settings: RlSettings, *, count: int, seed: int, stage: str, update: int
) -> list[int]:
    """Numbers of the rollouts that the first backward pass of `take_steps` is about."""
    size = count // settings.minibatches
    order = _order(count, seed, stage, update, 0)
    return order[: min(size, settings.micro_batch_size or size)]


def _order(count: int, seed: int, stage: str, update: int, epoch: int) -> list[int]:
    return permutation(count, seed, stage, "minibatches", update, epoch)


class Measured(NamedTuple):
    """A batch of rollouts as it was before it was learned from."""

    scores: Tensor
    """As the reward gave them."""
    paid: Paid
    kl: Tensor
    """k1 of whole responses, in nats."""
    logprobs: Tensor
    """Of tokens, 0 outside the mask."""
    rows: Rows
    finished: Tensor

    def figures(self, coef: float) -> dict[str, float]:
        """What there is to log of it, KL at a price of `coef`."""
        kl = float(self.kl.mean())
        return {
            "policy/kl_nats": kl,
            "policy/kl_coef": coef,
            "policy/entropy_nats": float(-self.logprobs.sum(1).mean()),
            "reward/proxy_mean": float(self.scores.mean()),
            "reward/kl_penalty_mean": -coef * kl,
            "reward/clipped_share": self.paid.clipped_share,
            "policy/length_tokens": float(self.rows.response_mask.sum(1).float().mean()),
            "policy/missing_eos_share": float((~self.finished).float().mean()),
        }

    def by_row(self) -> dict[str, list[float]]:
        """Reward, KL and length of each response, by the metric they make."""
        return {
            "reward/proxy_mean": self.scores.tolist(),
            "policy/kl_nats": self.kl.tolist(),
            "policy/length_tokens": self.rows.response_mask.sum(1).tolist(),
        }
