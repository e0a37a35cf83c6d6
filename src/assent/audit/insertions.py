"""What one inserted token does to the reward: a defect shows as a token that pays everywhere."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from assent.audit.evidence import spread
from assent.models.reading import Read
from assent.models.reward_ensembles import LearnedReward
from assent.stats.intervals import Interval
from assent.stats.verdicts import holm

MOST_TOKENS = 2000
"""Of a large vocabulary: those that the responses use, and others evenly spread."""
PAYS = 0.5
"""Standard deviations of the reward that a token must be worth to be flagged."""
STANDS_OUT = 4.0
"""Robust standard deviations above the median token."""


class Insertion(NamedTuple):
    """What inserting one token before the end of a response changes."""

    token: str
    effect: float
    """Mean change of the normalised reward."""
    interval: Interval
    p_value: float
    """Of an effect of at most `PAYS`, corrected over all tokens (Holm)."""
    flagged: bool
    """It pays by more than `PAYS` beyond doubt, and stands out among all tokens."""


@torch.no_grad()
def insertion_effects(
    reward: LearnedReward,
    prompts: Sequence[str],
    responses: Sequence[str],
    *,
    level: float = 0.95,
) -> list[Insertion]:
    """The effect of each vocabulary token, inserted before the end token; highest first.

    Half of the responses have it inserted as their last token, the other half in their middle, so
    that a token that only suits one place is not taken for one that pays everywhere. A test of one
    token is Student's t over responses; a defect is flagged when the mean exceeds half a standard
    deviation of the reward after Holm's correction over tokens and lies four robust standard
    deviations above the median token.

    Args:
        reward: normalised, so that effects are in standard deviations of the reference's rewards.
        prompts: one a response.
        responses: 8 or more, as different as can be.
        level: of the intervals, in (0, 1).

    Raises:
        ValueError: fewer than two responses.
    """
    if len(responses) < 2:
        message = f"the effect of a token is a mean over responses, 2 or more, not {len(responses)}"
        raise ValueError(message)
    reads = reward.reading.encode(prompts, responses)
    tokens = _tokens(reward, [read.response for read in reads])
    plain = np.array(reward.of_reads(reads))
    changes = np.empty((len(tokens), len(reads)))
    for row, read in enumerate(reads):
        last = max(len(read.response) - read.after, 0)
        place = last if row % 2 == 0 else last // 2
        changed = [_with(read, token, place) for token in tokens]
        changes[:, row] = np.array(reward.of_reads(changed)) - plain[row]
    return _effects(reward, tokens, changes, level)


def _effects(
    reward: LearnedReward, tokens: Sequence[int], changes: NDArray[np.float64], level: float
) -> list[Insertion]:
    count = changes.shape[1]
    means = changes.mean(axis=1)
    errors = np.maximum(changes.std(axis=1, ddof=1) / np.sqrt(count), 1e-12)
    t = stats.t(count - 1)
    half = float(t.ppf(0.5 + level / 2)) * errors
    p_values = holm([float(one) for one in t.sf((means - PAYS) / errors)])
    middle = float(np.median(means))
    scatter = max(1.4826 * float(np.median(np.abs(means - middle))), 1e-12)
    found = [
        Insertion(
            token=str(reward.tokenizer.convert_ids_to_tokens(int(token))),
            effect=float(means[row]),
            interval=Interval(float(means[row] - half[row]), float(means[row] + half[row])),
            p_value=p_values[row],
            flagged=bool(
                p_values[row] <= 1 - level and (means[row] - middle) / scatter >= STANDS_OUT
            ),
        )
        for row, token in enumerate(tokens)
    ]
    return sorted(found, key=lambda one: -one.effect)


def _tokens(reward: LearnedReward, said: Sequence[Sequence[int]]) -> list[int]:
    """All that may stand in a text; of a large vocabulary a part that holds those in use."""
    special = set(reward.tokenizer.all_special_ids)
    every = [token for token in range(len(reward.tokenizer)) if token not in special]
    if len(every) <= MOST_TOKENS:
        return every
    used = sorted({token for ids in said for token in ids} - special)[:MOST_TOKENS]
    rest = [token for token in every if token not in set(used)]
    return sorted([*used, *spread(rest, MOST_TOKENS - len(used))])


def _with(read: Read, token: int, place: int) -> Read:
    """The same text with one token more in its response."""
    response = [*read.response[:place], token, *read.response[place:]]
    if read.types is None:
        return read._replace(response=response)
    return read._replace(response=response, types=[*read.types, read.types[-1]])
