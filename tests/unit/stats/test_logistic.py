"""Logistic regression against statsmodels, and influence against fits without the row."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import expit

from assent.stats.logistic import (
    amplified,
    diverging,
    fit_logistic,
    length_controlled_win_rate,
)

Array = NDArray[np.float64]


def choices(seed: int, rows: int = 250) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 3)) * [1, 10, 0.1]
    outcomes = rng.random(rows) < expit(features @ [0.8, -0.05, 3])
    return features, outcomes.astype(np.float64)


@pytest.mark.parametrize("seed", range(4))
def test_coefficients_and_errors_are_those_of_statsmodels(seed: int) -> None:
    features, outcomes = choices(seed)
    expected = sm.Logit(outcomes, features).fit(disp=0, tol=1e-14, maxiter=100)
    fit = fit_logistic(features, outcomes)
    assert fit.coefficients == pytest.approx(expected.params, rel=1e-9)
    assert fit.standard_errors == pytest.approx(expected.bse, rel=1e-9)
    assert fit.interval(1) == pytest.approx(expected.conf_int()[1], rel=1e-9)


def test_clustered_errors_and_fractional_outcomes_are_those_of_statsmodels() -> None:
    features, outcomes = choices(9)
    soft = 0.8 * outcomes + 0.1
    clusters = np.arange(len(soft)) // 5
    expected = sm.GLM(soft, features, family=sm.families.Binomial()).fit(
        tol=1e-14,
        maxiter=100,
        cov_type="cluster",
        cov_kwds={"groups": clusters, "use_correction": False},
    )
    fit = fit_logistic(features, soft, clusters)
    assert fit.coefficients == pytest.approx(expected.params, rel=1e-8)
    assert fit.standard_errors == pytest.approx(expected.bse, rel=1e-8)


def test_influence_is_what_leaving_a_row_out_does() -> None:
    features, outcomes = choices(3)
    fit = fit_logistic(features, outcomes)
    order = np.argsort(-np.abs(fit.influence[:, 0]))
    for row in (order[0], order[1], order[100]):
        rest = np.arange(len(outcomes)) != row
        without = fit_logistic(features[rest], outcomes[rest]).coefficients
        moved = fit.coefficients - without
        assert fit.influence[row] / fit.standard_errors == pytest.approx(
            moved / fit.standard_errors, abs=0.02
        )


def test_amplification_is_found_and_its_interval_is_of_the_difference() -> None:
    features, outcomes = choices(5, rows=2000)
    model = expit(features @ [0.8, -0.10, 3])  # twice the second coefficient
    one, other = fit_logistic(features, model), fit_logistic(features, outcomes)
    found = amplified(one, other, 1)
    assert found.difference == pytest.approx(-0.05, abs=0.02)
    assert found.interval.high < 0
    same = amplified(one, other, 0)
    assert same.interval.low < 0 < same.interval.high


def test_amplification_covers_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(100):
        features, outcomes = choices(seed)
        model = expit(features @ [0.8, -0.05, 3])
        found = amplified(fit_logistic(features, model), fit_logistic(features, outcomes), 0)
        covered += found.interval.low <= 0 <= found.interval.high
    assert covered >= 88  # 95 expected


def test_fits_that_do_not_exist_are_refused_and_a_ridge_makes_them_exist() -> None:
    table = np.array([[1.0], [2.0], [-1.0]])
    with pytest.raises(ValueError, match="tell the outcomes apart perfectly"):
        fit_logistic(table, [1, 1, 0])
    assert np.isfinite(fit_logistic(table, [1, 1, 0], ridge=1.0).coefficients).all()
    with pytest.raises(ValueError, match="repeat others"):
        fit_logistic(np.hstack([table, 2 * table]), [1, 0, 1])
    with pytest.raises(ValueError, match="feature 1 is zero"):
        fit_logistic(np.hstack([table, 0 * table]), [1, 0, 1])
    with pytest.raises(ValueError, match=r"outcomes\[2\] is 2"):
        fit_logistic(table, [0, 1, 2])
    with pytest.raises(ValueError, match="feature 0 of row 1 is nan"):
        fit_logistic([[1.0], [np.nan]], [0, 1])
    with pytest.raises(ValueError, match="at least 2 clusters"):
        fit_logistic(table, [1, 0, 1], ["a", "a", "a"])


def test_a_rare_feature_that_never_lost_has_no_estimate_and_the_others_have() -> None:
    features, outcomes = choices(1, rows=1000)
    assert not diverging(features, outcomes).any()
    rare = np.zeros((1000, 1))
    rare[np.flatnonzero(outcomes == 1)[:2]] = 1
    table = np.hstack([features, rare])
    assert diverging(table, outcomes).tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match="no coefficient of 3 is finite"):
        fit_logistic(table, outcomes)
    rare[np.flatnonzero(outcomes == 0)[0]] = 1
    assert not diverging(np.hstack([features, rare]), outcomes).any()


def test_what_diverges_is_what_a_fit_without_end_makes_grow() -> None:
    """Independent: as the ridge weakens those coefficients grow without end; others settle."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        table = rng.integers(-1, 2, size=(14, 3)).astype(float)
        if np.linalg.matrix_rank(table) < 3:
            continue
        outcomes = rng.choice([0.0, 1.0, 0.5], size=14, p=[0.25, 0.65, 0.1])
        weak, weaker = (
            np.abs(fit_logistic(table, outcomes, ridge=ridge).coefficients)
            for ridge in (1e-5, 1e-8)
        )
        assert (diverging(table, outcomes) == (weaker > weak + 1)).all(), seed


def test_a_chance_near_one_is_no_separation() -> None:
    features, _ = choices(2)
    assert not diverging(features, expit(20 * features[:, 0])).any()


def test_length_that_decides_everything_leaves_an_even_controlled_win_rate() -> None:
    rng = np.random.default_rng(0)
    longer = rng.normal(20, 20, size=600)  # mostly longer, and the longer one tends to win
    wins = (rng.random(600) < expit(2 * np.tanh(longer / 28))).astype(float)
    found = length_controlled_win_rate(wins, longer, resamples=200)
    assert found.raw > 0.65
    assert found.controlled_interval.low < 0.5 < found.controlled_interval.high
    assert found.length_coefficient > 0


def test_without_a_length_effect_the_controlled_win_rate_is_the_raw_one() -> None:
    rng = np.random.default_rng(1)
    wins = (rng.random(2000) < 0.7).astype(float)
    found = length_controlled_win_rate(wins, rng.normal(size=2000), resamples=50)
    assert found.controlled == pytest.approx(found.raw, abs=0.01)
    equal = length_controlled_win_rate([1, 0, 1, 1], [0, 0, 0, 0], resamples=50)
    assert equal.controlled == pytest.approx(0.75, abs=0.01)


def test_winning_every_time_stays_finite() -> None:
    found = length_controlled_win_rate([1] * 20, range(20), resamples=50)
    assert found.raw == 1
    assert 0.9 < found.controlled <= 1
