"""Several rewards as one: a weighted sum, with what each part gave kept for the metrics."""

from collections.abc import Mapping, Sequence

from assent.config.optimiser import Precision
from assent.errors import RewardError
from assent.models.rewards import at_precision, checked_rewards
from assent.types import RewardFunction


class SummedReward:
    r"""A learned reward beside a verifiable one, or any other rewards on the same responses.

    .. math:: r(x, y) = \sum_p w_p \, r_p(x, y)

    A reward model's part is normalised (mean 0, standard deviation 1 on the reference's responses);
    a function's or a server's is taken as it comes, so its weight carries its unit.
    """

    def __init__(self, parts: Mapping[str, tuple[float, RewardFunction]]) -> None:
        """Take each part's weight and reward, by name."""
        self.parts = dict(parts)
        self.last: dict[str, list[float]] = {}
        """What each part gave the responses of the last call, its weight left out."""

    def at_precision(self, precision: Precision) -> "SummedReward":
        """The same sum of rewards, whose models are read in another precision."""
        return SummedReward(
            {
                name: (weight, at_precision(reward, precision))
                for name, (weight, reward) in self.parts.items()
            }
        )

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """The sums.

        Raises:
            RewardError: a part returned another count or a value that is not finite; names it.
        """
        found: dict[str, list[float]] = {}
        for name, (_, reward) in self.parts.items():
            try:
                found[name] = checked_rewards(reward, prompts, responses)
            except RewardError as error:
                message = f"part {name}: {error}"
                raise RewardError(message) from error
        self.last = found
        weights = [weight for weight, _ in self.parts.values()]
        return [
            sum(weight * value for weight, value in zip(weights, values, strict=True))
            for values in zip(*found.values(), strict=True)
        ]

    def figures(self) -> dict[str, float]:
        """The mean of each part over the last call, as metrics."""
        return {
            f"reward/part_mean/{name}": sum(values) / max(len(values), 1)
            for name, values in self.last.items()
        }


def part_figures(reward: RewardFunction) -> dict[str, float]:
    """The figures of a summed reward after a call; nothing of any other."""
    return reward.figures() if isinstance(reward, SummedReward) else {}
