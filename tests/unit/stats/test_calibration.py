"""Calibration against its definitions, statsmodels, and data made to be calibrated."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss

from assent.stats.calibration import (
    brier_scores,
    calibration_error,
    fit_temperature,
    log_losses,
    reliability,
)


def test_brier_and_log_loss_are_sklearns() -> None:
    rng = np.random.default_rng(0)
    margins, outcomes = rng.normal(size=200), rng.integers(2, size=200)
    chance = expit(margins)
    assert brier_scores(chance, outcomes).mean() == pytest.approx(
        brier_score_loss(outcomes, chance), abs=1e-12
    )
    assert log_losses(margins, outcomes).mean() == pytest.approx(
        log_loss(outcomes, chance), abs=1e-12
    )


def test_log_loss_stays_finite_for_any_margin() -> None:
    assert log_losses([1e4, -1e4, 0.0], [1, 1, 0]) == pytest.approx([0, 1e4, math.log(2)])


def test_bins_have_equal_mass_and_never_tear_equal_predictions_apart() -> None:
    bins = reliability(np.linspace(0, 1, 100), np.zeros(100), bins=10)
    assert [one.items for one in bins] == [10] * 10
    bins = reliability([0.2] * 6 + [0.8] * 2, [1, 0, 0, 0, 0, 0, 1, 1], bins=4)
    assert [(one.low, one.high, one.items) for one in bins] == [(0.2, 0.2, 6), (0.8, 0.8, 2)]
    assert [one.observed for one in bins] == pytest.approx([1 / 6, 1])
    assert bins[0].interval.low < 1 / 6 < bins[0].interval.high


def test_the_plug_in_error_is_its_definition() -> None:
    found = calibration_error([0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1], bins=2, resamples=20)
    assert found.plug_in == pytest.approx(0.5 * abs(0.5 - 0.1) + 0.5 * abs(1 - 0.9))
    assert (found.bins, found.items) == (2, 4)


def test_a_calibrated_model_has_the_error_that_chance_gives_and_no_more() -> None:
    """The plug-in is far from zero; its stated bias, the p-value and the debiased form tell."""
    rejected, plug_in, stated, debiased = 0, [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        chance = rng.random(300)
        found = calibration_error(chance, rng.random(300) < chance, resamples=150, seed=seed)
        rejected += found.p_value < 0.05
        plug_in.append(found.plug_in)
        stated.append(found.if_calibrated)
        debiased.append(found.debiased_rms)
    assert rejected <= 9  # 3 expected
    assert np.mean(plug_in) > 0.05
    assert np.mean(stated) == pytest.approx(np.mean(plug_in), abs=0.006)
    assert np.mean(debiased) < np.mean(plug_in) / 2


def test_a_miscalibrated_model_is_found_out_and_its_error_measured() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(20_000)
    found = calibration_error(chance, rng.random(20_000) < chance / 2, resamples=50)
    assert found.p_value < 0.05
    assert found.plug_in == pytest.approx(0.25, abs=0.02)  # the mean of p / 2
    assert found.debiased_rms == pytest.approx(math.sqrt(1 / 12), abs=0.02)  # of p^2 / 4


@pytest.mark.parametrize("seed", range(4))
def test_the_temperature_is_the_likelihoods_and_its_error_that_of_statsmodels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=300) * 10**seed
    outcomes = (rng.random(300) < expit(0.4 * margins / 10**seed)).astype(float)
    fit = fit_temperature(margins, outcomes)
    expected = sm.Logit(outcomes, margins[:, None]).fit(disp=0, tol=1e-14)
    assert fit.slope == pytest.approx(expected.params[0], rel=1e-9)
    assert fit.standard_error == pytest.approx(expected.bse[0], rel=1e-7)
    assert fit.interval == pytest.approx(expected.conf_int()[0], rel=1e-6)
    assert fit.temperature == pytest.approx(1 / fit.slope)


def test_margins_that_mislead_have_no_temperature() -> None:
    assert fit_temperature([1.0, 1.0, 1.0], [0, 0, 1]).temperature is None
    with pytest.raises(ValueError, match="every outcome goes with"):
        fit_temperature([1.0, -1.0], [1, 0])
    with pytest.raises(ValueError, match="every outcome goes against"):
        fit_temperature([1.0, -1.0], [0, 1])
    with pytest.raises(ValueError, match="all margins are zero"):
        fit_temperature([0.0, 0.0], [0, 1])


def test_predictions_that_are_no_chances_are_named() -> None:
    with pytest.raises(ValueError, match=r"predicted\[1\] is 1.5"):
        brier_scores([0.5, 1.5], [0, 1])
    with pytest.raises(ValueError, match=r"predicted\[0\] is nan"):
        reliability([math.nan], [1])
    with pytest.raises(ValueError, match="as many outcomes"):
        log_losses([0.1], [1, 0])
    with pytest.raises(ValueError, match="needs items"):
        reliability([], [])
    with pytest.raises(ValueError, match="leave ties out"):
        calibration_error([0.4], [0.5])
