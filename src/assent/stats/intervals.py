"""Intervals: what range a figure measured on some prompts leaves open.

Resampling is over clusters where items are not independent (responses to one prompt, prompts about
one fact): give one label an item. The same seed gives the same interval.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_FEWEST_CLUSTERS = 2
_CHUNK_CELLS = 4_000_000
"""Resampling weights held at a time: 32 MB, whatever the number of items."""


class Interval(NamedTuple):
    """Both ends, in the units of the figure."""

    low: float
    high: float


class ClusterTotals(NamedTuple):
    """Items added up within their cluster: all a bootstrap of a mean needs."""

    sums: NDArray[np.float64]
    """(rows, clusters): for each row of values, the sum over each cluster's items."""
    counts: NDArray[np.float64]
    """(clusters,): the number of items."""
    strata: NDArray[np.int64]
    """(clusters,): the stratum of each cluster; all 0 where there is one."""


def wilson(successes: float, count: int, level: float = 0.95) -> Interval:
    """Interval of a proportion; honest at 0, at 1 and for small counts.

    Args:
        successes: how many of `count`, ties counted half.
        count: how many were tried; 0 leaves everything open, (0, 1).
        level: coverage, in (0, 1).

    Raises:
        ValueError: there are more successes than trials, or fewer than none.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    _check_level(level)
    if not 0 <= successes <= count:
        message = f"{successes} successes in {count} trials"
        raise ValueError(message)
    if count == 0:
        return Interval(0.0, 1.0)
    z = float(stats.norm.ppf(0.5 + level / 2))
    share, spread = successes / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / count + spread / (4 * count)))
    # At the two ends the formula gives 0 and 1 up to rounding, which must not leave [0, 1].
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == count else min(1.0, centre + half)
    return Interval(low, high)


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval of the mean of independent values, in their units.

    Raises:
        ValueError: there are fewer than two values, or one is not finite.
    """
    _check_level(level)
    sample = finite_vector(values, "values")
    if len(sample) < 2:
        message = f"an interval needs at least 2 values, not {len(sample)}"
        raise ValueError(message)
    t = float(stats.t.ppf(0.5 + level / 2, len(sample) - 1))
    half = t * float(sample.std(ddof=1)) / float(np.sqrt(len(sample)))
    mean = float(sample.mean())
    return Interval(mean - half, mean + half)


def bootstrap_mean(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    strata: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of the mean over items, whole clusters resampled.

    Args:
        values: one an item, in any units.
        clusters: one label an item; every item is its own cluster if left out.
        strata: one label an item, where the design fixes how many clusters of each kind there are;
            clusters are then resampled within their stratum, and the spread between strata is no
            part of the interval.
        resamples: bootstrap samples, usually 10,000.
        seed: of the resampling.
        level: coverage, in (0, 1).

    Raises:
        ValueError: fewer than two clusters, sizes that do not fit, or a value that is not finite.

    Source: Efron & Tibshirani 1993, chapter 13; clusters: Davison & Hinkley 1997, section 3.8.
    """
    _check_level(level)
    totals = cluster_totals(finite_vector(values, "values")[None, :], clusters, strata)
    means = resampled_means(totals, resamples=resamples, rng=np.random.default_rng(seed))
    return percentile_interval(means[:, 0], level)


def cluster_totals(
    values: NDArray[np.float64],
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> ClusterTotals:
    """Sum each row of `values` (rows, items) within clusters.

    Raises:
        ValueError: there is not one label an item, or a cluster lies in two strata.
    """
    items = values.shape[1]
    labels = _labels(np.arange(items) if clusters is None else clusters, items, "cluster")
    found, first, index = np.unique(labels, return_index=True, return_inverse=True)
    sums = np.zeros((values.shape[0], len(found)))
    np.add.at(sums.T, index, values.T)
    counts = np.bincount(index, minlength=len(found)).astype(np.float64)
    if strata is None:
        return ClusterTotals(sums, counts, np.zeros(len(found), dtype=np.int64))
    kinds = np.unique(_labels(strata, items, "stratum"), return_inverse=True)[1]
    torn = np.flatnonzero(kinds != kinds[first][index])
    if len(torn):
        message = f"cluster {str(labels[torn[0]])!r} lies in two strata"
        raise ValueError(message)
    return ClusterTotals(sums, counts, kinds[first])


def resampled_means(
    totals: ClusterTotals, *, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Mean of each row in each bootstrap sample of clusters: (resamples, rows).

    Raises:
        ValueError: a stratum has fewer than two clusters, so resampling would always give the same.
    """
    count = len(totals.counts)
    members = [np.flatnonzero(totals.strata == one) for one in np.unique(totals.strata)]
    fewest = min((len(one) for one in members), default=0)
    if fewest < _FEWEST_CLUSTERS:
        message = f"a bootstrap needs at least 2 clusters, not {fewest}"
        raise ValueError(message)
    means = np.empty((resamples, totals.sums.shape[0]))
    rows = max(1, _CHUNK_CELLS // count)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = np.empty((size, count))
        for one in members:
            drawn[:, one] = rng.multinomial(len(one), np.full(len(one), 1 / len(one)), size=size)
        means[start : start + size] = (drawn @ totals.sums.T) / (drawn @ totals.counts)[:, None]
    return means


def resampled_counts(
    items: int, *, resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """How often each item is in each bootstrap sample: blocks of (samples, items), 32 MB at most.

    The blocks follow one another in the generator's stream, so their size changes no result.
    """
    rows = max(1, _CHUNK_CELLS // items)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        yield rng.multinomial(items, np.full(items, 1 / items), size=size)


def _labels(labels: ArrayLike, items: int, name: str) -> NDArray[Any]:
    found: NDArray[Any] = np.asarray(labels)
    if found.shape != (items,):
        message = f"{items} items need {items} {name} labels, not shape {found.shape}"
        raise ValueError(message)
    return found


def percentile_interval(draws: NDArray[np.float64], level: float) -> Interval:
    """The central share `level` of the draws."""
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))


def finite_vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """The values as a vector of float64.

    Raises:
        ValueError: they are not one-dimensional, or one is NaN or infinite; says where.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        message = f"{name} must be a list of numbers, not of shape {vector.shape}"
        raise ValueError(message)
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        message = f"{name}[{bad[0]}] is {vector[bad[0]]}"
        raise ValueError(message)
    return vector


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        message = f"level must lie between 0 and 1, not {level}"
        raise ValueError(message)
