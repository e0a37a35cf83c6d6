"""Over-optimisation: how gold bends as a policy is pushed away from its reference.

Distance is the square root of KL(policy || reference) in nats. Gold is measured from its value at
the reference, so that it is zero at distance zero, as both of Gao's laws have it.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from assent.stats.intervals import (
    Interval,
    bootstrap_mean,
    cluster_totals,
    finite_vector,
    percentile_interval,
    resampled_means,
)

Law = Literal["best_of_n", "rl"]
"""best_of_n: d (a - b d). rl: d (a - b log d)."""


class Peak(NamedTuple):
    """Where a law says that gold is highest."""

    distance: float
    """Square root of nats; infinite where the law only rises, zero where it only falls."""
    gold: float
    """Gold there, from the reference; infinite where the law only rises."""


class GaoFit(NamedTuple):
    """One of Gao's laws fitted to gold along training or along best-of-n."""

    law: Law
    a: float
    """Gold a unit of distance at the beginning (best-of-n), or at distance 1 (rl)."""
    b: float
    """How fast that is lost; at most zero means that no peak is predicted."""
    a_interval: Interval
    b_interval: Interval
    peak: Peak
    peak_distance_interval: Interval
    """An infinite upper end: samples in which gold never turns are within the interval."""
    falls_within: float
    """Share of bootstrap samples whose peak lies before the largest distance measured."""
    fitted: NDArray[np.float64]
    """(points,): what the law gives at each distance."""
    residual: float
    """Weighted root mean square of what the law leaves, in standard errors: about 1 if it fits."""
    points: int
    """Points at a distance above zero, the ones that count."""


class CovarianceTest(NamedTuple):
    """Covariance of gold and proxy over the responses to one prompt, averaged over prompts."""

    covariance: float
    interval: Interval
    onset: bool
    """Whether the whole interval lies below zero: more proxy now means less gold."""


def gao_law(distance: ArrayLike, a: float, b: float, law: Law) -> NDArray[np.float64]:
    r"""Gold at a distance, from the reference.

    .. math:: R_{\text{bon}}(d) = d\,(a - b\,d), \qquad R_{\text{RL}}(d) = d\,(a - b \log d)

    Args:
        distance: d >= 0, square root of nats; the law is 0 at 0.
        a: gold a unit of d.
        b: as `GaoFit.b`.
        law: which of the two.

    Source: Gao, Schulman & Hilton 2023, "Scaling laws for reward model overoptimization", eq. 1.
    """
    return np.asarray(_design(np.asarray(distance, dtype=np.float64), law) @ [a, b])


def law_peak(a: float, b: float, law: Law) -> Peak:
    r"""Where a law is highest on d >= 0.

    .. math:: d^*_{\text{bon}} = \frac{a}{2b},\; R^* = \frac{a^2}{4b}; \qquad
              d^*_{\text{RL}} = e^{a/b - 1},\; R^* = b\,e^{a/b - 1}
    """
    if law == "best_of_n":
        if a <= 0 and b >= 0:
            return Peak(0.0, 0.0)
        return Peak(a / (2 * b), a * a / (4 * b)) if b > 0 else Peak(math.inf, math.inf)
    if b <= 0:
        return Peak(math.inf, math.inf) if a > 0 or b < 0 else Peak(0.0, 0.0)
    exponent = a / b - 1
    distance = math.exp(exponent) if exponent < 700 else math.inf
    return Peak(distance, b * distance)


def fit_gao(
    distances: ArrayLike,
    gold: ArrayLike,
    law: Law,
    *,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> GaoFit:
    """Weighted least squares of one of Gao's laws, with a bootstrap over prompts.

    Both laws are linear in a and b, so there is nothing to search. Gold at each point is taken from
    gold at the first one, prompt by prompt, which takes out what the prompts share; the weight of a
    point is one over the variance of that difference. In a bootstrap sample the weights stay.

    Args:
        distances: (points,), square root of nats; the first must be 0, the reference.
        gold: (points, prompts), in gold units.
        law: which of the two.
        clusters: one label a prompt; each its own if left out.
        strata: one label a prompt; see `bootstrap_mean`.
        resamples: bootstrap samples.
        seed: of the resampling.
        level: of the intervals, in (0, 1).

    Raises:
        ValueError: sizes do not fit; the first distance is not 0, or one is negative; fewer than
            two different distances above zero; or a value that is not finite.

    Source: Gao, Schulman & Hilton 2023; weights and resampling are ours.
    """
    away = finite_vector(distances, "distances")
    table = np.asarray(gold, dtype=np.float64)
    _check_curve(away, table)
    gains = table[1:] - table[0]
    totals = cluster_totals(gains, clusters, strata)
    rng = np.random.default_rng(seed)
    draws = resampled_means(totals, resamples=resamples, rng=rng)
    means = gains.mean(axis=1)
    kept = away[1:] > 0
    errors = draws.std(axis=0)[kept]
    # A point without spread (every prompt gained the same) must not swallow all the weight.
    floor = max(float(np.median(errors)) * 1e-3, 1e-12)
    weights = 1 / np.maximum(errors, floor)
    design = _design(away[1:][kept], law) * weights[:, None]
    solve = np.linalg.pinv(design)
    a, b = (float(value) for value in solve @ (means[kept] * weights))
    coefficients = (draws[:, kept] * weights) @ solve.T
    furthest = float(away.max())
    peaks = np.array([law_peak(one, other, law).distance for one, other in coefficients])
    left = (means[kept] * weights) - design @ [a, b]
    return GaoFit(
        law=law,
        a=a,
        b=b,
        a_interval=percentile_interval(coefficients[:, 0], level),
        b_interval=percentile_interval(coefficients[:, 1], level),
        peak=law_peak(a, b, law),
        peak_distance_interval=_with_infinities(peaks, level),
        falls_within=float((peaks < furthest).mean()),
        fitted=gao_law(away, a, b, law),
        residual=float(np.sqrt((left**2).mean())),
        points=int(kept.sum()),
    )


def best_of_n(proxy: ArrayLike, gold: ArrayLike, n: int) -> NDArray[np.float64]:
    r"""Expected gold of the best of n by proxy, from N samples of each prompt, without bias.

    .. math:: \hat R_n = \sum_{i=n}^{N} \frac{\binom{i-1}{n-1}}{\binom{N}{n}}\, g_{(i)}

    where g_(i) is the gold of the sample with the i-th lowest proxy: the mean over all subsets of n
    samples. Samples with equal proxy share their gold: which of them is drawn is chance.

    Args:
        proxy: (prompts, N) proxy scores.
        gold: (prompts, N) of the same samples; pass `proxy` for the proxy's own best of n.
        n: in [1, N].

    Returns:
        (prompts,): one estimate a prompt, in gold's units.

    Raises:
        ValueError: shapes differ, a value is not finite, or n is not in [1, N].

    Source: Nakano et al. 2021, "WebGPT", appendix I.
    """
    scores, worth = _paired_samples(proxy, gold)
    count = scores.shape[1]
    if not 1 <= n <= count:
        message = f"the best of {n} needs at least that many samples a prompt, not {count}"
        raise ValueError(message)
    rank = np.arange(1, count + 1)
    weights = np.where(
        rank >= n, np.exp(_log_choose(rank - 1, n - 1) - _log_choose(np.array(count), n)), 0.0
    )
    found = np.empty(len(scores))
    for row, (one, other) in enumerate(zip(scores, worth, strict=True)):
        _, tied = np.unique(one, return_inverse=True)
        sizes = np.bincount(tied)
        ends = np.cumsum(sizes)
        shares = np.add.reduceat(weights, ends - sizes) / sizes
        found[row] = shares[tied] @ other
    return found


def best_of_n_kl(n: int) -> float:
    r"""KL of best-of-n to one sample, in nats, for scores without ties; with ties it is less.

    .. math:: \log n - \frac{n - 1}{n}

    Source: Stiennon et al. 2020, appendix G.3; that ties lower it: Beirami et al. 2024.
    """
    if n < 1:
        message = f"best of {n} is not defined"
        raise ValueError(message)
    return math.log(n) - (n - 1) / n


def within_prompt_covariance(proxy: ArrayLike, gold: ArrayLike) -> NDArray[np.float64]:
    r"""Covariance of gold and proxy over the samples of each prompt, unbiased.

    Along the tilt of a policy by the proxy, :math:`dE[\text{gold}]/d\lambda` is this covariance
    under the current policy, averaged over prompts; where it turns negative, gold begins to fall.

    Args:
        proxy: (prompts, samples), drawn from the policy in question; two samples or more.
        gold: (prompts, samples) of the same samples.

    Returns:
        (prompts,), in proxy units times gold units.

    Raises:
        ValueError: shapes differ, fewer than two samples a prompt, or a value that is not finite.
    """
    scores, worth = _paired_samples(proxy, gold)
    if scores.shape[1] < 2:
        message = "a covariance needs at least 2 samples a prompt"
        raise ValueError(message)
    one = scores - scores.mean(axis=1, keepdims=True)
    other = worth - worth.mean(axis=1, keepdims=True)
    return np.asarray((one * other).sum(axis=1) / (scores.shape[1] - 1), dtype=np.float64)


def covariance_tests(
    covariances: Sequence[ArrayLike],
    *,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[CovarianceTest]:
    """Whether over-optimisation has set in at each checkpoint, all checkpoints held at once.

    Each interval has level 1 - (1 - level) / checkpoints, so that with no covariance below zero
    anywhere a false onset is found in at most a share 1 - level of runs (Bonferroni).

    Args:
        covariances: for each checkpoint one covariance a prompt, as `within_prompt_covariance`
            gives from samples, or exact where every response can be listed.
        clusters: one label a prompt; each its own if left out.
        strata: one label a prompt; see `bootstrap_mean`.
        resamples: bootstrap samples.
        seed: of the resampling.
        level: of all intervals together, in (0, 1).

    Raises:
        ValueError: as `bootstrap_mean`.
    """
    each = 1 - (1 - level) / max(len(covariances), 1)
    found = []
    for one in covariances:
        values = finite_vector(one, "covariances")
        interval = bootstrap_mean(
            values, clusters, strata=strata, resamples=resamples, seed=seed, level=each
        )
        found.append(CovarianceTest(float(values.mean()), interval, interval.high < 0))
    return found


def _design(distance: NDArray[np.float64], law: Law) -> NDArray[np.float64]:
    if law == "best_of_n":
        return np.stack([distance, -(distance**2)], axis=-1)
    logs = np.log(np.where(distance > 0, distance, 1.0))  # d log d goes to 0 with d
    return np.stack([distance, -distance * logs], axis=-1)


def _check_curve(distances: NDArray[np.float64], gold: NDArray[np.float64]) -> None:
    if gold.ndim != 2 or len(gold) != len(distances):
        message = (
            f"gold is (points, prompts), one row a distance, not of shape {gold.shape} for "
            f"{len(distances)} distances"
        )
        raise ValueError(message)
    if not np.isfinite(gold).all():
        point, prompt = np.argwhere(~np.isfinite(gold))[0]
        message = f"gold is {gold[point, prompt]} at point {point}, prompt {prompt}"
        raise ValueError(message)
    if not len(distances) or distances[0] != 0 or (distances < 0).any():
        message = "distances begin with 0, the reference, and none is negative"
        raise ValueError(message)
    if len(np.unique(distances[distances > 0])) < 2:
        message = "a law needs gold at two different distances above zero or more"
        raise ValueError(message)


def _paired_samples(
    proxy: ArrayLike, gold: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores, worth = np.asarray(proxy, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    if scores.shape != worth.shape or scores.ndim != 2:
        message = f"proxy and gold are both (prompts, samples), not {scores.shape}, {worth.shape}"
        raise ValueError(message)
    if not (np.isfinite(scores).all() and np.isfinite(worth).all()):
        row, column = np.argwhere(~(np.isfinite(scores) & np.isfinite(worth)))[0]
        message = f"prompt {row}, sample {column}: a score is not finite"
        raise ValueError(message)
    return scores, worth


def _log_choose(count: NDArray[np.int_], k: int) -> NDArray[np.float64]:
    inside = np.maximum(count, k)  # the rest is left out by the caller
    return np.asarray(gammaln(inside + 1) - gammaln(k + 1) - gammaln(inside - k + 1))


def _with_infinities(draws: NDArray[np.float64], level: float) -> Interval:
    """As `percentile_interval`, by whole draws: infinity cannot be interpolated."""
    ranked = np.sort(draws)
    low = ranked[int((0.5 - level / 2) * (len(ranked) - 1))]
    high = ranked[math.ceil((0.5 + level / 2) * (len(ranked) - 1))]
    return Interval(float(low), float(high))
