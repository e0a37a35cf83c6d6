"""From scores to advantages: how much better each token did than the value head expected.

Shapes: `batch` responses, padded on the right to `seq` tokens. A mask is True on real tokens.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assent.objectives.kl import k1
from assent.objectives.masks import last_index, masked_mean, zero_outside


class Advantages(NamedTuple):
    """Zero at padded positions."""

    advantages: Float[Tensor, "batch seq"]
    returns: Float[Tensor, "batch seq"]
    """Regression targets for the value head: advantage plus value."""


def apply_missing_eos(
    scores: Float[Tensor, " batch"],
    finished: Bool[Tensor, " batch"],
    *,
    penalty: float | None,
    mode: Literal["subtract", "replace"] = "replace",
) -> Float[Tensor, " batch"]:
    """Make responses that were cut off before their end token worth less.

    Args:
        scores: one a response, in reward units, normalised to mean 0 on the reference's samples.
        finished: True where the response holds its end token.
        penalty: >= 0, in the same units; usually 1. None leaves the scores as they are.
        mode: "replace" sets an unfinished response's score to -penalty, which teaches to stop only
            if -penalty is below what finished responses get; "subtract" takes the penalty off.

    Raises:
        ValueError: the penalty is negative or not finite, which would pay for not stopping.

    Source: replace: Ziegler et al. 2019 and Huang et al. 2024 (value -1); subtract: TRL.
    """
    if penalty is None:
        return scores
    if not 0 <= penalty < float("inf"):
        message = f"the missing-EOS penalty must be finite and at least 0, not {penalty}"
        raise ValueError(message)
    unfinished = scores - penalty if mode == "subtract" else torch.full_like(scores, -penalty)
    return torch.where(finished, scores, unfinished)


def shaped_rewards(
    scores: Float[Tensor, " batch"],
    logprobs: Float[Tensor, "batch seq"],
    reference_logprobs: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    *,
    kl_coef: float,
) -> Float[Tensor, "batch seq"]:
    r"""Per-token rewards: a price on every nat, and the score where the response ends.

    .. math:: r_t = -\beta \, (\log \pi_t - \log \pi_{0,t}) + [t = e] \cdot \mathrm{score}

    Args:
        scores: one a response, in reward units, the missing-EOS handling done.
        logprobs: of the sampling policy, at the sampling temperature, in nats.
        reference_logprobs: of the frozen reference, at the same temperature.
        mask: True on response tokens, the end token among them.
        kl_coef: beta, reward units a nat, >= 0; usually 0.01 to 0.2.

    Returns:
        Rewards in reward units, detached, 0 outside the mask. A row sums to score - beta * k1.

    Raises:
        ValueError: a response has no token.

    Source: Stiennon et al. 2020, section 3.4; Ziegler et al. 2019, section 2.2.
    Differs: TRL and summarize_from_feedback_details pay the score one position after the end token,
    which costs a factor lambda and a bootstrapped value; we pay it on the last real token.
    """
    ends = last_index(mask)
    rewards = zero_outside(-kl_coef * k1(logprobs, reference_logprobs).detach(), mask)
    return rewards.scatter_add(1, ends.unsqueeze(1), scores.detach().to(rewards.dtype).unsqueeze(1))


def gae(
    rewards: Float[Tensor, "batch seq"],
    values: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    *,
    discount: float = 1.0,
    gae_lambda: float = 0.95,
) -> Advantages:
    r"""Generalised advantage estimation over one response per row.

    .. math:: A_t = \sum_{l \ge 0} (\gamma\lambda)^l \delta_{t+l}, \qquad
              \delta_t = r_t + \gamma V_{t+1} - V_t

    A response ends at its last real token, so the value after it is zero: nothing is bootstrapped.

    Args:
        rewards: per-token reward, in reward-model units (already net of any KL penalty).
        values: value head output for the state before each token, in the same units.
        mask: True on response tokens; one run of True in each row, padding on either side.
        discount: gamma, in [0, 1]. RLHF normally uses 1: a response is one short episode.
        gae_lambda: lambda, in [0, 1]. 0 is one-step TD, 1 is Monte Carlo.

    Returns:
        Advantages and returns, unwhitened, with gradients detached.

    Source: Schulman et al. 2016, "High-dimensional continuous control using GAE", eq. 11 and 16.
    """
    rewards = zero_outside(rewards.detach(), mask)
    values = zero_outside(values.detach(), mask)
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + discount * next_values - values

    running = torch.zeros_like(deltas[:, 0])
    columns: list[Tensor] = []
    for delta in reversed(deltas.unbind(dim=1)):
        running = delta + discount * gae_lambda * running
        columns.append(running)
    advantages = zero_outside(torch.stack(columns[::-1], dim=1), mask)
    return Advantages(advantages, advantages + values)


def explained_variance(
    values: Float[Tensor, "batch seq"],
    returns: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
) -> float:
    r"""How much of the spread of the returns the value head foresaw.

    .. math:: 1 - \mathrm{Var}[R - V] / \mathrm{Var}[R] \quad\text{over real tokens}

    Args:
        values: as they were when the responses were sampled, in reward units.
        returns: what `gae` makes of them.
        mask: True on response tokens.

    Returns:
        1 for perfect foresight, 0 for a constant, below 0 for worse than a constant.
    """
    error = returns - values
    spread = masked_mean((returns - masked_mean(returns, mask)).square(), mask)
    unexplained = masked_mean((error - masked_mean(error, mask)).square(), mask)
    return float(1 - unexplained / spread.clamp(min=1e-12))
