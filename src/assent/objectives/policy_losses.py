"""The losses of policy gradients, over the tokens that count.

Each takes `normaliser`: what the sum over tokens is divided by. Left out, it is the number of
tokens that count, and the loss a mean. When a batch is split into micro-batches, pass the token
count of the whole batch to each: then the losses, the fractions and the means add up to those of
the batch, and so do the gradients, to rounding. A mean of means would weigh tokens unequally.

Where responses are to weigh otherwise than by their tokens, `response_weights` gives each row of
the whole batch its weight, and micro-batches take theirs.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assent.objectives.kl import k2, k3
from assent.objectives.masks import masked_sum, token_count, zero_outside

Aggregation = Literal["token", "sequence", "constant"]
KlEstimator = Literal["k2", "k3"]


class PolicyLoss(NamedTuple):
    """The clipped policy loss and what to watch; all but `loss` are detached."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]
    """Share of tokens, in [0, 1], whose gradient the clipping removed."""
    approximate_kl: Float[Tensor, ""]
    """Half the mean squared change of log-probability since sampling, in nats a token."""
    ratio_mean: Float[Tensor, ""]
    """Mean of new over old probability; 1 on the first minibatch."""
    ratio_max_deviation: Float[Tensor, ""]
    """Largest |ratio - 1|; over micro-batches take the maximum, it is not divided."""


class ValueLoss(NamedTuple):
    """The value head's regression loss."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]
    """Share of tokens, in [0, 1], where the clipped error was the larger; detached."""


def ppo_policy_loss(
    logprobs: Float[Tensor, "batch seq"],
    old_logprobs: Float[Tensor, "batch seq"],
    advantages: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    *,
    clip_range: float,
    normaliser: Tensor | float | int | None = None,
    weights: Float[Tensor, " batch"] | None = None,
) -> PolicyLoss:
    r"""PPO's clipped surrogate, as a loss to minimise.

    .. math:: L = \frac1N \sum_t \max(-A_t \rho_t,\ -A_t\,\mathrm{clip}(\rho_t, 1-\epsilon,
              1+\epsilon)), \qquad \rho_t = \pi(y_t) / \pi_{old}(y_t)

    Args:
        logprobs: of the policy being trained, at the sampling temperature, in nats.
        old_logprobs: of the policy that sampled, the same through all epochs on a batch.
        advantages: usually whitened over the batch; reward units otherwise.
        mask: True on response tokens.
        clip_range: epsilon, > 0; usually 0.2.
        normaliser: N; the number of tokens that count if left out (see the module).
        weights: of each row, in place of 1 / N in the loss; see `response_weights`.

    Returns:
        The loss, with gradient in `logprobs` only, and figures divided by N.

    Raises:
        ValueError: no token counts and no normaliser is given.

    Source: Schulman et al. 2017, eq. 7.
    """
    count = token_count(mask, normaliser)
    # Masked before the exponential, so that junk in the padding cannot overflow into the gradient.
    log_ratio = zero_outside(logprobs - old_logprobs.detach(), mask)
    ratio = log_ratio.exp()
    advantages = zero_outside(advantages.detach(), mask)
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    losses = torch.maximum(unclipped, clipped)
    loss = (
        masked_sum(losses, mask) / count if weights is None else weighted_sum(losses, mask, weights)
    )
    with torch.no_grad():
        deviation = zero_outside((ratio - 1.0).abs(), mask)
        return PolicyLoss(
            loss=loss,
            clip_fraction=masked_sum((clipped > unclipped).to(loss.dtype), mask) / count,
            approximate_kl=0.5 * masked_sum(log_ratio.square(), mask) / count,
            ratio_mean=masked_sum(ratio, mask) / count,
            ratio_max_deviation=deviation.max(),
        )


def value_loss(
    values: Float[Tensor, "batch seq"],
    old_values: Float[Tensor, "batch seq"],
    returns: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    *,
    clip_range: float | None,
    normaliser: Tensor | float | int | None = None,
) -> ValueLoss:
    r"""Squared error of the value head, pessimistic about moving far from the old values.

    .. math:: L = \frac{1}{2N} \sum_t \max\bigl((V_t - R_t)^2,\
              (\mathrm{clip}(V_t, V^{old}_t - \epsilon, V^{old}_t + \epsilon) - R_t)^2\bigr)

    Args:
        values: of the value head being trained, in reward units.
        old_values: as they were when the batch was sampled.
        returns: regression targets, `Advantages.returns`, in reward units.
        mask: True on response tokens.
        clip_range: epsilon, in reward units, > 0; usually 0.2. None leaves the clipping out.
        normaliser: N; the number of tokens that count if left out (see the module).

    Returns:
        The loss, with gradient in `values` only. PPO usually weighs it 0.1.

    Raises:
        ValueError: no token counts and no normaliser is given.

    Source: `ppo2` of openai/baselines, and Ziegler et al. 2019 (lm-human-preferences).
    """
    count = token_count(mask, normaliser)
    values = zero_outside(values, mask)
    returns = zero_outside(returns.detach(), mask)
    error = (values - returns).square()
    if clip_range is None:
        return ValueLoss(0.5 * masked_sum(error, mask) / count, error.new_zeros(()))
    old_values = zero_outside(old_values.detach(), mask)
    near = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    clipped_error = (near - returns).square()
    loss = 0.5 * masked_sum(torch.maximum(error, clipped_error), mask) / count
    clipped = (clipped_error > error).detach().to(loss.dtype)
    return ValueLoss(loss, masked_sum(clipped, mask) / count)


def response_weights(
    mask: Bool[Tensor, "batch seq"], aggregation: Aggregation, *, length: int
) -> Float[Tensor, " batch"]:
    r"""What the token losses of each response are multiplied by, over a whole batch of B.

    .. math:: w_i = \frac{1}{\sum_j |y_j|} \ (\mathrm{token}), \qquad
              w_i = \frac{1}{B |y_i|} \ (\mathrm{sequence}), \qquad
              w_i = \frac{1}{B L} \ (\mathrm{constant})

    token and constant weigh all tokens of a batch alike, which leaves the direction of the policy
    gradient as it is. sequence gives the tokens of long responses less: among responses with a
    negative advantage the long ones are discouraged less.

    Args:
        mask: True on response tokens of all B responses; a response without one weighs nothing.
        aggregation: see above.
        length: L, tokens; usually the longest response allowed.

    Raises:
        ValueError: no token counts.

    Source: sequence: Shao et al. 2024, eq. 3; token: Yu et al. 2025 (DAPO), section 3.3; constant:
    Liu et al. 2025, section 3.2.
    """
    lengths = mask.sum(1)
    total = float(token_count(mask, None))
    ones = torch.ones(len(mask), dtype=torch.float64, device=mask.device)
    if aggregation == "token":
        return ones / total
    if aggregation == "constant":
        return ones / (len(mask) * length)
    return torch.where(lengths > 0, ones / (len(mask) * lengths.clamp(min=1)), 0.0)


def kl_loss(
    logprobs: Float[Tensor, "batch seq"],
    reference_logprobs: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    *,
    estimator: KlEstimator,
    level: Literal["sequence", "token"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    r"""KL from the reference as a term of the loss, on responses sampled from the policy.

    .. math:: L = \sum_i w_i \sum_t k(y_{i,t}) \ (\mathrm{token}), \qquad
              L = \sum_i w_i \, k(y_i) \ (\mathrm{sequence})

    At the sequence level k2 has the gradient of KL in the reward. At the token level the gradient
    knows nothing of what a token does to the KL of those after it. k3's is that of
    KL(reference || policy), estimated on samples of the policy.

    Args:
        logprobs: of the policy being trained, in nats.
        reference_logprobs: of the frozen reference, at the same temperature.
        mask: True on response tokens.
        estimator: see `objectives.kl`.
        level: on log-ratios of tokens, or on that of the whole response.
        weights: of each row, from `response_weights`.

    Returns:
        Nats times the weights, with gradient in `logprobs` only; not yet multiplied by beta.

    Source: Shao et al. 2024, eq. 3 and 4 (k3, token); Tang & Munos 2025, "On a few pitfalls in KL
    divergence gradient estimation for RL".
    Differs: no importance weight beyond the first step on a batch, as in the paper.
    """
    new = zero_outside(logprobs, mask)
    reference = zero_outside(reference_logprobs.detach(), mask)
    estimate = k2 if estimator == "k2" else k3
    if level == "token":
        return weighted_sum(estimate(new, reference), mask, weights)
    return (weights.to(new.dtype) * estimate(new.sum(1), reference.sum(1))).sum()


def weighted_sum(
    values: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Sum of the values that count, each times the weight of its row."""
    return (weights.to(values.dtype) * masked_sum(values, mask, dim=1)).sum()
