"""How far annotators agree: with one another, and beyond what chance alone would give.

Ratings are (annotators, items), NaN where an annotator did not rate an item; verdicts are numbers
that only name a category unless the level says otherwise. Resampling is over items: the interval is
for these annotators on items like these.
"""

import math
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, stats

from assent.stats.intervals import Interval, percentile_interval, resampled_counts, wilson

Level = Literal["nominal", "ordinal", "interval"]
"""What the numbers mean: names only, an order, or an order with distances."""

_MOST_VALUES = 200
"""Distinct ratings: the coincidences of each pair of values are counted."""


class Agreement(NamedTuple):
    """An agreement coefficient and what it rests on."""

    value: float
    interval: Interval
    items: int
    """Items that two annotators or more rated; others say nothing."""
    ratings: int
    """Ratings of those items."""


class Kappa(NamedTuple):
    """Cohen's kappa of two annotators."""

    value: float
    standard_error: float
    interval: Interval
    agreement: float
    """Share of items on which they agree."""
    expected: float
    """The share that chance gives with their marginal rates."""
    items: int


def krippendorff_alpha(ratings: ArrayLike, level: Level = "nominal") -> float:
    r"""Krippendorff's alpha: 1 is perfect agreement, 0 what chance gives, below 0 is worse.

    .. math:: \alpha = 1 - \frac{D_o}{D_e}
              = 1 - (n - 1) \frac{\sum_{ck} o_{ck} \delta^2_{ck}}{\sum_{ck} n_c n_k \delta^2_{ck}}

    Any number of annotators, and any ratings may be missing. o are the coincidences of values
    within items, each item's pairs weighted by 1 / (ratings of the item - 1); n its margins.

    Args:
        ratings: (annotators, items), NaN where there is none.
        level: nominal counts any two different values as equally far apart; ordinal by how many
            ratings lie between them; interval by their squared difference.

    Raises:
        ValueError: no item was rated twice, or all ratings are equal, so chance explains them all.

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability".
    """
    counts, values = _counts(ratings)
    coincidences = _coincidences(counts).sum(axis=0)
    return float(_alphas(np.asarray(coincidences).reshape(1, -1), values, level)[0])


def alpha_interval(
    ratings: ArrayLike,
    level: Level = "nominal",
    *,
    resamples: int = 2000,
    seed: int = 0,
    coverage: float = 0.95,
) -> Agreement:
    """Krippendorff's alpha with a percentile bootstrap over items.

    Items are drawn anew with all their ratings, so the spread of the expected disagreement is in
    the interval too. A sample in which all ratings are equal counts as alpha 1: nobody disagreed.

    Args:
        ratings: (annotators, items), NaN where there is none.
        level: as for `krippendorff_alpha`.
        resamples: bootstrap samples.
        seed: of the resampling.
        coverage: of the interval, in (0, 1).

    Raises:
        ValueError: as `krippendorff_alpha`, or fewer than two items were rated twice.

    Source: Hayes & Krippendorff 2007 resample pairs of ratings; drawing items keeps the ratings of
    one item together, which are not independent.
    """
    counts, values = _counts(ratings)
    units = len(counts)
    if units < 2:
        message = f"a bootstrap needs at least 2 items rated twice, not {units}"
        raise ValueError(message)
    table = _coincidences(counts)
    point = float(_alphas(np.asarray(table.sum(axis=0)).reshape(1, -1), values, level)[0])
    samples = resampled_counts(units, resamples=resamples, rng=np.random.default_rng(seed))
    found = [
        _alphas(np.asarray(table.T @ drawn.T).T, values, level, all_equal=1.0) for drawn in samples
    ]
    draws = np.concatenate(found)
    return Agreement(point, percentile_interval(draws, coverage), units, int(counts.sum()))


def raw_agreement(
    ratings: ArrayLike, *, resamples: int = 2000, seed: int = 0, coverage: float = 0.95
) -> Agreement:
    """Share of pairs of ratings of one item that are the same, chance not taken off.

    Every pair of annotators on an item counts once; the interval resamples items.

    Raises:
        ValueError: fewer than two items were rated twice.
    """
    counts, _ = _counts(ratings)
    units = len(counts)
    if units < 2:
        message = f"a bootstrap needs at least 2 items rated twice, not {units}"
        raise ValueError(message)
    per_item = counts.sum(axis=1)
    pairs = per_item * (per_item - 1) / 2
    same = (counts * (counts - 1) / 2).sum(axis=1)
    samples = resampled_counts(units, resamples=resamples, rng=np.random.default_rng(seed))
    found = [(drawn @ same) / (drawn @ pairs) for drawn in samples]
    interval = percentile_interval(np.concatenate(found), coverage)
    return Agreement(float(same.sum() / pairs.sum()), interval, units, int(per_item.sum()))


def cohen_kappa(first: ArrayLike, second: ArrayLike, *, coverage: float = 0.95) -> Kappa:
    r"""Cohen's kappa: how far two annotators agree beyond their marginal rates.

    .. math:: \kappa = \frac{p_o - p_e}{1 - p_e}

    Args:
        first: one annotator's rating of each item, NaN where there is none.
        second: the other's, of the same items.
        coverage: of the large-sample interval, in (0, 1).

    Raises:
        ValueError: the two are not equally long, rate no item both, or use one value alone.

    Source: Cohen 1960; standard error: Fleiss, Cohen & Everitt 1969, eq. 13.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        message = f"two annotators rate the same items, not {one.shape} and {other.shape}"
        raise ValueError(message)
    both = ~(np.isnan(one) | np.isnan(other))
    if not both.any():
        message = "the two annotators rated no item both"
        raise ValueError(message)
    values, index = np.unique(np.concatenate([one[both], other[both]]), return_inverse=True)
    count = int(both.sum())
    table = np.zeros((len(values), len(values)))
    np.add.at(table, (index[:count], index[count:]), 1 / count)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    agreed, expected = float(np.trace(table)), float(rows @ columns)
    if expected >= 1:
        message = "both annotators gave every item the same value: chance explains it all"
        raise ValueError(message)
    kappa = (agreed - expected) / (1 - expected)
    # Fleiss, Cohen & Everitt: the diagonal, the rest, and what the two share.
    diagonal = float(np.diag(table) @ (1 - (rows + columns) * (1 - kappa)) ** 2)
    crossed = table * np.add.outer(columns, rows) ** 2
    rest = (1 - kappa) ** 2 * float(crossed.sum() - np.trace(crossed))
    shared = (kappa - expected * (1 - kappa)) ** 2
    error = math.sqrt(max(diagonal + rest - shared, 0.0) / count) / (1 - expected)
    half = float(stats.norm.ppf(0.5 + coverage / 2)) * error
    return Kappa(kappa, error, Interval(kappa - half, kappa + half), agreed, expected, count)


def self_agreement(first: ArrayLike, again: ArrayLike) -> Agreement:
    """Share of items judged the same when the same annotator saw them again, Wilson interval.

    Raises:
        ValueError: the two are not equally long, or empty.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(again, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1 or not len(one):
        message = f"repeats are two equally long lists, not {one.shape} and {other.shape}"
        raise ValueError(message)
    same = int((one == other).sum())
    return Agreement(same / len(one), wilson(same, len(one)), len(one), 2 * len(one))


def accuracy_ceiling(agreement: float) -> Interval:
    r"""How accurate the best predictor of one more annotator's choice can be.

    If two annotators drawn at random agree on a share A of pairs, whoever always names the likelier
    side of each pair is right between A (they are certain on some pairs and split on the others)
    and

    .. math:: \tfrac12 (1 + \sqrt{2A - 1})

    (every pair is equally uncertain). A reward model below the lower end has something to learn;
    one above the upper end has seen the answers.

    Args:
        agreement: A, in [0.5, 1]; two annotators cannot truly agree less often than that on two
            sides, so a lower estimate counts as 0.5.
    """
    known = min(max(agreement, 0.5), 1.0)
    return Interval(known, 0.5 * (1 + math.sqrt(2 * known - 1)))


def _counts(ratings: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each item got each value, for items rated twice or more, and the values."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        message = f"ratings are (annotators, items), not of shape {table.shape}"
        raise ValueError(message)
    if np.isinf(table).any():
        message = "a rating is infinite; use NaN where there is none"
        raise ValueError(message)
    rated = ~np.isnan(table)
    values, index = np.unique(table[rated], return_inverse=True)
    if len(values) > _MOST_VALUES:
        message = f"{len(values)} distinct ratings; at most {_MOST_VALUES} can be compared"
        raise ValueError(message)
    counts = np.zeros((table.shape[1], len(values)))
    np.add.at(counts, (np.nonzero(rated)[1], index), 1)
    kept = counts[counts.sum(axis=1) >= 2]
    if not len(kept):
        message = "no item was rated by two annotators"
        raise ValueError(message)
    return kept, values


def _coincidences(counts: NDArray[np.float64]) -> sparse.csr_matrix:
    """(items, values * values): each item's ordered pairs of ratings, weighted 1 / (m - 1)."""
    items, values = counts.shape
    item, value = np.nonzero(counts)
    first, second = [], []
    # Items have few distinct values, so all pairs of the nonzero ones are few as well.
    starts = np.searchsorted(item, np.arange(items + 1))
    for start, end in pairwise(starts):
        places = np.arange(start, end)
        first.append(np.repeat(places, len(places)))
        second.append(np.tile(places, len(places)))
    one, other = np.concatenate(first), np.concatenate(second)
    given = counts[item, value]
    weights = given[one] * (given[other] - (one == other)) / (counts.sum(axis=1)[item[one]] - 1)
    columns = value[one] * values + value[other]
    return sparse.csr_matrix((weights, (item[one], columns)), shape=(items, values * values))


def _alphas(
    coincidences: NDArray[np.float64],
    values: NDArray[np.float64],
    level: Level,
    *,
    all_equal: float | None = None,
) -> NDArray[np.float64]:
    """Alpha of each row of flat coincidence matrices; `all_equal` where chance explains all."""
    size = len(values)
    tables = coincidences.reshape(-1, size, size)
    margins = tables.sum(axis=2)
    totals = margins.sum(axis=1)
    distances = _distances(margins, values, level)
    observed = (tables * distances).sum(axis=(1, 2))
    expected = np.einsum("bc,bck,bk->b", margins, distances, margins) / (totals - 1)
    flat = expected <= 0
    if flat.any() and all_equal is None:
        message = "all ratings are equal: chance explains them all, and alpha is not defined"
        raise ValueError(message)
    safe = np.where(flat, 1.0, expected)
    return np.where(flat, 1.0 if all_equal is None else all_equal, 1 - observed / safe)


def _distances(
    margins: NDArray[np.float64], values: NDArray[np.float64], level: Level
) -> NDArray[np.float64]:
    """(rows, values, values): squared distances of values at a level."""
    size = len(values)
    if level == "interval":
        table = np.subtract.outer(values, values) ** 2
    elif level == "nominal":
        table = 1.0 - np.eye(size)
    else:
        middle = np.cumsum(margins, axis=1) - margins / 2
        return np.asarray((middle[:, :, None] - middle[:, None, :]) ** 2, dtype=np.float64)
    return np.broadcast_to(table, (len(margins), size, size))
