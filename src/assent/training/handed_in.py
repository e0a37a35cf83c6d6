"""What a caller hands to PPO from a loop of their own, checked before any weight moves."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from assent.errors import DataError, RewardError


def checked_scores(rewards: Sequence[float], count: int, minibatches: int) -> Tensor:
    """The rewards of `count` responses as a tensor.

    Raises:
        DataError: the responses do not split into minibatches.
        RewardError: not one reward a response, or one that is not a finite number.
    """
    if count % minibatches:
        message = f"{count} responses do not split into ppo.minibatches = {minibatches} equal parts"
        raise DataError(message)
    try:
        scores = torch.as_tensor(rewards, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"rewards must be numbers, one a response: {' '.join(str(error).split())}"
        raise RewardError(message) from error
    if scores.shape != (count,):
        message = f"{len(rewards)} rewards for {count} responses; give one number to each"
        raise RewardError(message)
    for number, score_given in enumerate(scores.tolist()):
        if not math.isfinite(score_given):
            message = f"reward {number} is {score_given}; a reward is a finite number"
            raise RewardError(message)
    return scores


def require_tokens(name: str, counts: Sequence[int]) -> None:
    """Refuse prompts or responses without a token.

    Raises:
        DataError: names the first one.
    """
    if 0 in counts:
        message = f"{name} {counts.index(0)} has no token; leave it out"
        raise DataError(message)
