"""How much of a gain is explained by something else that changed, such as length."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assent.stats.intervals import Interval, finite_vector, percentile_interval


class Explained(NamedTuple):
    """A gain, and how much of it is left where the covariate is the same."""

    gain: float
    """Mean of the first less mean of the second."""
    gain_interval: Interval
    within: float
    """The gain at equal values of the covariate."""
    within_interval: Interval
    share: float | None
    """1 - within / gain; None where the gain is not established, so there is nothing to share."""
    share_interval: Interval | None
    overlap: float
    """Share of the first's items whose covariate the second has too; the rest is left out of
    `within`."""


def share_explained(
    first: tuple[ArrayLike, ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    bins: int = 10,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Explained:
    r"""How much of a gain in score goes with a change of a covariate.

    Items are put into bins of about equal mass by the covariate, of both sides together. Within a
    bin both sides have about the same covariate, so what they differ by there is not its doing:

    .. math:: \Delta_{\text{within}} = \frac{\sum_b n_b (\bar r^1_b - \bar r^2_b)}{\sum_b n_b},
              \qquad \text{share} = 1 - \Delta_{\text{within}} / \Delta

    n_b is the first side's number of items in a bin, over bins that both sides have. The share may
    lie below 0 (the covariate hides a gain) or above 1 (at equal covariate the score fell).

    Args:
        first: scores, covariates and clusters of the items of one side.
        second: of the other; clusters of the same name are resampled together.
        bins: wanted; fewer where many covariates are equal, and one for each value where there are
            no more values than bins.
        resamples: bootstrap samples over clusters; the bins stay.
        seed: of the resampling.
        level: of the intervals, in (0, 1).

    Raises:
        ValueError: sizes do not fit, a value is not finite, fewer than two clusters, or no bin has
            items of both sides.

    Source: Singhal et al. 2023, "A long way to go: investigating length correlations in RLHF",
    section 3; the interval is ours.
    """
    sides = [_side(side) for side in (first, second)]
    pooled = np.concatenate([covariate for _, covariate, _ in sides])
    values = np.unique(pooled)
    edges = (
        np.append(values, np.inf)
        if len(values) <= bins
        else np.unique(np.quantile(pooled, np.linspace(0, 1, bins + 1)))
    )
    names = np.unique(np.concatenate([labels for _, _, labels in sides]))
    if len(names) < 2:
        message = f"a bootstrap needs at least 2 clusters, not {len(names)}"
        raise ValueError(message)
    tables = [_table(side, edges, names) for side in sides]
    point = np.ones((1, len(names)))
    gain, within, overlap = _gains(point, tables)
    if np.isnan(within[0]):
        message = "no items of both sides have a like covariate"
        raise ValueError(message)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    gains, withins, _ = _gains(drawn.astype(np.float64), tables)
    sound = np.isfinite(gains) & np.isfinite(withins)
    gain_interval = percentile_interval(gains[sound], level)
    established = gain_interval.low > 0 or gain_interval.high < 0
    return Explained(
        gain=float(gain[0]),
        gain_interval=gain_interval,
        within=float(within[0]),
        within_interval=percentile_interval(withins[sound], level),
        share=float(1 - within[0] / gain[0]) if established else None,
        share_interval=percentile_interval(1 - withins[sound] / gains[sound], level)
        if established
        else None,
        overlap=float(overlap[0]),
    )


_Side = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]
_Table = tuple[NDArray[np.float64], NDArray[np.float64]]


def _side(side: tuple[ArrayLike, ArrayLike, ArrayLike]) -> _Side:
    scores, covariates = finite_vector(side[0], "scores"), finite_vector(side[1], "covariates")
    labels = np.asarray(side[2]).astype(np.str_)
    if not len(scores) == len(covariates) == len(labels) or not len(scores):
        message = (
            "scores, covariates and clusters must be equally many and not none, not "
            f"{len(scores)}, {len(covariates)} and {len(labels)}"
        )
        raise ValueError(message)
    return scores, covariates, labels


def _table(side: _Side, edges: NDArray[np.float64], names: NDArray[np.str_]) -> _Table:
    """(clusters, bins): sums of scores and numbers of items."""
    scores, covariates, labels = side
    count = max(len(edges) - 1, 1)
    place = np.clip(np.searchsorted(edges, covariates, side="right") - 1, 0, count - 1)
    cluster = np.searchsorted(names, labels)
    sums, items = np.zeros((len(names), count)), np.zeros((len(names), count))
    np.add.at(sums, (cluster, place), scores)
    np.add.at(items, (cluster, place), 1.0)
    return sums, items


def _gains(
    times: NDArray[np.float64], tables: list[_Table]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Gain, gain within bins and overlap of each row of cluster weights."""
    (first, first_items), (second, second_items) = (
        (times @ sums, times @ items) for sums, items in tables
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = first.sum(1) / first_items.sum(1) - second.sum(1) / second_items.sum(1)
        both = (first_items > 0) & (second_items > 0)
        gaps = np.where(both, first / first_items - second / second_items, 0.0)
        weight = np.where(both, first_items, 0.0)
        within = (gaps * weight).sum(1) / weight.sum(1)
        overlap = weight.sum(1) / first_items.sum(1)
    return gain, within, overlap
