"""Losses that learn from comparisons: the reward model's."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


class PreferenceLoss(NamedTuple):
    """A reward model's loss on pairs and what to watch; all but `loss` are detached."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]
    """Share of pairs, in [0, 1], with the chosen response ahead; equal scores count half."""
    margin_mean: Float[Tensor, ""]
    """Mean of chosen minus rejected score, in reward units."""


def bradley_terry_loss(
    chosen: Float[Tensor, " pair"],
    rejected: Float[Tensor, " pair"],
    *,
    margin: Float[Tensor, " pair"] | None = None,
    centre_coef: float = 0.0,
    weights: Float[Tensor, " pair"] | None = None,
    probability: Float[Tensor, " pair"] | None = None,
    normaliser: Tensor | float | int | None = None,
) -> PreferenceLoss:
    r"""Negative log-likelihood of the judgements under the Bradley-Terry model.

    .. math:: L = \frac1N \sum_i w_i \bigl(-\log\sigma(r^c_i - r^r_i - m_i)
              + \lambda (r^c_i + r^r_i)^2 \bigr)

    With probabilities q the first term is the cross-entropy
    :math:`-q_i \log\sigma(d_i) - (1 - q_i) \log\sigma(-d_i)` of :math:`d_i = r^c_i - r^r_i - m_i`.

    Args:
        chosen: scores of the responses that won, in reward units.
        rejected: scores of the responses they were compared with.
        margin: how far ahead the chosen one should be, in reward units; 0 if left out.
        centre_coef: lambda, >= 0; holds the scores near zero, which the likelihood leaves free.
            0.01 where it is used.
        weights: one a pair, >= 0; 1 if left out. A tie is the pair both ways round at 0.5 each; the
            k (k - 1) / 2 pairs of one ranking weigh one over their number.
        probability: q, from 0 to 1: how likely it is that the chosen one is the better; 1 if left
            out. A judge's own, averaged over both orders.
        normaliser: N; the sum of the weights if left out. Under accumulation, that of the window.

    Returns:
        The loss, in nats a pair, with gradient; the figures are divided by the same N.

    Raises:
        ValueError: the weights sum to zero.

    Source: Bradley & Terry 1952; Christiano et al. 2017, eq. 1; Ouyang et al. 2022, eq. 1; the
    centring term: Eisenstein et al. 2023 (arXiv 2312.09244), eq. 2; the margin: Touvron et al. 2023
    (Llama 2), eq. 2; probabilities: Bai et al. 2022 (arXiv 2212.08073), section 4.1.
    """
    weights = torch.ones_like(chosen) if weights is None else weights.to(chosen.dtype)
    total = weights.sum() if normaliser is None else normaliser
    if not bool(total > 0):
        message = f"a loss over {len(chosen)} pairs needs a positive total weight, not {total}"
        raise ValueError(message)
    ahead = chosen - rejected
    further = ahead if margin is None else ahead - margin
    losses = -logsigmoid(further)
    if probability is not None:  # -log sigma(-d) is d - log sigma(d)
        losses = losses + (1 - probability) * further
    if centre_coef:
        losses = losses + centre_coef * (chosen + rejected).square()
    with torch.no_grad():
        won = (ahead > 0).to(chosen.dtype) + 0.5 * (ahead == 0).to(chosen.dtype)
        accuracy, margin_mean = (weights * won).sum() / total, (weights * ahead).sum() / total
    return PreferenceLoss((weights * losses).sum() / total, accuracy, margin_mean)
