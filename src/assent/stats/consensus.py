"""Whose judgement a consensus stands for: annotators held out of it, one group beside another.

Ratings are (annotators, items), NaN where there is none, as in `agreement`; the numbers are names.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assent.stats.intervals import Interval, percentile_interval, resampled_counts


class GroupAgreement(NamedTuple):
    """Raw agreement of pairs of annotators within groups and between them."""

    within: float
    between: float
    difference: float
    """Within less between: above zero where the groups see things differently."""
    interval: Interval
    """Of the difference, over items."""
    p_value: float
    """Share of random regroupings of the annotators with a difference at least as large."""


class HeldOut(NamedTuple):
    """How often the others' consensus predicts annotators that had no part in it."""

    accuracy: NDArray[np.float64]
    """(annotators,): of each; NaN for one who rated nothing that others did."""
    mean: float
    interval: Interval
    """Of the mean, over annotators."""
    lowest_tenth: float
    """Mean over the least well predicted tenth of annotators."""
    spread: float
    """Standard deviation over annotators beyond what chance in their items gives."""


def held_out_accuracy(
    ratings: ArrayLike,
    *,
    folds: int = 10,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> HeldOut:
    """Accuracy of the consensus of some annotators on the ratings of the others.

    Annotators are dealt into folds; for each fold the consensus of an item is the commonest rating
    of everybody else, and is compared with what the fold's annotators said. Equally common ratings
    share the point.

    Args:
        ratings: (annotators, items).
        folds: at most the number of annotators.
        resamples: of annotators, for the interval of the mean.
        seed: of folds and resampling.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: fewer than two annotators, or nobody rated what another did.
    """
    table = _checked(ratings)
    count = len(table)
    if count < 2:
        message = f"annotators are held out of 2 or more, not {count}"
        raise ValueError(message)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(count) % min(folds, count)
    values = np.unique(table[~np.isnan(table)])
    said = np.stack([table == value for value in values])  # values, annotators, items
    accuracy, noise = np.full(count, np.nan), np.full(count, np.nan)
    for number in range(min(folds, count)):
        mine = np.flatnonzero(fold == number)
        votes = said[:, fold != number].sum(axis=1)
        commonest = (votes == votes.max(axis=0)) & (votes.max(axis=0) > 0)
        points = commonest / np.maximum(commonest.sum(axis=0), 1)
        judged = votes.max(axis=0) > 0
        for one in mine:
            rated = judged & ~np.isnan(table[one])
            if rated.any():
                got = (said[:, one] * points).sum(axis=0)[rated]
                accuracy[one] = got.mean()
                noise[one] = got.var() / max(len(got) - 1, 1)
    known = accuracy[~np.isnan(accuracy)]
    if len(known) < 2:
        message = "nobody rated an item that another annotator rated"
        raise ValueError(message)
    draws = rng.choice(known, size=(resamples, len(known))).mean(axis=1)
    tenth = max(1, round(len(known) / 10))
    beyond = float(known.var(ddof=1)) - float(np.nanmean(noise))
    return HeldOut(
        accuracy=accuracy,
        mean=float(known.mean()),
        interval=percentile_interval(draws, level),
        lowest_tenth=float(np.sort(known)[:tenth].mean()),
        spread=float(np.sqrt(max(beyond, 0.0))),
    )


def group_agreement(
    ratings: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> GroupAgreement:
    """Whether annotators of one group agree more with one another than with other groups.

    The interval resamples items. The p-value deals the annotators' groups out anew, which keeps
    every rating and every group's size: it is exact whatever the annotators are like.

    Args:
        ratings: (annotators, items).
        groups: one label an annotator; two groups or more, one of them with two annotators.
        resamples: of items, and regroupings.
        seed: of both.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: sizes do not fit, or no pair within a group (or between groups) shares an item.
    """
    table = _checked(ratings)
    labels = np.asarray(groups)
    if labels.shape != (len(table),):
        message = f"{len(table)} annotators need as many groups, not {labels.shape}"
        raise ValueError(message)
    rated = ~np.isnan(table)
    # For each item, by group and value: how often it was said. Pairs follow from those counts.
    values = np.unique(table[rated])
    said = np.stack([table == value for value in values]).astype(np.float64)

    def pairs(dealt: NDArray[np.int64]) -> NDArray[np.float64]:
        """(4, items): pairs within that agree, pairs within, between that agree, between."""
        members = np.eye(dealt.max() + 1)[dealt].T
        by_group = np.einsum("ga,vai->gvi", members, said)
        sizes = members @ rated
        same_in = (by_group * (by_group - 1) / 2).sum(axis=(0, 1))
        all_in = (sizes * (sizes - 1) / 2).sum(axis=0)
        together, everybody = by_group.sum(axis=0), sizes.sum(axis=0)
        same = (together * (together - 1) / 2).sum(axis=0)
        return np.stack([same_in, all_in, same - same_in, everybody * (everybody - 1) / 2 - all_in])

    def difference(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(totals[..., 0] / totals[..., 1] - totals[..., 2] / totals[..., 3])

    dealt = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    counts = pairs(dealt)
    totals = counts.sum(axis=1)
    if totals[1] == 0 or totals[3] == 0:
        where = "within a group" if totals[1] == 0 else "between groups"
        message = f"no pair of annotators {where} rated the same item"
        raise ValueError(message)
    rng = np.random.default_rng(seed)
    samples = resampled_counts(counts.shape[1], resamples=resamples, rng=rng)
    resampled = np.concatenate([drawn @ counts.T for drawn in samples])
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = difference(resampled)
    found = float(difference(totals))
    regrouped = np.array([float(difference(pairs(rng.permutation(dealt)).sum(axis=1)))
                          for _ in range(resamples)])  # fmt: skip
    return GroupAgreement(
        within=float(totals[0] / totals[1]),
        between=float(totals[2] / totals[3]),
        difference=found,
        interval=percentile_interval(draws[np.isfinite(draws)], level),
        p_value=float((1 + (regrouped >= found - 1e-12).sum()) / (1 + resamples)),
    )


def _checked(ratings: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or np.isnan(table).all():
        message = f"ratings are (annotators, items) with a rating, not of shape {table.shape}"
        raise ValueError(message)
    return table
