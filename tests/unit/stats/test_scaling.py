"""Gao's laws recovered where they were planted, and best-of-n against all subsets."""

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from assent.stats.scaling import (
    Law,
    best_of_n,
    best_of_n_kl,
    covariance_tests,
    fit_gao,
    gao_law,
    law_peak,
    within_prompt_covariance,
)

DISTANCES = np.concatenate([[0.0], np.linspace(0.3, 3.0, 12)])


def planted(law: Law, a: float, b: float, *, noise: float, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    prompts = rng.normal(0, 2, size=200)  # what a prompt is worth anyway; it must cancel
    mean = gao_law(DISTANCES, a, b, law)[:, None]
    return np.asarray(mean + prompts + rng.normal(0, noise, size=(len(DISTANCES), 200)))


@pytest.mark.parametrize("law", ["best_of_n", "rl"])
def test_planted_coefficients_are_recovered_exactly_without_noise(law: Law) -> None:
    fit = fit_gao(DISTANCES, planted(law, 1.3, 0.4, noise=0.0), law, resamples=50)
    assert (fit.a, fit.b) == pytest.approx((1.3, 0.4), abs=1e-9)
    assert fit.peak == pytest.approx(law_peak(1.3, 0.4, law), abs=1e-6)


@pytest.mark.parametrize("law", ["best_of_n", "rl"])
def test_intervals_cover_the_planted_coefficients_as_often_as_they_say(law: Law) -> None:
    covered = np.zeros(3)
    for seed in range(60):
        fit = fit_gao(DISTANCES, planted(law, 1.3, 0.6, noise=0.5, seed=seed), law, resamples=400)
        peak = law_peak(1.3, 0.6, law).distance
        truths = ((fit.a_interval, 1.3), (fit.b_interval, 0.6), (fit.peak_distance_interval, peak))
        covered += [low <= truth <= high for (low, high), truth in truths]
    assert (covered >= 51).all()  # 57 expected


@pytest.mark.parametrize("law", ["best_of_n", "rl"])
def test_the_weights_are_those_of_least_squares(law: Law) -> None:
    """Noisy points count less: the fit equals scipy's with the same standard errors."""
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(4)
    noise = rng.uniform(0.1, 3, size=len(DISTANCES))[:, None]
    gold = gao_law(DISTANCES, 1.0, 0.3, law)[:, None] + noise * rng.normal(size=(13, 300))
    fit = fit_gao(DISTANCES, gold, law, resamples=4000)
    gains = gold[1:] - gold[0]
    errors = gains.std(axis=1) / math.sqrt(300)
    found, _ = curve_fit(
        lambda d, a, b: gao_law(d, a, b, law), DISTANCES[1:], gains.mean(axis=1), sigma=errors
    )
    assert (fit.a, fit.b) == pytest.approx(found, abs=0.02)


def test_a_law_that_only_rises_has_no_peak_and_one_that_only_falls_has_it_at_the_start() -> None:
    assert law_peak(1.0, -0.1, "best_of_n").distance == math.inf
    assert law_peak(1.0, -0.1, "rl").distance == math.inf
    assert law_peak(-1.0, 0.1, "best_of_n") == (0.0, 0.0)
    rising = fit_gao(DISTANCES, planted("best_of_n", 1.0, -0.2, noise=0.1), "best_of_n")
    assert rising.peak.distance == math.inf
    assert rising.falls_within == 0


@pytest.mark.parametrize(("law", "a", "b"), [("best_of_n", 1.0, 0.3), ("rl", 0.7, 0.5)])
def test_the_peak_is_the_highest_point_of_the_law(law: Law, a: float, b: float) -> None:
    grid = np.linspace(1e-6, 6, 200_001)
    values = gao_law(grid, a, b, law)
    peak = law_peak(a, b, law)
    assert peak.distance == pytest.approx(grid[values.argmax()], abs=1e-3)
    assert peak.gold == pytest.approx(values.max(), abs=1e-8)


def test_a_curve_that_cannot_carry_a_law_is_refused() -> None:
    with pytest.raises(ValueError, match="begin with 0"):
        fit_gao([0.1, 0.2, 0.3], np.zeros((3, 4)), "rl")
    with pytest.raises(ValueError, match="two different distances"):
        fit_gao([0.0, 0.2, 0.2], np.zeros((3, 4)), "rl")
    with pytest.raises(ValueError, match="point 1, prompt 2"):
        fit_gao([0.0, 1.0, 2.0], [[0.0] * 3, [0.0, 0.0, math.nan], [0.0] * 3], "rl")
    with pytest.raises(ValueError, match="one row a distance"):
        fit_gao([0.0, 1.0, 2.0], np.zeros((2, 3)), "rl")


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_best_of_n_is_the_mean_over_all_subsets_ties_shared(n: int) -> None:
    rng = np.random.default_rng(n)
    proxy = rng.integers(4, size=(7, 6)).astype(float)
    gold = rng.normal(size=(7, 6))
    expected = []
    for scores, worth in zip(proxy, gold, strict=True):
        best = []
        for subset in combinations(range(6), n):
            top = max(scores[i] for i in subset)
            best.append(np.mean([worth[i] for i in subset if scores[i] == top]))
        expected.append(np.mean(best))
    assert best_of_n(proxy, gold, n) == pytest.approx(expected, abs=1e-12)


def test_best_of_one_is_the_mean_and_of_all_the_best() -> None:
    proxy = np.array([[3.0, 1.0, 2.0]])
    assert best_of_n(proxy, proxy, 1) == pytest.approx([2.0])
    assert best_of_n(proxy, proxy, 3) == pytest.approx([3.0])
    with pytest.raises(ValueError, match="best of 4 needs"):
        best_of_n(proxy, proxy, 4)


def test_best_of_n_kl_is_that_of_the_density_of_the_maximum() -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    density = 16 * grid**15
    assert best_of_n_kl(16) == pytest.approx(float((density * np.log(density)).mean()), abs=1e-4)
    assert best_of_n_kl(1) == 0


def test_the_covariance_is_numpys_and_its_mean_the_slope_of_gold_along_the_tilt() -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(5, 40)), rng.normal(size=(5, 40))
    found = within_prompt_covariance(proxy, gold)
    expected = [np.cov(one, other)[0, 1] for one, other in zip(proxy, gold, strict=True)]
    assert found == pytest.approx(expected, abs=1e-12)
    # The derivative of E[gold] under weights exp(lambda * proxy), at lambda = 0.
    step = 1e-6
    weights = np.exp(step * proxy)
    tilted = (weights * gold).sum(1) / weights.sum(1)
    slope = (tilted - gold.mean(1)) / step
    assert found * 39 / 40 == pytest.approx(slope, abs=1e-4)


def test_an_onset_is_found_where_it_was_planted_and_rarely_elsewhere() -> None:
    def alarms(trend: float, seed: int) -> list[bool]:
        rng = np.random.default_rng(seed)
        points = [rng.normal(trend, 1, size=80) for _ in range(8)]
        return [test.onset for test in covariance_tests(points, resamples=1000, seed=seed)]

    assert all(all(alarms(-0.8, seed)) for seed in range(5))
    assert sum(any(alarms(0.0, seed)) for seed in range(100)) <= 11  # 2.5 expected at one side
