"""What a caller hands to a method from a loop of their own, checked before any weight moves."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assent.errors import DataError, RewardError
from assent.models.tokens import Rows, encode_prompts, rows_of


def checked_rows(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[str],
    finished: Sequence[bool] | None,
) -> tuple[Rows, Tensor]:
    """Texts as rows, and which of them ended; all, where nothing is said.

    Raises:
        DataError: the counts differ, there are none, or a prompt or response has no token.
    """
    ends = [True] * len(responses) if finished is None else list(finished)
    if not len(prompts) == len(responses) == len(ends) or not responses:
        message = (
            f"{len(prompts)} prompts, {len(responses)} responses and {len(ends)} marks of "
            "having finished; give one of each"
        )
        raise DataError(message)
    require_tokens("prompt", [len(ids) for ids in encode_prompts(tokenizer, prompts)])
    rows = rows_of(tokenizer, prompts, responses, ends)
    require_tokens("response", rows.response_mask.sum(dim=1).tolist())
    return rows, torch.tensor(ends)


def checked_scores(
    rewards: Sequence[float], count: int, minibatches: int, stage: str = "ppo"
) -> Tensor:
    """The rewards of `count` responses as a tensor.

    Raises:
        DataError: the responses do not split into minibatches.
        RewardError: not one reward a response, or one that is not a finite number.
    """
    if count % minibatches:
        message = (
            f"{count} responses do not split into {stage}.minibatches = {minibatches} equal parts"
        )
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
