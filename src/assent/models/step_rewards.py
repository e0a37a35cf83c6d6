"""Process rewards: a response is worth what its steps are worth, each read where it ends.

The reward model is an ordinary one that was trained on ratings of beginnings of responses (axis
`step`), so the value of a step is its reward of the text up to there.
"""

import re
from collections.abc import Sequence

from assent.config.optimiser import Precision
from assent.config.rewards import StepSettings
from assent.models.rewards import at_precision
from assent.types import RewardFunction


class StepReward:
    r"""A reward over the steps of a response, in place of the response as a whole.

    .. math:: r(x, y) = \min_k r(x, y_{\le k}), \quad \text{their mean, or the last}

    Args:
        reward: of texts; called with every beginning of every response.
        settings: where steps end, and how their rewards become one.

    Source: Lightman et al. 2023, "Let's verify step by step" (arXiv 2305.20050), section 2.4;
    Uesato et al. 2022 (arXiv 2211.14275). Differs: a step is scored by a sequence classifier on the
    text up to its end, where those score a token in place; and the minimum is over rewards, not the
    product of probabilities.
    """

    def __init__(self, reward: RewardFunction, settings: StepSettings) -> None:
        self.reward, self.settings = reward, settings

    def at_precision(self, precision: Precision) -> "StepReward":
        """The same steps, whose model is read in another precision."""
        return StepReward(at_precision(self.reward, precision), self.settings)

    def by_step(self, prompts: Sequence[str], responses: Sequence[str]) -> list[list[float]]:
        """The reward at the end of each step of each response."""
        begun = [beginnings(text, self.settings.separator) for text in responses]
        asked = [prompt for prompt, texts in zip(prompts, begun, strict=True) for _ in texts]
        found = iter(self.reward(asked, [text for texts in begun for text in texts]))
        return [[float(next(found)) for _ in texts] for texts in begun]

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """One reward a response."""
        steps = self.by_step(prompts, responses)
        if self.settings.combine == "last":
            return [values[-1] for values in steps]
        if self.settings.combine == "min":
            return [min(values) for values in steps]
        return [sum(values) / len(values) for values in steps]


def beginnings(text: str, separator: str) -> list[str]:
    """The text up to the end of each step, blank ones left out; a text without a step is one."""
    ends = [found.start() for found in re.finditer(re.escape(separator), text)]
    found: list[str] = []
    start = 0
    for end in [*ends, len(text)]:
        if text[start:end].strip():
            found.append(text[:end])
        start = end
    return found or [text]
