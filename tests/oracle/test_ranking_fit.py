"""`fit_bradley_terry` against choix, against scipy's maximum, and against what was planted."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from assent.stats.ranking import fit_bradley_terry


def test_the_strengths_are_those_choix_finds() -> None:
    """choix 0.4.1: opt_pairwise(4, every win as (row, column), tol=1e-14), less its mean."""
    wins = [[0, 7, 3, 9], [4, 0, 6, 2], [5, 1, 0, 8], [3, 6, 2, 0]]
    published = [0.32205288, -0.09583127, 0.16545546, -0.39167707]
    np.testing.assert_allclose(fit_bradley_terry(wins).strengths, published, atol=2e-7)


@pytest.mark.parametrize("seed", range(3))
def test_with_ties_the_strengths_are_the_maximum_scipy_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wins = rng.integers(0, 9, size=(4, 4)) / 2 + 0.5
    np.fill_diagonal(wins, 0.0)

    def surprise(free: NDArray[np.float64]) -> float:
        strengths = np.append(free, 0.0)
        gaps = strengths[:, None] - strengths[None, :]
        return float((wins * np.log1p(np.exp(-gaps))).sum())

    best = np.append(minimize(surprise, np.zeros(3), method="Nelder-Mead", tol=1e-10).x, 0.0)
    np.testing.assert_allclose(fit_bradley_terry(wins).strengths, best - best.mean(), atol=1e-4)


def test_two_items_have_the_log_odds_and_its_textbook_error() -> None:
    fit = fit_bradley_terry([[0.0, 30.0], [10.0, 0.0]])
    gap, error = fit.difference(0, 1)
    assert gap == pytest.approx(np.log(3.0), rel=1e-9)
    assert error == pytest.approx(np.sqrt(1 / 30 + 1 / 10), rel=1e-9)
    assert fit.difference(1, 0)[0] == -gap


def test_the_standard_errors_cover_the_planted_strengths() -> None:
    """600 worlds: each true difference lies within 1.96 standard errors about 95 times in 100."""
    rng = np.random.default_rng(0)
    strengths = np.array([0.0, 0.5, -0.4, 1.0])
    covered = []
    for _ in range(600):
        wins = np.zeros((4, 4))
        for i in range(4):
            for j in range(i + 1, 4):
                wins[i, j] = rng.binomial(40, 1 / (1 + np.exp(strengths[j] - strengths[i])))
                wins[j, i] = 40 - wins[i, j]
        fit = fit_bradley_terry(wins)
        for i, j in pairwise(range(4)):
            gap, error = fit.difference(i, j)
            covered.append(abs(gap - (strengths[i] - strengths[j])) < 1.96 * error)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
