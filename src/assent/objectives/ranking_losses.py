"""Losses that learn from several responses to one prompt: rankings, and the pick of the best.

One element is one prompt with its K responses, so that a step sees each prompt once; taken apart
into rows of their own, the pairs of a ranking overfit within an epoch (Ouyang et al. 2022, section
3.5). Elements are padded to one width: `mask` is True where there is a response. A rank of 0 is the
best, and equal ranks are ties.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid


class PairFigures(NamedTuple):
    """What to watch; detached. Each element counts once, by the mean over its decided pairs."""

    accuracy: Float[Tensor, ""]
    """Share of decided pairs, in [0, 1], with the better one ahead; equal scores count half."""
    margin_mean: Float[Tensor, ""]
    """Score of the better less that of the worse one, in reward units."""
    chosen_mean: Float[Tensor, ""]
    rejected_mean: Float[Tensor, ""]


def decided_pairs(
    ranks: Int[Tensor, "element response"], mask: Bool[Tensor, "element response"]
) -> Bool[Tensor, "element response response"]:
    """True at (i, j) where i is ranked above j."""
    both = mask[:, :, None] & mask[:, None, :]
    return both & (ranks[:, :, None] < ranks[:, None, :])


def all_pairs_loss(
    scores: Float[Tensor, "element response"],
    ranks: Int[Tensor, "element response"],
    mask: Bool[Tensor, "element response"],
    *,
    normaliser: float | int | None = None,
) -> Float[Tensor, ""]:
    r"""Bradley-Terry over all pairs of each ranking, every ranking at the same weight.

    .. math:: L = \frac1N \sum_e \frac{1}{|P_e|} \sum_{(i, j) \in P_e} -\log\sigma(s_i - s_j)

    P_e are the pairs of element e in which i is ranked above j: C(K, 2) of them without ties, and a
    tied pair is not one. An element without a decided pair adds nothing.

    Args:
        scores: in reward units.
        ranks: 0 is best.
        mask: where there is a response.
        normaliser: N; the number of elements if left out. Under accumulation, that of the window.

    Source: Ouyang et al. 2022, eq. 1. Differs: the mean is over decided pairs, where InstructGPT's
    rankings have no ties.
    """
    pairs = decided_pairs(ranks, mask)
    ahead = scores[:, :, None] - scores[:, None, :]
    losses = (-logsigmoid(ahead)).masked_fill(~pairs, 0.0)
    counts = pairs.sum(dim=(1, 2)).clamp(min=1)
    return (losses.sum(dim=(1, 2)) / counts).sum() / _total(scores, normaliser)


def plackett_luce_loss(
    scores: Float[Tensor, "element response"],
    ranks: Int[Tensor, "element response"],
    mask: Bool[Tensor, "element response"],
    *,
    normaliser: float | int | None = None,
) -> Float[Tensor, ""]:
    r"""Negative log-likelihood of each order under the Plackett-Luce model.

    .. math:: L = \frac1N \sum_e \sum_i
              -\log \frac{e^{s_i}}{e^{s_i} + \sum_{j:\, r_j > r_i} e^{s_j}}

    The best is chosen out of all, the next out of what is left, and so on. Of tied responses each
    is chosen out of itself and those ranked below, so that ties are not compared with each other.

    Args:
        scores: in reward units.
        ranks: 0 is best.
        mask: where there is a response.
        normaliser: N; the number of elements if left out.

    Source: Plackett 1975; Luce 1959. The treatment of ties is a composite likelihood, not a model
    of ties; see `davidson_loss` for one of pairs.
    """
    below = decided_pairs(ranks, mask)
    own = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    among = below | own
    spread = scores[:, None, :].expand(-1, scores.shape[1], -1)
    totals = spread.masked_fill(~among, -torch.inf).logsumexp(dim=2)
    losses = (totals - scores).masked_fill(~mask, 0.0)
    return losses.sum() / _total(scores, normaliser)


def pick_best_loss(
    scores: Float[Tensor, "element response"],
    ranks: Int[Tensor, "element response"],
    mask: Bool[Tensor, "element response"],
    *,
    normaliser: float | int | None = None,
) -> Float[Tensor, ""]:
    r"""Cross-entropy of the best response among all K: what is below the best is not compared.

    .. math:: L = \frac1N \sum_e -\log \frac{e^{s_b}}{\sum_i e^{s_i}}

    Args:
        scores: in reward units.
        ranks: 0 is best; each element has one best response.
        mask: where there is a response.
        normaliser: N; the number of elements if left out.

    Raises:
        ValueError: an element has no best response, or several.

    Source: Ziegler et al. 2019, eq. 1, there with K = 4.
    """
    best = (ranks == 0) & mask
    if not bool((best.sum(dim=1) == 1).all()):
        message = "each element needs exactly one response of rank 0"
        raise ValueError(message)
    logits = scores.masked_fill(~mask, -torch.inf)
    losses = logits.logsumexp(dim=1) - scores.masked_fill(~best, 0.0).sum(dim=1)
    return losses.sum() / _total(scores, normaliser)


def centring(
    scores: Float[Tensor, "element response"],
    mask: Bool[Tensor, "element response"],
    *,
    normaliser: float | int | None = None,
) -> Float[Tensor, ""]:
    r"""What holds scores near zero, which the likelihood of comparisons leaves free.

    .. math:: \frac1N \sum_e (2 \bar s_e)^2

    For a pair that is (s_1 + s_2)^2.

    Source: Eisenstein et al. 2023 (arXiv 2312.09244), eq. 2. Differs: for K responses it is twice
    their mean.
    """
    means = scores.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1)
    return (2 * means).square().sum() / _total(scores, normaliser)


@torch.no_grad()
def pair_figures(
    scores: Float[Tensor, "element response"],
    ranks: Int[Tensor, "element response"],
    mask: Bool[Tensor, "element response"],
    *,
    normaliser: float | int | None = None,
) -> PairFigures:
    """Accuracy, margin and means over decided pairs.

    Args:
        scores: in reward units.
        ranks: 0 is best.
        mask: where there is a response.
        normaliser: elements with a decided pair; those of this call if left out. With none, all
            figures are 0.
    """
    pairs = decided_pairs(ranks, mask)
    counts = pairs.sum(dim=(1, 2))
    total = max(float((counts > 0).sum()) if normaliser is None else normaliser, 1.0)
    weights = pairs.to(scores.dtype) / counts.clamp(min=1)[:, None, None]
    better, worse = scores[:, :, None], scores[:, None, :]
    ahead = better - worse
    won = (ahead > 0).to(scores.dtype) + 0.5 * (ahead == 0).to(scores.dtype)
    return PairFigures(
        (weights * won).sum() / total,
        (weights * ahead).sum() / total,
        (weights * better).sum() / total,
        (weights * worse).sum() / total,
    )


def _total(scores: Tensor, normaliser: float | int | None) -> float:
    total = float(len(scores) if normaliser is None else normaliser)
    if not total > 0:
        message = f"a loss over {len(scores)} rankings needs a positive normaliser, not {total}"
        raise ValueError(message)
    return total
