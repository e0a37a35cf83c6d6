"""Ranking by comparisons: a strength for each contestant from who beat whom."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

_MAX_STEPS = 100
_SMALLEST_STEP = 1e-10
"""Logits; far below any standard error."""


class BradleyTerry(NamedTuple):
    """Strengths on the logit scale: sigma(strength_i - strength_j) is the chance that i beats j."""

    strengths: NDArray[np.float64]
    """(items,), mean zero."""
    covariance: NDArray[np.float64]
    """(items, items), of the estimates under the mean-zero convention."""

    @property
    def standard_errors(self) -> NDArray[np.float64]:
        """(items,), of each strength against the mean of all."""
        return np.asarray(np.sqrt(np.diag(self.covariance)), dtype=np.float64)

    def difference(self, one: int, other: int) -> tuple[float, float]:
        """Strength of `one` minus that of `other`, and its standard error."""
        variance = (
            self.covariance[one, one]
            + self.covariance[other, other]
            - 2 * self.covariance[one, other]
        )
        gap = float(self.strengths[one] - self.strengths[other])
        return gap, float(np.sqrt(max(variance, 0.0)))


def count_wins(
    first: ArrayLike, second: ArrayLike, outcome: ArrayLike, *, items: int
) -> NDArray[np.float64]:
    """Wins matrix of a list of comparisons: entry (i, j) says how often i beat j.

    Args:
        first: index of one contestant of each comparison, in [0, items).
        second: index of the other.
        outcome: 1 where the first won, 0 where the second did, 0.5 for a tie.
        items: how many contestants there are.

    Raises:
        ValueError: the lists are not equally long, an index is out of range, a contestant meets
            itself, or an outcome lies outside [0, 1]; names the comparison.
    """
    one, other = np.asarray(first, dtype=np.intp), np.asarray(second, dtype=np.intp)
    share = np.asarray(outcome, dtype=np.float64)
    if not one.shape == other.shape == share.shape or one.ndim != 1:
        message = f"comparisons need equal lists, not {one.shape}, {other.shape}, {share.shape}"
        raise ValueError(message)
    inside = (one >= 0) & (one < items) & (other >= 0) & (other < items)
    sound = inside & (one != other) & (share >= 0) & (share <= 1)
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        message = (
            f"comparison {row}: {one[row]} against {other[row]} with outcome {share[row]} "
            f"is not one of {items} contestants against another with an outcome in [0, 1]"
        )
        raise ValueError(message)
    wins = np.zeros((items, items))
    np.add.at(wins, (one, other), share)
    np.add.at(wins, (other, one), 1.0 - share)
    return wins


def fit_bradley_terry(wins: ArrayLike, *, prior_ties: float = 0.0) -> BradleyTerry:
    r"""Maximum-likelihood strengths of the Bradley-Terry model.

    .. math:: \max_s \sum_{i \ne j} w_{ij} \log \sigma(s_i - s_j), \qquad \sum_i s_i = 0

    Args:
        wins: (items, items), how often the row beat the column; a tie is half a win to each. The
            diagonal must be zero.
        prior_ties: imagined ties between each two items, >= 0. Above 0 the fit exists for any
            wins, pulled a little together; 1 is mild. 0 is the plain likelihood.

    Returns:
        Strengths, and their covariance from the observed information (imagined ties included).

    Raises:
        ValueError: the wins are not a square matrix of finite numbers >= 0 with a zero diagonal; or
            no maximum exists, because some items never lost to the rest or never met them.

    Source: Bradley & Terry 1952; existence: Ford 1957; Newton's method on a concave likelihood.
    """
    table = _checked_wins(wins)
    items = len(table)
    table = table + prior_ties / 2 * (1 - np.eye(items))
    _check_connected(table)
    games = table + table.T
    strengths = np.zeros(items)
    for _ in range(_MAX_STEPS):
        expected = games * _sigmoid(strengths[:, None] - strengths[None, :])
        gradient = (table - expected).sum(axis=1)
        step = _mean_zero_inverse(_information(games, strengths)) @ gradient
        # The likelihood is concave: a short enough step along Newton's direction always climbs.
        likelihood = _log_likelihood(table, strengths)
        while _largest(step) > _SMALLEST_STEP:
            if _log_likelihood(table, strengths + step) >= likelihood:
                break
            step = step / 2
        strengths = strengths + step
        if _largest(step) <= _SMALLEST_STEP:
            break
    return BradleyTerry(strengths, _mean_zero_inverse(_information(games, strengths)))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(x / 2)), dtype=np.float64)


def _largest(step: NDArray[np.float64]) -> float:
    return float(np.abs(step).max())


def _log_likelihood(wins: NDArray[np.float64], strengths: NDArray[np.float64]) -> float:
    gaps = strengths[:, None] - strengths[None, :]
    return float(-(wins * np.logaddexp(0.0, -gaps)).sum())


def _information(games: NDArray[np.float64], strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minus the second derivative of the log-likelihood: a weighted graph Laplacian."""
    chance = _sigmoid(strengths[:, None] - strengths[None, :])
    weights = games * chance * (1 - chance)
    return np.asarray(np.diag(weights.sum(axis=1)) - weights, dtype=np.float64)


def _mean_zero_inverse(laplacian: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pseudo-inverse of a connected Laplacian: its only null direction is the all-ones one."""
    flat = np.full_like(laplacian, 1 / len(laplacian))
    return np.asarray(np.linalg.inv(laplacian + flat) - flat, dtype=np.float64)


def _checked_wins(wins: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(wins, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        message = f"wins must be a square matrix of 2 items or more, not of shape {table.shape}"
        raise ValueError(message)
    bad = np.argwhere(~(np.isfinite(table) & (table >= 0)) | (np.eye(len(table)) * table != 0))
    if len(bad):
        row, column = bad[0]
        message = f"wins[{row}, {column}] is {table[row, column]}"
        raise ValueError(message)
    return table


def _check_connected(wins: NDArray[np.float64]) -> None:
    """The likelihood has a maximum exactly when every item beat every other along some chain."""
    parts, labels = connected_components(wins > 0, directed=True, connection="strong")
    if parts > 1:
        groups = [np.flatnonzero(labels == part).tolist() for part in range(parts)]
        message = (
            f"no maximum exists: the wins do not lead both ways between the items {groups}; "
            "compare more, or set prior_ties above 0"
        )
        raise ValueError(message)
