"""How often a reward model agrees with held-out judgements, beside rules that read no content.

A reward model that does not beat "the longer one wins" has learned no more than length.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from assent.models.reward_ensembles import LearnedReward
from assent.stats.intervals import bootstrap_mean
from assent.types import PreferencePair, RewardFunction

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Rule = Callable[[str, str], float]
"""What a rule gives a response to a prompt; the higher one wins."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of held-out pairs whose chosen response scores higher; equal scores count half."""

    accuracy: float
    ci: tuple[float, float]
    """95 % bootstrap over prompts."""
    n: int

    def as_dict(self) -> dict[str, object]:
        """For `summary.json`."""
        return {"accuracy": self.accuracy, "ci": list(self.ci), "n": self.n}


def longest(prompt: str, response: str) -> float:
    """The longer response wins."""
    del prompt
    return float(len(response))


def readable(
    reward: LearnedReward,
    items: Sequence[Item],
    texts: Callable[[Item], tuple[str, str, str]],
    name: str = "pairs",
) -> list[Item]:
    """Those of which a reward model reads both responses whole; the log counts the others.

    Args:
        reward: the model.
        items: held-out pairs or judgements.
        texts: of one, the prompt and both responses.
        name: what they are, for the log.
    """
    prompts, first, second = ([texts(item)[place] for item in items] for place in range(3))
    whole = zip(items, reward.fits(prompts, first), reward.fits(prompts, second), strict=True)
    found = [item for item, *fit in whole if all(fit)]
    if len(found) < len(items):
        _log.warning(
            "%d of %d held-out %s are longer than the reward model reads and were left out",
            len(items) - len(found), len(items), name,
        )  # fmt: skip
    return found


def sides(pair: PreferencePair) -> tuple[str, str, str]:
    """Prompt, chosen and rejected response."""
    return pair.prompt, pair.chosen, pair.rejected


def reward_accuracy(reward: RewardFunction, pairs: Sequence[PreferencePair]) -> Accuracy:
    """Accuracy of a reward function on judged pairs; at least two prompts."""
    prompts = [pair.prompt for pair in pairs]
    chosen = np.array(reward(prompts, [pair.chosen for pair in pairs]))
    rejected = np.array(reward(prompts, [pair.rejected for pair in pairs]))
    won = (chosen > rejected) + 0.5 * (chosen == rejected)
    interval = bootstrap_mean(won, prompts, resamples=2000, seed=0)
    return Accuracy(float(won.mean()), (interval.low, interval.high), len(pairs))


def baseline_accuracies(
    rules: Mapping[str, Rule], pairs: Sequence[PreferencePair]
) -> dict[str, Accuracy]:
    """Accuracy of each rule on the same pairs."""
    return {name: reward_accuracy(_as_reward(rule), pairs) for name, rule in rules.items()}


def _as_reward(rule: Rule) -> RewardFunction:
    def score(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        return [rule(prompt, text) for prompt, text in zip(prompts, responses, strict=True)]

    return score
