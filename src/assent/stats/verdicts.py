"""From two measurements of the same items to one of four verdicts, many figures at a time.

A figure is a mean, or a ratio of two means (so much per so many), over items that may come in
clusters. It is linearised: each cluster's part in the error of the estimate adds up to it, so means
and ratios, alone and as paired differences, share one standard error and one Student's t.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from assent.stats.intervals import Interval, finite_vector

VerdictWord = Literal["improved", "regressed", "equivalent", "inconclusive"]
VERDICTS: tuple[VerdictWord, ...] = get_args(VerdictWord)
Better = Literal["higher", "lower"]


class Linear(NamedTuple):
    """An estimate, and what each cluster adds to its error."""

    estimate: float
    parts: NDArray[np.float64]
    """(clusters,): they sum to zero; clusters without weight are not there."""
    strata: NDArray[np.int64]
    """(clusters,): within these the design fixes how many clusters there are."""

    @property
    def freedom(self) -> int:
        """Degrees of freedom: clusters less strata."""
        return len(self.parts) - len(np.unique(self.strata))

    @property
    def error(self) -> float:
        """Standard error; NaN where a stratum has a single cluster."""
        total = 0.0
        for stratum in np.unique(self.strata):
            inside = self.parts[self.strata == stratum]
            if len(inside) < 2:
                return float("nan")
            total += len(inside) * float(inside.var(ddof=1))
        return float(np.sqrt(total))


class Change(NamedTuple):
    """How much higher the model is than the baseline on the same items."""

    difference: float
    interval: Interval
    """Two-sided, by Student's t over clusters; ends are infinite where nothing can be said."""
    p_change: float
    """Two-sided p-value of no difference."""
    p_equivalence: float
    """p-value of two one-sided tests against the margin."""
    clusters: int


def linearise(
    values: ArrayLike,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    keep: ArrayLike | None = None,
) -> Linear:
    """sum(values) / sum(weights), linearised over clusters.

    A cluster's part is the sum over its items of (value - ratio * weight) / sum(weights).

    Args:
        values: one an item.
        weights: one an item, 0 or more; all 1 (a mean) if left out.
        clusters: one label an item; each its own if left out.
        strata: one label an item; a cluster lies in one stratum.
        keep: clusters to have a part even if they carry no weight (for pairing two figures).

    Raises:
        ValueError: sizes do not fit, a value is not finite, or there is no weight.

    Source: Woodruff 1971; Wolter 2007, "Introduction to variance estimation", section 6.5.
    """
    over = finite_vector(values, "values")
    under = np.ones(len(over)) if weights is None else finite_vector(weights, "weights")
    labels = np.arange(len(over)) if clusters is None else np.asarray(clusters)
    kinds = np.zeros(len(over), dtype=np.int64) if strata is None else np.asarray(strata)
    if not len(over) == len(under) == len(labels) == len(kinds):
        sizes = f"{len(over)}, {len(under)}, {len(labels)} and {len(kinds)}"
        message = f"values, weights, clusters and strata must be equally many, not {sizes}"
        raise ValueError(message)
    total = float(under.sum())
    if (under < 0).any() or total <= 0:
        message = "weights must be 0 or more, and not all 0"
        raise ValueError(message)
    ratio = float(over.sum()) / total
    found, first, index = np.unique(labels, return_index=True, return_inverse=True)
    parts = np.bincount(index, (over - ratio * under) / total, len(found)).astype(np.float64)
    weighed = np.bincount(index, under, minlength=len(found)) > 0
    if keep is not None:
        weighed |= np.isin(found, np.asarray(keep))
    stratum = np.unique(kinds, return_inverse=True)[1][first]
    return Linear(ratio, parts[weighed], stratum[weighed].astype(np.int64))


def share_interval(share: Linear, level: float = 0.95) -> Interval:
    """Wilson's interval of a share whose items are clustered, weighted or not 0 or 1.

    The number of trials is the effective one, share * (1 - share) / variance, times (z / t)^2 for
    the freedom that the variance was estimated with; where all clusters are alike, it is the number
    of clusters, so that 0 of 16 does not pass for certainty.

    Source: Korn & Graubard 1998; Franco, Little, Louis & Slud 2019, "Comparative study of
    confidence intervals for proportions in complex sample surveys".
    """
    count = len(share.parts)
    centre = min(1.0, max(0.0, share.estimate))
    error = share.error
    # Rounding leaves a spread of 1e-17 where all clusters are alike.
    trials = float(count)
    if error > 1e-12 and 0 < centre < 1:
        trials = centre * (1 - centre) / error**2
        z, t = (float(one.ppf(0.5 + level / 2)) for one in (stats.norm, stats.t(share.freedom)))
        trials = min(trials * (z / t) ** 2, 1e12)
    z = float(stats.norm.ppf(0.5 + level / 2))
    spread = z * z / trials
    middle = (centre + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(centre * (1 - centre) / trials + spread / (4 * trials)))
    low = 0.0 if centre == 0 else max(0.0, middle - half)
    high = 1.0 if centre == 1 else min(1.0, middle + half)
    return Interval(low, high)


def expanded_level(level: float, freedom: int) -> float:
    """The level at which a percentile bootstrap of so few clusters covers `level`.

    Percentile intervals are narrow as if the variance were known; taking quantiles farther out
    makes them as wide as Student's t for normal data.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3.
    """
    if freedom < 1:
        return level
    t = float(stats.t.ppf(0.5 + level / 2, freedom))
    return float(1 - 2 * stats.norm.sf(t * np.sqrt((freedom + 1) / freedom)))


def paired_change(
    model: Linear, baseline: Linear, *, margin: float, span: float, level: float = 0.95
) -> Change:
    """Compare two figures over the same clusters, by Student's t on their paired parts.

    For a mean over unclustered items the p-value is that of the paired t-test, and `p_equivalence`
    that of its two one-sided tests.

    Args:
        model: linearised with `keep` so that it has the baseline's clusters.
        baseline: likewise.
        margin: > 0, the difference that would matter, in the figure's units.
        span: the most that one item's two values can differ. Where all clusters differ by the same,
            no spread is seen: all but 1 - 0.05^(1/clusters) of the items like these are then taken
            to be alike and the rest to differ by the span.
        level: coverage of the interval.

    Raises:
        ValueError: the clusters are not the same.

    Source: Schuirmann 1987 for the two one-sided tests.
    """
    if len(model.parts) != len(baseline.parts) or (model.strata != baseline.strata).any():
        message = "a paired change needs the same clusters on both sides"
        raise ValueError(message)
    difference = model.estimate - baseline.estimate
    both = Linear(difference, model.parts - baseline.parts, model.strata)
    count = len(both.parts)
    error = both.error
    if np.isnan(error):
        return Change(difference, Interval(-np.inf, np.inf), 1.0, 1.0, count)
    if error <= 1e-12 * max(1.0, abs(difference)):
        half = span * (1 - (1 - level) ** (1 / count))
        within = abs(difference) + half < margin
        beyond = abs(difference) > half
        interval = Interval(difference - half, difference + half)
        edge = 1 - level
        return Change(difference, interval, edge if beyond else 1.0, edge if within else 1.0, count)
    t = stats.t(both.freedom)
    half = float(t.ppf(0.5 + level / 2)) * error
    p_change = float(2 * t.sf(abs(difference) / error))
    p_equivalence = float(t.sf((margin - abs(difference)) / error))
    interval = Interval(difference - half, difference + half)
    return Change(difference, interval, p_change, p_equivalence, count)


def mcnemar_exact(only_model: int, only_baseline: int) -> float:
    """Two-sided exact p-value that a yes-or-no score differs between two models on the same items.

    Args:
        only_model: items the model alone got.
        only_baseline: items the baseline alone got.

    Source: McNemar 1947, with the binomial distribution in place of the chi-squared one.
    """
    count = only_model + only_baseline
    if count == 0:
        return 1.0
    return min(1.0, 2 * float(stats.binom.cdf(min(only_model, only_baseline), count, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: rejecting those at most alpha keeps the family's error at alpha.

    The k-th smallest of m is multiplied by m - k + 1 and is no smaller than the ones before it.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    values = finite_vector(p_values, "p_values")
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return [float(one) for one in adjusted]


def family_verdicts(
    changes: Sequence[Change], better: Sequence[Better], alpha: float = 0.05
) -> list[VerdictWord]:
    """One verdict a figure, the claims of a family corrected together.

    *Equivalent* where both one-sided tests reject: the difference is smaller than the margin that
    was declared, even if it is not zero. Else *improved* or *regressed* where the difference is not
    zero. Else *inconclusive*. Claims of equivalence and claims of a difference are two families,
    each held at `alpha` by Holm's method.
    """
    same = holm([change.p_equivalence for change in changes])
    other = holm([change.p_change for change in changes])
    found: list[VerdictWord] = []
    for change, wanted, p_same, p_other in zip(changes, better, same, other, strict=True):
        if p_same <= alpha:
            found.append("equivalent")
        elif p_other <= alpha:
            up = change.difference > 0
            found.append("improved" if up == (wanted == "higher") else "regressed")
        else:
            found.append("inconclusive")
    return found
