"""Advantages without a value head: a response against others to its prompt, or against the past.

Shapes: `batch` responses in groups of `samples` that answer one prompt, one group after the other,
padded on the right to `seq` tokens. What a group is compared on is its returns: reward units, net
of whatever KL is paid in the reward. All results are detached.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assent.objectives.masks import zero_outside

KlLevel = Literal["sequence", "token"]
GroupBaseline = Literal["rloo", "grpo", "dr_grpo"]


def returns_to_go(
    scores: Float[Tensor, " batch"],
    kl: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    *,
    kl_coef: float,
    level: KlLevel,
) -> Float[Tensor, "batch seq"]:
    r"""What each token is credited with: the score of its response, less the price of KL.

    .. math:: G_t = s - \beta \sum_{u \ge 1} k_u \ (\mathrm{sequence}), \qquad
              G_t = s - \beta \sum_{u \ge t} k_u \ (\mathrm{token})

    A token has no part in the KL of those before it, so both give the same gradient in expectation;
    leaving the past out is the less noisy of the two. A padded position stands after the end: at
    the token level it holds the score alone, which is what its response still had coming there.

    Args:
        scores: one a response, in reward units, the missing-EOS handling done.
        kl: k1 of each token against the reference, in nats.
        mask: True on response tokens.
        kl_coef: beta, reward units a nat, >= 0; 0 where KL is a term of the loss.
        level: whether a token pays for the KL of the whole response or for that from it on.

    Source: sequence: Ahmadian et al. 2024, eq. 2; token: Sutton & Barto 2018, section 13.3.
    """
    paid = kl_coef * zero_outside(kl.detach(), mask)
    price = paid.flip(1).cumsum(1).flip(1)
    if level == "sequence":
        price = price[:, :1].expand_as(paid)
    return scores.detach().to(paid.dtype).unsqueeze(1) - price


def group_advantages(
    returns: Float[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    *,
    samples: int,
    baseline: GroupBaseline,
    eps: float = 1e-6,
) -> Float[Tensor, "batch seq"]:
    r"""How much better a response did than the others to its prompt, token by token.

    .. math:: A_i = G_i - \frac{1}{k-1} \sum_{j \ne i} G_j \ (\mathrm{rloo}), \qquad
              A_i = G_i - \bar G \ (\mathrm{dr\_grpo}), \qquad
              A_i = \frac{G_i - \bar G}{\mathrm{std}(G) + \epsilon} \ (\mathrm{grpo})

    Positions are compared with the same position of the other responses; std is that of whole
    responses, divided by k - 1. Where all of a group are equal the advantage is exactly 0: nothing
    is left to rounding or to epsilon.

    Args:
        returns: from `returns_to_go`, groups one after the other.
        mask: True on response tokens.
        samples: k, responses a group, at least 2.
        baseline: rloo is unbiased; dr_grpo is (k-1)/k of it; grpo gives every prompt the same
            spread, so that prompts with nearly equal responses weigh as much as others.
        eps: epsilon of grpo, in reward units.

    Returns:
        Reward units (grpo: standard deviations), 0 outside the mask.

    Raises:
        ValueError: fewer than two samples, or the batch is no whole number of groups.

    Source: rloo: Kool et al. 2019, Ahmadian et al. 2024, eq. 8; grpo: Shao et al. 2024, section
    4.1.2; dr_grpo: Liu et al. 2025, section 3.2.
    Differs: KL paid at the token level is part of what is compared, position by position.
    """
    grouped = by_group(returns.detach(), samples)
    centred = grouped - grouped.mean(1, keepdim=True)
    if baseline == "rloo":
        centred = centred * (samples / (samples - 1))
    elif baseline == "grpo":
        centred = centred / (grouped[:, :, :1].std(1, keepdim=True) + eps)
    equal = grouped.amax(1, keepdim=True) == grouped.amin(1, keepdim=True)
    advantages = torch.where(equal, torch.zeros_like(centred), centred)
    return zero_outside(advantages.flatten(0, 1), mask)


def identical_groups(scores: Float[Tensor, " batch"], samples: int) -> Bool[Tensor, " groups"]:
    """True for each group whose responses all have one score: it has nothing to teach.

    Raises:
        ValueError: as `group_advantages`.
    """
    grouped = by_group(scores.unsqueeze(1), samples).squeeze(2)
    return grouped.amax(1) == grouped.amin(1)


def by_group(
    values: Float[Tensor, "batch seq"], samples: int
) -> Float[Tensor, "groups samples seq"]:
    """The rows of each group side by side.

    Raises:
        ValueError: fewer than two samples, or the batch is no whole number of groups.
    """
    if samples < 2 or len(values) % samples:
        message = f"{len(values)} responses are no whole number of groups of {samples}, 2 or more"
        raise ValueError(message)
    return values.reshape(len(values) // samples, samples, values.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingBaseline:
    """REINFORCE's baseline: what responses got lately; `mean` is all the state there is to save."""

    decay: float
    """How much of the mean is kept at each batch, in [0, 1)."""
    mean: float | None = None
    """In reward units; None before the first batch."""

    def advantages(
        self, returns: Float[Tensor, "batch seq"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq"]:
        r"""Returns less the mean of earlier batches, 0 outside the mask.

        .. math:: A_i = G_i - b

        Before there is an earlier batch, each response is compared with all the others of its own,
        which is as unbiased: no response is part of its own baseline. A batch of one response then
        has only itself, and advantage 0.

        Source: Williams 1992, section 4; Ahmadian et al. 2024, eq. 6.
        """
        returns = returns.detach()
        if self.mean is not None:
            return zero_outside(returns - self.mean, mask)
        others = max(len(returns) - 1, 1)
        centred = (returns - returns.mean(0, keepdim=True)) * (len(returns) / others)
        return zero_outside(centred, mask)

    def after(self, totals: Float[Tensor, " batch"]) -> "MovingBaseline":
        r"""The baseline for the next batch, from what whole responses got in this one.

        .. math:: b \leftarrow d \, b + (1 - d) \, \bar G
        """
        mean = float(totals.mean())
        if self.mean is not None:
            mean = self.decay * self.mean + (1 - self.decay) * mean
        return replace(self, mean=mean)
