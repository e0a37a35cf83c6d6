"""Agreement coefficients against the packages that define them, and by hand."""

import tracemalloc
from collections.abc import Callable

import krippendorff
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from assent.stats.agreement import (
    Agreement,
    Level,
    accuracy_ceiling,
    alpha_interval,
    cohen_kappa,
    krippendorff_alpha,
    raw_agreement,
    self_agreement,
)

NAN = float("nan")


def ratings_with_gaps(
    seed: int, annotators: int = 5, items: int = 40, values: int = 4
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(values, size=items)
    table = np.where(
        rng.random((annotators, items)) < 0.6, truth, rng.integers(values, size=(annotators, items))
    ).astype(float)
    table[rng.random(table.shape) < 0.3] = NAN
    return table


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_the_krippendorff_package(level: Level, seed: int) -> None:
    table = ratings_with_gaps(seed)
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    assert krippendorff_alpha(table, level) == pytest.approx(expected, abs=1e-9)


def test_alpha_is_one_when_all_agree_and_zero_on_average_when_they_guess() -> None:
    assert krippendorff_alpha([[1, 2, 3, 1], [1, 2, 3, 1]]) == 1
    rng = np.random.default_rng(0)
    guesses = [krippendorff_alpha(rng.integers(2, size=(3, 200))) for _ in range(50)]
    assert abs(np.mean(guesses)) < 3 * np.std(guesses) / np.sqrt(50)


def test_items_rated_once_say_nothing() -> None:
    table = ratings_with_gaps(1)
    alone = np.full((table.shape[0], 3), NAN)
    alone[0] = 2
    both = np.hstack([table, alone])
    assert krippendorff_alpha(both) == pytest.approx(krippendorff_alpha(table), abs=1e-12)
    assert alpha_interval(both).items == alpha_interval(table).items


def test_alpha_that_is_not_defined_is_refused() -> None:
    with pytest.raises(ValueError, match="all ratings are equal"):
        krippendorff_alpha([[1, 1], [1, 1]])
    with pytest.raises(ValueError, match="no item was rated by two"):
        krippendorff_alpha([[1, NAN], [NAN, 1]])
    with pytest.raises(ValueError, match="at least 2 items"):
        alpha_interval([[1], [2]])


def test_the_bootstrap_interval_covers_the_alpha_of_many_items() -> None:
    truth = krippendorff_alpha(ratings_with_gaps(99, items=20_000))
    covered = 0
    for seed in range(60):
        interval = alpha_interval(ratings_with_gaps(seed, items=60), resamples=400).interval
        covered += interval.low <= truth <= interval.high
    assert covered >= 51  # 57 expected; binomial(60, .95) is below 51 less than once in 100


def test_raw_agreement_counts_pairs_of_annotators_on_an_item() -> None:
    # Item one: three ratings, one pair of three agrees. Item two: one pair, which agrees.
    found = raw_agreement([[1.0, 2.0], [1.0, 2.0], [3.0, NAN]])
    assert found.value == pytest.approx(2 / 4)
    assert (found.items, found.ratings) == (2, 5)
    assert found.interval.low <= found.value <= found.interval.high


@pytest.mark.parametrize("seed", range(4))
def test_kappa_and_its_error_are_those_of_statsmodels_and_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(3, size=80)
    second = np.where(rng.random(80) < 0.5, first, rng.integers(3, size=80))
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1)
    expected = cohens_kappa(table)
    found = cohen_kappa(first, second)
    assert found.value == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found.value == pytest.approx(expected.kappa, abs=1e-9)
    assert found.standard_error == pytest.approx(expected.std_kappa, abs=1e-9)


def test_kappa_needs_shared_items_and_two_values() -> None:
    with pytest.raises(ValueError, match="no item both"):
        cohen_kappa([1, NAN], [NAN, 1])
    with pytest.raises(ValueError, match="the same value"):
        cohen_kappa([1, 1], [1, 1])


def test_an_annotator_who_repeats_himself_agrees_with_himself() -> None:
    found = self_agreement([1, 2, 1, 2], [1, 2, 1, 1])
    assert found.value == 0.75
    assert found.interval.low < 0.75 < found.interval.high


def test_the_ceiling_holds_for_annotators_of_any_mixture() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        chances = rng.beta(rng.uniform(0.2, 5), rng.uniform(0.2, 5), size=int(rng.integers(1, 30)))
        agreement = float((chances**2 + (1 - chances) ** 2).mean())
        best = float(np.maximum(chances, 1 - chances).mean())
        low, high = accuracy_ceiling(agreement)
        assert low - 1e-12 <= best <= high + 1e-12
    assert accuracy_ceiling(0.5) == (0.5, 0.5)
    assert accuracy_ceiling(1.0) == (1.0, 1.0)


@pytest.mark.parametrize("interval", [alpha_interval, raw_agreement])
def test_a_bootstrap_over_many_items_holds_a_few_samples_at_a_time(
    interval: Callable[..., Agreement],
) -> None:
    ratings = np.random.default_rng(0).integers(2, size=(2, 20_000)).astype(float)
    tracemalloc.start()
    try:
        interval(ratings, resamples=500)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120e6, "500 samples of 20,000 items are 80 MB, and as much again as floats"
