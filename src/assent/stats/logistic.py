"""What a choice depends on: coefficients of a logistic regression, and who pushed them there.

A row is one comparison; a feature is the difference of the first response from the second, so that
there is no intercept unless a column of ones stands for the side. The outcome is the choice, 1 for
the first, or a chance in between where the chooser is a model that states one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from scipy.special import expit

from assent.stats.intervals import Interval, bootstrap_mean
from assent.stats.intervals import cluster_totals as totals_of

_MAX_STEPS = 100
_SMALLEST_STEP = 1e-11
_FLAT = 1e-9
"""A direction that moves a coefficient less than this is none: what the linear program leaves."""


class LogisticFit(NamedTuple):
    """Logits a unit of each feature."""

    coefficients: NDArray[np.float64]
    """(features,)."""
    covariance: NDArray[np.float64]
    """(features, features); by cluster where clusters were given."""
    influence: NDArray[np.float64]
    """(rows, features): about how much each row moved each coefficient: all of it, less the fit
    without that row."""

    @property
    def standard_errors(self) -> NDArray[np.float64]:
        """(features,)."""
        return np.sqrt(np.diag(self.covariance))

    def interval(self, feature: int, level: float = 0.95) -> Interval:
        """Large-sample interval of one coefficient."""
        half = float(stats.norm.ppf(0.5 + level / 2)) * float(self.standard_errors[feature])
        middle = float(self.coefficients[feature])
        return Interval(middle - half, middle + half)


class Amplified(NamedTuple):
    """How much larger a coefficient is in one chooser than in another, on the same rows."""

    difference: float
    interval: Interval


class LengthControlled(NamedTuple):
    """A win rate, and what it would be if both responses were equally long."""

    raw: float
    raw_interval: Interval
    controlled: float
    controlled_interval: Interval
    length_coefficient: float
    """Logits a standard deviation of the length difference."""
    items: int


def fit_logistic(
    features: ArrayLike,
    outcomes: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    ridge: float = 0.0,
) -> LogisticFit:
    r"""Maximum-likelihood logistic regression without an intercept of its own.

    .. math:: \max_w \sum_i y_i \log\sigma(x_i w) + (1 - y_i)\log\sigma(-x_i w)
              - \tfrac{\rho}{2} \lVert w \rVert^2

    Args:
        features: (rows, features), any units.
        outcomes: (rows,), in [0, 1].
        clusters: one label a row; the covariance is then the clustered sandwich, otherwise the
            inverse information.
        ridge: rho >= 0; above 0 the fit exists for any outcomes, pulled towards zero.

    Raises:
        ValueError: sizes do not fit, a value is not finite or out of range, features that repeat
            one another, fewer than two clusters, or outcomes that the features tell apart
            perfectly, so that no coefficients are finite.

    Source: influence: Cook & Weisberg 1982, section 5.2; clusters: Liang & Zeger 1986.
    """
    table, truth = _checked(features, outcomes)
    spread = np.sqrt((table**2).mean(axis=0))
    if (spread == 0).any():
        message = f"feature {int(np.flatnonzero(spread == 0)[0])} is zero in every row"
        raise ValueError(message)
    unit = table / spread
    penalty = ridge / spread**2
    if np.linalg.matrix_rank(unit) < unit.shape[1] and ridge == 0:
        message = "some features repeat others, so their coefficients are not determined"
        raise ValueError(message)
    if ridge == 0 and (endless := diverging(unit, truth)).any():
        message = (
            "the features tell the outcomes apart perfectly, so no coefficient of "
            f"{', '.join(str(number) for number in np.flatnonzero(endless))} is finite; give "
            "more rows, fewer features, or a ridge above 0"
        )
        raise ValueError(message)
    weights = _newton(unit, truth, penalty)
    chance = expit(unit @ weights)
    information = (unit.T * (chance * (1 - chance))) @ unit + np.diag(penalty)
    inverse = np.linalg.inv(information)
    pull = unit * (truth - chance)[:, None]
    influence = pull @ inverse
    covariance = inverse
    if clusters is not None:
        totals = totals_of(influence.T, clusters).sums
        if totals.shape[1] < 2:
            message = f"a clustered error needs at least 2 clusters, not {totals.shape[1]}"
            raise ValueError(message)
        covariance = totals @ totals.T
    # Leaving a row out removes its pull and its share of the information.
    leverage = np.einsum("ij,jk,ik->i", unit, inverse, unit) * chance * (1 - chance)
    return LogisticFit(
        weights / spread,
        covariance / np.outer(spread, spread),
        influence / (1 - np.minimum(leverage, 0.999))[:, None] / spread,
    )


def diverging(features: ArrayLike, outcomes: ArrayLike) -> NDArray[np.bool_]:
    r"""Which coefficients have no finite maximum-likelihood estimate.

    The likelihood goes on rising along a direction d where it makes no row's outcome less likely,

    .. math:: d \cdot x_i \ge 0 \;(y_i = 1), \qquad d \cdot x_i \le 0 \;(y_i = 0), \qquad
              d \cdot x_i = 0 \;(0 < y_i < 1)

    and a coefficient runs off where some such d moves it. One feature that only ever stands on one
    side is enough: the fit stops somewhere, and its standard error says nothing.

    Args:
        features: (rows, features), of full rank: features that repeat others move freely.
        outcomes: (rows,), in [0, 1].

    Returns:
        (features,), True where the coefficient is infinite.

    Source: Albert & Anderson 1984; the linear program is Konis 2007, section 4.
    """
    table, truth = _checked(features, outcomes)
    spread = np.sqrt((table**2).mean(axis=0))
    unit = table / np.where(spread == 0, 1.0, spread)
    decided = (truth == 0) | (truth == 1)
    sides = np.unique(unit[decided] * (1 - 2 * truth[decided])[:, None], axis=0)
    ties = np.unique(unit[~decided], axis=0)
    limits = {
        "A_ub": sides if len(sides) else None,
        "b_ub": np.zeros(len(sides)) if len(sides) else None,
        "A_eq": ties if len(ties) else None,
        "b_eq": np.zeros(len(ties)) if len(ties) else None,
        "bounds": (-1, 1),
    }
    # Most often nothing separates, and the sum of all rows says so at once.
    if len(sides) and -optimize.linprog(sides.sum(axis=0), **limits).fun <= _FLAT * len(sides):
        return np.zeros(unit.shape[1], dtype=bool)
    costs = np.eye(unit.shape[1])
    return np.array(
        [
            any(-optimize.linprog(sign * cost, **limits).fun > _FLAT for sign in (1, -1))
            for cost in costs
        ]
    )


def amplified(
    first: LogisticFit,
    second: LogisticFit,
    feature: int,
    clusters: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> Amplified:
    """How much larger a coefficient is in the first fit than in the second, on the same rows.

    The two are correlated, since the rows are the same; the interval takes that off by summing the
    difference of the rows' influence within clusters.

    Raises:
        ValueError: the fits are not of the same rows, or as `fit_logistic`.
    """
    if first.influence.shape != second.influence.shape:
        message = "the two fits are of different rows"
        raise ValueError(message)
    gaps = (first.influence - second.influence)[:, feature]
    labels = np.arange(len(gaps)) if clusters is None else clusters
    sums = totals_of(gaps[None, :], labels).sums[0]
    error = float(np.sqrt((sums**2).sum()))
    difference = float(first.coefficients[feature] - second.coefficients[feature])
    half = float(stats.norm.ppf(0.5 + level / 2)) * error
    return Amplified(difference, Interval(difference - half, difference + half))


def length_controlled_win_rate(
    wins: ArrayLike,
    length_differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> LengthControlled:
    r"""Win rate as it would be with equally long responses.

    .. math:: P(\text{win}) = \sigma(\theta + \phi \tanh(\Delta\ell / s)), \qquad
              \text{controlled} = \sigma(\theta)

    s is the root mean square of the length differences. The interval refits in every sample of
    clusters. A slight ridge (0.01) keeps the fit finite when every response wins.

    Args:
        wins: 1 where the response won against its baseline, 0 lost, 0.5 tied.
        length_differences: its length less the baseline's, in any unit.
        clusters: one label an item, usually the prompt; each its own if left out.
        resamples: bootstrap samples.
        seed: of the resampling.
        level: of the intervals, in (0, 1).

    Raises:
        ValueError: as `fit_logistic`, or fewer than two clusters.

    Source: Dubois et al. 2024, "Length-controlled AlpacaEval", eq. 2, without the per-instruction
    term, which needs other models' results on the same prompts.
    """
    lengths = np.asarray(length_differences, dtype=np.float64)
    scale = float(np.sqrt((lengths**2).mean())) if lengths.size else 0.0
    shaped = np.tanh(lengths / scale) if scale > 0 else np.zeros_like(lengths)
    columns = [np.ones_like(shaped)] + ([shaped] if shaped.any() else [])
    table, truth = _checked(np.stack(columns, axis=1), wins)
    labels = np.arange(len(truth)) if clusters is None else np.asarray(clusters)
    members = np.unique(labels, return_inverse=True)[1]
    raw_interval = bootstrap_mean(truth, labels, resamples=resamples, seed=seed, level=level)
    weights = _newton(table, truth, np.full(table.shape[1], _WIN_RIDGE))
    rng = np.random.default_rng(seed)
    count = int(members.max()) + 1
    draws = []
    for _ in range(resamples):
        times = rng.multinomial(count, np.full(count, 1 / count)).astype(np.float64)[members]
        drawn = _newton(table, truth, np.full(table.shape[1], _WIN_RIDGE), times)
        draws.append(float(expit(drawn[0])))
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return LengthControlled(
        raw=float(truth.mean()),
        raw_interval=raw_interval,
        controlled=float(expit(weights[0])),
        controlled_interval=Interval(float(low), float(high)),
        length_coefficient=float(weights[1] * np.std(shaped)) if len(weights) > 1 else 0.0,
        items=len(truth),
    )


_WIN_RIDGE = 0.01


def _newton(
    unit: NDArray[np.float64],
    truth: NDArray[np.float64],
    penalty: NDArray[np.float64],
    times: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Coefficients by Newton's method, its steps shortened where the likelihood would fall."""
    often = np.ones(len(truth)) if times is None else times

    def loss(weights: NDArray[np.float64]) -> float:
        logits = unit @ weights
        fit = often @ (np.logaddexp(0.0, logits) - truth * logits)
        return float(fit + 0.5 * (penalty * weights**2).sum())

    weights = np.zeros(unit.shape[1])
    now = loss(weights)
    for _ in range(_MAX_STEPS):
        chance = expit(unit @ weights)
        gradient = unit.T @ (often * (truth - chance)) - penalty * weights
        curvature = (unit.T * (often * chance * (1 - chance))) @ unit + np.diag(penalty)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        following = loss(weights + step)
        while following > now + 1e-12 * abs(now) and np.abs(step).max() > _SMALLEST_STEP:
            step = step / 2
            following = loss(weights + step)
        weights = weights + step
        now = following
        if np.abs(step).max() <= _SMALLEST_STEP * max(1.0, float(np.abs(weights).max())):
            break
    return weights


def _checked(
    features: ArrayLike, outcomes: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = np.asarray(features, dtype=np.float64)
    truth = np.asarray(outcomes, dtype=np.float64)
    if table.ndim != 2 or truth.shape != (len(table),) or not len(table) or not table.shape[1]:
        message = (
            f"features are (rows, features), outcomes (rows,), not {table.shape}, {truth.shape}"
        )
        raise ValueError(message)
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        message = f"feature {column} of row {row} is {table[row, column]}"
        raise ValueError(message)
    bad = np.flatnonzero(~((truth >= 0) & (truth <= 1)))
    if len(bad):
        message = f"outcomes[{bad[0]}] is {truth[bad[0]]}, outside [0, 1]"
        raise ValueError(message)
    return table, truth
