"""Intervals against scipy where it has them, and by how often they cover the truth."""

import numpy as np
import pytest
from scipy import stats

from assent.stats.intervals import Interval, bootstrap_mean, mean_interval, wilson


@pytest.mark.parametrize(
    ("successes", "count"), [(0, 10), (1, 10), (5, 10), (10, 10), (437, 1000), (1, 1)]
)
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_is_scipys(successes: int, count: int, level: float) -> None:
    low, high = wilson(successes, count, level)
    theirs = stats.binomtest(successes, count).proportion_ci(level, method="wilson")
    assert low == pytest.approx(theirs.low, abs=1e-12)
    assert high == pytest.approx(theirs.high, abs=1e-12)
    assert 0 <= low <= successes / count <= high <= 1


def test_wilson_takes_halves_and_knows_nothing_from_nothing() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0)
    assert wilson(4, 10).low < wilson(4.5, 10).low < wilson(5, 10).low


@pytest.mark.parametrize("successes", [-1, 11])
def test_impossible_counts_are_refused(successes: int) -> None:
    with pytest.raises(ValueError, match="successes in 10 trials"):
        wilson(successes, 10)


def test_the_mean_interval_is_scipys() -> None:
    sample = np.random.default_rng(0).normal(2.0, 3.0, size=17)
    theirs = stats.ttest_1samp(sample, 0.0).confidence_interval(0.9)
    assert mean_interval(sample, 0.9) == pytest.approx((theirs.low, theirs.high))


def test_the_bootstrap_agrees_with_students_interval_on_many_values() -> None:
    sample = np.random.default_rng(1).normal(2.0, 3.0, size=2_000)
    bootstrapped, student = bootstrap_mean(sample, resamples=2_000), mean_interval(sample)
    width = student.high - student.low
    assert bootstrapped.low == pytest.approx(student.low, abs=0.06 * width)
    assert bootstrapped.high == pytest.approx(student.high, abs=0.06 * width)


def test_the_bootstrap_over_clusters_covers_the_mean_and_the_one_over_items_does_not() -> None:
    """Ten items a cluster that are nearly copies are worth little more than one."""
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(30), 10)
    covered = {"clusters": 0, "items": 0}
    for trial in range(200):
        values = np.repeat(rng.normal(size=30), 10) + 0.1 * rng.normal(size=300)
        for name, clusters in (("clusters", labels), ("items", None)):
            low, high = bootstrap_mean(values, clusters, resamples=300, seed=trial)
            covered[name] += low <= 0 <= high
    assert covered["clusters"] / 200 == pytest.approx(0.95, abs=0.05)
    assert covered["items"] / 200 < 0.6


def test_clusters_may_have_any_labels_in_any_order_and_unequal_sizes() -> None:
    values = [1.0, 2.0, 10.0, 3.0, 11.0, 20.0]
    named = bootstrap_mean(values, ["a", "a", "b", "a", "b", "c"], resamples=500, seed=3)
    numbered = bootstrap_mean(values, [0, 0, 1, 0, 1, 2], resamples=500, seed=3)
    assert named == numbered
    assert (named.low, named.high) == (2.0, 20.0)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    values = np.arange(40.0)
    assert bootstrap_mean(values, seed=5) == bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) != bootstrap_mean(values, seed=6)


def test_a_large_sample_is_resampled_in_chunks_as_if_at_once() -> None:
    values = np.random.default_rng(4).normal(size=2_100)
    drawn = np.random.default_rng(9).multinomial(2_100, np.full(2_100, 1 / 2_100), size=2_000)
    at_once = np.quantile(drawn @ values / 2_100, [0.025, 0.975])
    assert bootstrap_mean(values, resamples=2_000, seed=9) == pytest.approx(tuple(at_once))


def test_what_cannot_be_resampled_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="at least 2 clusters, not 1"):
        bootstrap_mean([1.0, 2.0], ["one", "one"])
    with pytest.raises(ValueError, match=r"values\[1\] is nan"):
        bootstrap_mean([1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="2 items need 2 cluster labels"):
        bootstrap_mean([1.0, 2.0], [0, 1, 2])
    with pytest.raises(ValueError, match="list of numbers"):
        mean_interval([[1.0, 2.0]])
    with pytest.raises(ValueError, match="at least 2 values, not 1"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="level must lie between"):
        wilson(1, 2, level=95)


def test_strata_take_the_spread_between_kinds_out_of_the_interval() -> None:
    values = [0.0, 0.1, -0.1, 0.05, 5.0, 5.1, 4.9, 5.05]
    kinds = ["a"] * 4 + ["b"] * 4
    plain = bootstrap_mean(values, seed=1)
    stratified = bootstrap_mean(values, strata=kinds, seed=1)
    assert stratified.low < np.mean(values) < stratified.high
    # Within a kind the standard deviation is below .08, so that of the mean of 8 is below .03.
    assert stratified.high - stratified.low < 0.12
    assert plain.high - plain.low > 2


def test_one_stratum_is_no_stratum() -> None:
    values = [0.3, 0.1, 0.7, 0.4, 0.9]
    assert bootstrap_mean(values, strata=[1] * 5, seed=3) == bootstrap_mean(values, seed=3)


def test_a_cluster_in_two_strata_is_named() -> None:
    with pytest.raises(ValueError, match="'x' lies in two strata"):
        bootstrap_mean([1.0, 2.0, 3.0], ["x", "x", "y"], strata=["a", "b", "b"])


def test_a_stratum_of_one_cluster_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="at least 2 clusters"):
        bootstrap_mean([1.0, 2.0, 3.0], strata=["a", "a", "b"])
