"""Estimates that record audits bring along: shares, means and coefficients with their intervals."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from assent.audit.subject import Estimate
from assent.stats.intervals import Interval, bootstrap_mean, wilson

RESAMPLES = 2000


def missing(name: str, why: str) -> Estimate:
    """A figure that could not be measured."""
    return Estimate(name=name, estimate=None, problem=why)


def share_of_many(name: str, successes: float, count: int, level: float) -> Estimate:
    """A share of independent yes-or-no items, Wilson's interval."""
    if not count:
        return missing(name, "nothing to count")
    low, high = wilson(successes, count, level)
    return Estimate(
        name=name,
        estimate=successes / count,
        interval=(low, high),
        method=f"{100 * level:g} % Wilson",
        n=count,
        clusters=count,
    )


def mean_over(
    name: str,
    values: Sequence[float],
    clusters: Sequence[str],
    level: float,
    *,
    what: str = "prompts",
    seed: int = 0,
) -> Estimate:
    """A mean with a bootstrap over clusters; without an interval where there is one cluster."""
    if not values:
        return missing(name, "nothing to average")
    found = len(set(clusters))
    if found < 2:
        return Estimate(
            name=name, estimate=float(np.mean(values)), n=len(values), clusters=found,
            method="no interval: one of them only", problem=f"fewer than two {what}",
        )  # fmt: skip
    interval = bootstrap_mean(values, clusters, resamples=RESAMPLES, seed=seed, level=level)
    return Estimate(
        name=name,
        estimate=float(np.mean(values)),
        interval=ends(interval),
        method=f"{100 * level:g} % bootstrap over {what}, {RESAMPLES:,} resamples",
        n=len(values),
        clusters=found,
    )


def median_over(name: str, values: ArrayLike, level: float, *, seed: int = 0) -> Estimate:
    """A median with a bootstrap over items."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return missing(name, "fewer than two values")
    rng = np.random.default_rng(seed)
    draws = np.array(
        [np.median(rng.choice(sample, len(sample))) for _ in range(RESAMPLES)], dtype=np.float64
    )
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(
        name=name,
        estimate=float(np.median(sample)),
        interval=(float(low), float(high)),
        method=f"{100 * level:g} % bootstrap over items, {RESAMPLES:,} resamples",
        n=len(sample),
        clusters=len(sample),
    )


def ends(interval: Interval) -> tuple[float, float] | None:
    """Both ends as an estimate keeps them; None where one is infinite."""
    low, high = interval
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None
