"""Likelihoods of graded judgements: ties, strengths and ratings.

Pairs are given by how far the winner is ahead, in reward units; of a tie either response may be
taken for the winner. What a likelihood learns beside the scores (how often pairs tie, how far apart
two strengths lie) is an argument, so that its gradient comes with that of the scores.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus


def davidson_loss(
    ahead: Float[Tensor, " pair"],
    tied: Bool[Tensor, " pair"],
    log_tie_weight: Float[Tensor, ""],
    *,
    normaliser: float | int | None = None,
) -> Float[Tensor, ""]:
    r"""Negative log-likelihood of wins and ties under Davidson's model.

    .. math:: P(\text{win}) = \frac{e^{d}}{e^{d} + 1 + \nu e^{d/2}}, \qquad
              P(\text{tie}) = \frac{\nu e^{d/2}}{e^{d} + 1 + \nu e^{d/2}}

    d is the score of the winner less that of the loser. Without ties and with nu = 0 it is the
    Bradley-Terry model.

    Args:
        ahead: d; of a tie, either way round.
        tied: which pairs are ties.
        log_tie_weight: log nu. Two equal responses tie with probability nu / (2 + nu).
        normaliser: N; the number of pairs if left out. Under accumulation, that of the window.

    Source: Davidson 1970, "On extending the Bradley-Terry model to accommodate ties in paired
    comparison experiments", eq. 2.2, with strengths e^s.
    """
    total = torch.logaddexp(softplus(ahead), ahead / 2 + log_tie_weight)
    said = torch.where(tied, ahead / 2 + log_tie_weight, ahead)
    return (total - said).sum() / _total(ahead, normaliser)


def thresholds(log_steps: Float[Tensor, " level"], *, has_ties: bool) -> Float[Tensor, " level"]:
    r"""Ascending thresholds from unbounded parameters: t_k = t_{k-1} + exp(a_k).

    Args:
        log_steps: a, of as many levels as a winner can have.
        has_ties: t_0 = exp(a_0) is where a tie ends; without ties it is 0, whatever a_0.
    """
    steps = log_steps.exp()
    if not has_ties:
        steps = torch.cat([torch.zeros_like(steps[:1]), steps[1:]])
    return steps.cumsum(0)


def ordinal_loss(
    ahead: Float[Tensor, " pair"],
    levels: Int[Tensor, " pair"],
    bounds: Float[Tensor, " level"],
    *,
    normaliser: float | int | None = None,
) -> Float[Tensor, ""]:
    r"""Negative log-likelihood of strengths under a cumulative logit model, symmetric in the sides.

    .. math:: P(\text{level} > k) = \sigma(d - t_k)

    A pair is a tie where a logistic variable around d falls between -t_0 and t_0, a win by strength
    k where it falls between t_{k-1} and t_k, and one by the greatest strength above the last
    threshold. With ties and a single strength it is the model of Rao and Kupper (theta = e^{t_0}).

    Args:
        ahead: d, the winner's score less the loser's; of a tie, either way round.
        levels: 0 for a tie, 1 (the weakest) to the number of thresholds for a strength, and -1 for
            a win whose strength was not said: it is any of them.
        bounds: t, ascending, t_0 >= 0. From `thresholds`.
        normaliser: N; the number of pairs if left out. Under accumulation, that of the window.

    Raises:
        ValueError: a level is below -1 or above the number of thresholds.

    Source: McCullagh 1980, "Regression models for ordinal data", section 2; Agresti 1992, "Analysis
    of ordinal paired comparison data"; Rao & Kupper 1967, eq. 2.
    """
    most = len(bounds)
    if bool(((levels < -1) | (levels > most)).any()):
        message = f"levels go from -1 to {most}, the number of thresholds"
        raise ValueError(message)
    edges = torch.cat([-bounds[:1], bounds, bounds.new_full((1,), torch.inf)])
    # A tie lies between edges 0 and 1, strength k between k and k + 1.
    low = edges[levels.clamp(min=0) + (levels == -1).long() * 1]
    is_open = (levels == most) | (levels == -1)
    # A stand-in where nothing lies above, so that no infinity meets a gradient.
    high = torch.where(is_open, low + 1.0, edges[(levels.clamp(min=0) + 1).clamp(max=most)])
    above = logsigmoid(ahead - low)
    # log(sigma(a) - sigma(b)) = log sigma(a) + log sigma(-b) + log(1 - e^{b - a}), without loss.
    within = above + logsigmoid(high - ahead) + torch.log(-torch.expm1(low - high))
    return -torch.where(is_open, above, within).sum() / _total(ahead, normaliser)


def ratings_loss(
    predicted: Float[Tensor, "response axis"],
    ratings: Float[Tensor, "response axis"],
    given: Bool[Tensor, "response axis"],
    *,
    normaliser: float | int | None = None,
) -> Float[Tensor, ""]:
    r"""Mean squared error of ratings, every response at the same weight.

    .. math:: L = \frac1N \sum_i \frac{1}{|A_i|} \sum_{a \in A_i} (s_{ia} - y_{ia})^2

    Args:
        predicted: s, one score an axis.
        ratings: y, in the units of the scores (training takes standard deviations).
        given: the axes A_i that the response was rated on; one at least.
        normaliser: N; the number of responses if left out. Under accumulation, that of the window.

    Source: the maximum of a Gaussian likelihood; as in Wang et al. 2023, "HelpSteer", section 4.
    """
    errors = torch.where(given, predicted - ratings, 0.0).square()
    counts = given.sum(dim=1).clamp(min=1)
    return (errors.sum(dim=1) / counts).sum() / _total(predicted, normaliser)


def _total(values: Tensor, normaliser: float | int | None) -> float:
    total = float(len(values) if normaliser is None else normaliser)
    if not total > 0:
        message = f"a loss over {len(values)} judgements needs a positive normaliser, not {total}"
        raise ValueError(message)
    return total
