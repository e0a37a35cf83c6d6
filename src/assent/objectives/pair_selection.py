"""Which two of several scored responses to one prompt make a pair: to learn from, or to be asked.

A pair is two places among the responses, of which the first is the one that scores higher.
"""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor


def best_and_worst(scores: Float[Tensor, " response"]) -> tuple[int, int]:
    """The response that scores highest and the one that scores lowest.

    The pair that a reward is surest of, and from which the most is learned of what it prefers. Of
    equal scores the earlier response is taken.

    Args:
        scores: of two responses or more, in any unit.

    Source: Dong et al. 2024, "RLHF workflow" (arXiv 2405.07863), section 3.2; rejection sampling
    in Llama 2 (Touvron et al. 2023) ranks so too.
    """
    return int(scores.argmax()), int(scores.argmin())


def most_uncertain(scores: Float[Tensor, "member response"]) -> tuple[int, int]:
    r"""The pair of which the reward models know least who wins.

    .. math:: \arg\min_{i < j} \bigl|\bar r_i - \bar r_j\bigr| \quad\text{for one model},\qquad
              \arg\max_{i < j} \mathrm{sd}_m(r^m_i - r^m_j) \quad\text{for several}

    One model can only be undecided; several can each be sure and disagree, which a judgement then
    settles. Of equal pairs the earliest is taken.

    Args:
        scores: of two responses or more, by each model, in its units.

    Source: Christiano et al. 2017, section 2.2.4 (disagreement of an ensemble); Muldrew et al. 2024
    (arXiv 2402.08114) for the margin.
    """
    members, responses = scores.shape
    pairs = torch.tensor(list(combinations(range(responses), 2)))
    margins = scores[:, pairs[:, 0]] - scores[:, pairs[:, 1]]
    mean = margins.mean(dim=0)
    value = -mean.abs() if members == 1 else margins.std(dim=0)
    place = int(value.argmax())
    one, other = pairs[place].tolist()
    return (one, other) if mean[place] >= 0 else (other, one)
