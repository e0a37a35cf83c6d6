"""One reward out of several: what an ensemble says, and how far its members are apart."""

from jaxtyping import Float
from torch import Tensor

from assent.types import Aggregate


def aggregate(
    rewards: Float[Tensor, "member ..."], how: Aggregate, coef: float = 0.0
) -> Float[Tensor, "..."]:
    r"""One reward a response from those of all members.

    .. math:: \text{mean: } \bar r, \qquad \text{min: } \min_m r_m, \qquad
              \bar r - \lambda\,\tfrac1M \sum_m (r_m - \bar r)^2, \qquad
              \bar r - \lambda\,\mathrm{std}_m(r_m)

    Args:
        rewards: normalised rewards, so that members share a unit.
        how: mean; min, the worst case (WCO); or the mean less what the members disagree by (UWO).
        coef: lambda, >= 0, of the two that subtract.

    Source: Coste et al. 2023, "Reward model ensembles help mitigate overoptimization", eq. 2 to 4
    (the variance, over all M); the standard deviation is ours, in reward units.
    """
    if how == "mean":
        return rewards.mean(dim=0)
    if how == "min":
        return rewards.amin(dim=0)
    spread = rewards.var(dim=0, unbiased=False)
    return rewards.mean(dim=0) - coef * (spread if how == "mean_minus_variance" else spread.sqrt())


def disagreement(rewards: Float[Tensor, "member ..."]) -> Float[Tensor, "..."]:
    """Standard deviation over the members, in reward units."""
    return rewards.std(dim=0, unbiased=False)
