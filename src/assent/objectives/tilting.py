"""What KL-regularised RL aims at, and best-of-n: exactly, where every answer can be listed.

With reward r, reference pi0 and a price of beta a nat, the best policy is the reference tilted by
the reward, pi*(y) proportional to pi0(y) exp(r(y) / beta). Distributions are log-probabilities over
the last axis, which sum to one; all is computed and returned in float64. An outcome that stands for
many (say, everything off the grammar) makes the KL a lower bound and needs a reward of its own.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from assent.objectives.kl import categorical_kl


def log_partition(
    reference_logprobs: Float[Tensor, "*shape answers"],
    rewards: Float[Tensor, "*shape answers"],
    beta: float,
) -> Float[Tensor, "*shape"]:
    r"""Logarithm of Z, the normaliser of the tilt; beta times it is the best objective there is.

    .. math:: \log Z = \log \sum_y \pi_0(y) e^{r(y)/\beta}, \qquad J^* = \beta \log Z
    """
    return torch.logsumexp(_tilted(reference_logprobs, rewards, beta), dim=-1)


def tilt(
    reference_logprobs: Float[Tensor, "*shape answers"],
    rewards: Float[Tensor, "*shape answers"],
    beta: float,
) -> Float[Tensor, "*shape answers"]:
    r"""Log-probabilities of the optimum under a KL penalty.

    .. math:: \pi^*(y) = \pi_0(y) e^{r(y)/\beta} / Z

    Args:
        reference_logprobs: log pi0, in nats.
        rewards: r, in reward units.
        beta: reward units a nat, > 0.

    Raises:
        ValueError: beta is not above zero.

    Source: Korbak et al. 2022, "RL with KL penalties is better viewed as Bayesian inference";
    Rafailov et al. 2023, eq. 4.
    """
    return torch.log_softmax(_tilted(reference_logprobs, rewards, beta), dim=-1)


def objective(
    logprobs: Float[Tensor, "*shape answers"],
    reference_logprobs: Float[Tensor, "*shape answers"],
    rewards: Float[Tensor, "*shape answers"],
    beta: float,
) -> Float[Tensor, "*shape"]:
    r"""What PPO with a KL penalty maximises, in reward units.

    .. math:: J(\pi) = E_\pi[r] - \beta\,\mathrm{KL}(\pi \| \pi_0)
              = J^* - \beta\,\mathrm{KL}(\pi \| \pi^*)
    """
    logprobs = logprobs.double()
    expected = (logprobs.exp() * rewards.double()).sum(dim=-1)
    return expected - beta * categorical_kl(logprobs, reference_logprobs.double())


def effective_number(logprobs: Float[Tensor, "*shape answers"]) -> Float[Tensor, "*shape"]:
    """How many equally likely answers would be as uncertain: exp of the entropy, from 1 up."""
    logprobs = logprobs.double()
    finite = logprobs.masked_fill(logprobs == -torch.inf, 0.0)
    return torch.exp(-(logprobs.exp() * finite).sum(dim=-1))


def best_of_n(
    logprobs: Float[Tensor, "*shape answers"], scores: Float[Tensor, "*shape answers"], n: int
) -> Float[Tensor, "*shape answers"]:
    r"""Log-probabilities of the answer with the highest score among n draws, ties by lot.

    .. math:: \pi_n(y) = \pi(y)\,\frac{F(y)^n - F^-(y)^n}{F(y) - F^-(y)}

    with F(y) the chance that one draw scores at most what y does, and F^-(y) that it scores less.
    The best of n of a best of m is the best of nm: m rounds of RAFT on n samples, each learned to
    the end, are one best of n^m.

    Args:
        logprobs: log pi, in nats; an answer without probability stays without.
        scores: what the best is the best by, in any units; only their order counts.
        n: draws, 1 or more.

    Raises:
        ValueError: n is below 1.

    Source: Gao, Schulman & Hilton 2023, appendix on best-of-n; ties: Beirami et al. 2024.
    """
    _require_draws(n)
    mass = logprobs.double().exp()
    order = scores.double().argsort(dim=-1)
    ranked = scores.double().gather(-1, order)
    begins = torch.ones_like(ranked, dtype=torch.bool)
    begins[..., 1:] = ranked[..., 1:] != ranked[..., :-1]
    group = begins.cumsum(-1) - 1
    of_group = torch.zeros_like(ranked).scatter_add_(-1, group, mass.gather(-1, order))
    up_to = of_group.cumsum(-1)
    share = (of_group / up_to).clamp(max=1.0)
    # F^n - F-^n = F^n (1 - (1 - m/F)^n), m = F - F-: exact also where an answer is very rare.
    log_gain = n * up_to.log() + torch.log(-torch.expm1(n * torch.log1p(-share))) - of_group.log()
    gains = torch.empty_like(ranked).scatter_(-1, order, log_gain.gather(-1, group))
    return torch.where(mass > 0, logprobs.double() + gains, -torch.inf)


def best_of_n_kl(n: int) -> float:
    r"""KL, in nats, of the best of n samples to one sample, for scores without ties.

    .. math:: \log n - (n - 1) / n

    With ties, and over few answers, it is an upper bound (Beirami et al. 2024).

    Raises:
        ValueError: n is below 1.

    Source: Stiennon et al. 2020, appendix G.3.
    """
    _require_draws(n)
    return math.log(n) - (n - 1) / n


class TiltedSamples(NamedTuple):
    """Samples of the reference, weighted so that they stand for the tilt."""

    log_weights: Float[Tensor, "*shape samples"]
    """Of each sample; their exponentials sum to one."""
    effective: Float[Tensor, "*shape"]
    """How many samples of the tilt itself would say as much, from 1 to the number drawn."""
    log_partition: Float[Tensor, "*shape"]
    """Estimate of log Z, in nats; its exponential is without bias."""


def tilt_samples(rewards: Float[Tensor, "*shape samples"], beta: float) -> TiltedSamples:
    r"""Importance sampling from the tilt where answers cannot be listed.

    .. math:: w_i = \frac{e^{r_i/\beta}}{\sum_j e^{r_j/\beta}}, \qquad
              E_{\pi^*}[f] \approx \sum_i w_i f(y_i), \qquad
              \text{ESS} = \frac1{\sum_i w_i^2}, \qquad
              \hat Z = \frac1N \sum_i e^{r_i/\beta}

    An answer that was not drawn has no weight, so with few samples the estimates stay close to the
    reference: below an effective number of a few, they say little. Drawing from the samples by
    their weights gives samples of the tilt (`torch.multinomial`).

    Args:
        rewards: r of samples drawn from the reference, in reward units.
        beta: reward units a nat, > 0.

    Raises:
        ValueError: beta is not above zero.

    Source: Rubin 1987 (sampling importance resampling); Kong 1992 (effective sample size); Korbak
    et al. 2022 (the tilt as a posterior).
    """
    even = torch.zeros_like(rewards, dtype=torch.float64)
    exponents = _tilted(even, rewards, beta)
    log_weights = torch.log_softmax(exponents, dim=-1)
    return TiltedSamples(
        log_weights,
        torch.exp(-torch.logsumexp(2 * log_weights, dim=-1)),
        torch.logsumexp(exponents, dim=-1) - math.log(rewards.shape[-1]),
    )


class SoftValues(NamedTuple):
    """Backward recursion over a tree of tokens; index d of each tuple is the tree's depth d."""

    values: tuple[Float[Tensor, " nodes"], ...]
    """Soft value of each node, in reward units; the root's is the best objective there is."""
    policy_logprobs: tuple[Float[Tensor, "nodes branches"], ...]
    """The optimal policy's log-probability of each branch."""


def soft_values(
    step_logprobs: Sequence[Float[Tensor, "_ _"]],
    leaf_rewards: Float[Tensor, " leaves"],
    beta: float,
) -> SoftValues:
    r"""The optimum token by token: what a policy that writes from left to right should do.

    .. math:: V(s) = \beta \log \sum_a \pi_0(a|s) e^{V(sa)/\beta}, \qquad
              \pi^*(a|s) = \pi_0(a|s) e^{(V(sa) - V(s))/\beta}

    Args:
        step_logprobs: for each depth, the reference's log-probabilities, one row a node and one
            column a token. Row n's token a leads to node n * width + a of the next depth.
        leaf_rewards: reward of each finished sequence, in the order of those indices.
        beta: reward units a nat, > 0.

    Raises:
        ValueError: beta is not above zero, or the sizes do not make a tree.

    Source: Levine 2018, "RL and control as probabilistic inference".
    """
    values = [leaf_rewards.double()]
    policies: list[Tensor] = []
    for depth in range(len(step_logprobs) - 1, -1, -1):
        logprobs = step_logprobs[depth]
        if logprobs.numel() != len(values[0]):
            message = (
                f"depth {depth} has {logprobs.numel()} branches, but the depth below it has "
                f"{len(values[0])} nodes"
            )
            raise ValueError(message)
        below = values[0].reshape(logprobs.shape)
        values.insert(0, beta * log_partition(logprobs, below, beta))
        policies.insert(0, tilt(logprobs, below, beta))
    return SoftValues(tuple(values), tuple(policies))


def sequence_logprobs(step_logprobs: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, " leaves"]:
    """Log-probability of each whole sequence of such a tree: the sum along its path.

    Raises:
        ValueError: the sizes do not make a tree.
    """
    total = step_logprobs[0].new_zeros(len(step_logprobs[0]), dtype=torch.float64)
    for depth, logprobs in enumerate(step_logprobs):
        if len(logprobs) != len(total):
            message = f"depth {depth} has {len(logprobs)} nodes, not {len(total)}"
            raise ValueError(message)
        total = (total.unsqueeze(1) + logprobs.double()).flatten()
    return total


def _require_draws(n: int) -> None:
    if n < 1:
        message = f"best of n needs n of 1 or more, not {n}"
        raise ValueError(message)


def _tilted(reference_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    if not beta > 0:
        message = f"beta must be above 0 to tilt by rewards, not {beta}"
        raise ValueError(message)
    return reference_logprobs.double() + rewards.double() / beta
