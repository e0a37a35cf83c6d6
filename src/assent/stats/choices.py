"""Probabilities among listed answers, from their log-probabilities."""

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from assent.stats.intervals import finite_vector


def choice_probabilities(logprobs: Sequence[float]) -> list[float]:
    """P(answer) / sum of P over the listed answers; never underflows.

    Args:
        logprobs: log-probability of each listed answer, in nats.

    Raises:
        ValueError: there is none, or one is not finite.
    """
    values = finite_vector(logprobs, "logprobs")
    if not len(values):
        message = "there is no answer to choose from"
        raise ValueError(message)
    return [float(one) for one in np.exp(values - logsumexp(values))]


def coverage(logprobs: Sequence[float]) -> float:
    """Probability that the model gives any of the listed answers: sum of P.

    Where it is low, `choice_probabilities` says little about what the model would say.

    Source: the Inverse Scaling Prize's `total_logprob` (McKenzie et al. 2023).
    """
    return float(np.exp(min(0.0, float(logsumexp(finite_vector(logprobs, "logprobs"))))))
