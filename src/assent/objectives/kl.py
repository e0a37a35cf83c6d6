"""How far the policy is from its reference, in nats, and the coefficient that prices that.

The estimators take log-probabilities of tokens sampled from the policy and return one value each;
the KL of a response is their sum over its tokens, that of a batch the mean of those sums. As a part
of the reward use k1. As a term of the loss use k2: under samples from the policy its gradient is
that of KL(policy || reference), while that of k3 is the gradient of KL(reference || policy), and
that of k1 is zero on average.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assent.objectives.logprobs import tempered_logprobs
from assent.objectives.masks import zero_outside

EXPONENT_LIMIT = 20.0
"""k3 never exponentiates more than this: exp(20) is 5e8, past any KL worth telling apart."""


def k1(
    logprobs: Float[Tensor, "*shape"], reference_logprobs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    r"""The log-ratio: unbiased for the KL, of high variance, and negative on single tokens.

    .. math:: k_1 = \log \pi(y) - \log \pi_0(y), \qquad y \sim \pi

    Source: Schulman 2020, "Approximating KL divergence" (blog).
    """
    return logprobs - reference_logprobs


def k2(
    logprobs: Float[Tensor, "*shape"], reference_logprobs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    r"""Half the squared log-ratio: never negative, biased, with an unbiased gradient of the KL.

    .. math:: k_2 = \tfrac12 (\log \pi(y) - \log \pi_0(y))^2, \qquad y \sim \pi

    Source: Schulman 2020, "Approximating KL divergence" (blog).
    """
    return 0.5 * k1(logprobs, reference_logprobs).square()


def k3(
    logprobs: Float[Tensor, "*shape"], reference_logprobs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    r"""The log-ratio with a control variate: unbiased, never negative, of low variance.

    .. math:: k_3 = e^{-k_1} - 1 + k_1

    Source: Schulman 2020, "Approximating KL divergence" (blog).
    Differs: the exponent is clamped to ±20 so that one token which the reference prefers by far
    cannot overflow; beyond it k3 is a lower bound. verl clamps the same way, and the output to ±10,
    which we leave out because it would hide a policy that has come loose.
    """
    log_ratio = k1(logprobs, reference_logprobs)
    return torch.expm1((-log_ratio).clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT)) + log_ratio


def categorical_kl(
    p_logprobs: Float[Tensor, "*shape outcomes"], q_logprobs: Float[Tensor, "*shape outcomes"]
) -> Float[Tensor, "*shape"]:
    r"""Exact KL(p || q), in nats, of distributions given in full as log-probabilities.

    .. math:: \sum_a p_a (\log p_a - \log q_a)

    Outcomes that p excludes (minus infinity) add nothing; one that q alone excludes makes it
    infinite.
    """
    excluded = p_logprobs == -torch.inf
    p_finite = p_logprobs.masked_fill(excluded, 0.0)
    q_where_needed = q_logprobs.masked_fill(excluded, 0.0)
    return (p_logprobs.exp() * (p_finite - q_where_needed)).sum(dim=-1)


def exact_kl(
    policy_logits: Float[Tensor, "batch seq vocab"],
    reference_logits: Float[Tensor, "batch seq vocab"],
    mask: Bool[Tensor, "batch seq"],
    *,
    temperature: float,
) -> Float[Tensor, "batch seq"]:
    """Exact KL(policy || reference) of the next token, in nats, by position; 0 outside the mask.

    Summed along a response sampled from the policy, it estimates the KL of whole responses without
    bias and with less variance than k1. Costs a pass over the vocabulary; for small ones and tests.
    """
    policy = tempered_logprobs(policy_logits, temperature=temperature)
    reference = tempered_logprobs(reference_logits, temperature=temperature)
    return zero_outside(categorical_kl(policy, reference), mask)


def adaptive_kl_coef(
    coef: float, kl_nats: float, *, target_nats: float, episodes: int, horizon_episodes: int
) -> float:
    r"""The next KL coefficient of a proportional controller that steers towards a target KL.

    .. math:: \beta \leftarrow \beta \, (1 + e \, n / h), \qquad
              e = \mathrm{clip}(\mathrm{KL} / \mathrm{target} - 1,\ -0.2,\ 0.2)

    Args:
        coef: the coefficient so far, reward units per nat, > 0.
        kl_nats: KL of the batch just trained on: mean over responses of the sum over tokens.
        target_nats: the wanted KL a response, > 0; usually 6.
        episodes: responses in the batch.
        horizon_episodes: how slowly to steer, > 0; usually 10,000.

    Returns:
        The coefficient for the next batch; unchanged exactly when the KL is on target.

    Source: Ziegler et al. 2019, section 2.2, and `AdaptiveKLController` of lm-human-preferences.
    """
    error = min(max(kl_nats / target_nats - 1.0, -0.2), 0.2)
    return coef * (1.0 + error * episodes / horizon_episodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedKlController:
    """A KL coefficient that stays as it is."""

    coef: float
    """Reward units a nat."""

    def after(self, kl_nats: float, episodes: int) -> "FixedKlController":
        """The controller for the next batch: this one."""
        del kl_nats, episodes
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveKlController:
    """A KL coefficient steered towards a target; `coef` is all the state there is to save."""

    coef: float
    """Reward units a nat."""
    target_nats: float = 6.0
    horizon_episodes: int = 10_000

    def after(self, kl_nats: float, episodes: int) -> "AdaptiveKlController":
        """The controller for the next batch, `adaptive_kl_coef` applied; call after the epochs."""
        coef = adaptive_kl_coef(
            self.coef,
            kl_nats,
            target_nats=self.target_nats,
            episodes=episodes,
            horizon_episodes=self.horizon_episodes,
        )
        return replace(self, coef=coef)


KlController = FixedKlController | AdaptiveKlController
