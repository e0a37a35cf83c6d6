"""Paired differences, and the fall from a peak that noise alone must not produce."""

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from assent.audit.almanac import measured_prompts
from assent.stats.paired import alike_halves, paired_difference, peak_and_fall
from assent.worlds.almanac import World

PROMPTS = 60
HALF = np.arange(PROMPTS) % 2 == 0
HUMP = np.array([0.0, 0.3, 0.5, 0.4, 0.2])


def noisy(curve: NDArray[np.float64], seed: int, noise: float = 0.5) -> NDArray[np.float64]:
    """Each prompt has a level of its own, and noise at each point."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=(1, PROMPTS))
    return curve[:, None] + levels + noise * rng.normal(size=(len(curve), PROMPTS))


def test_what_both_share_cancels() -> None:
    rng = np.random.default_rng(0)
    prompts = 5 * rng.normal(size=100)
    first, second = prompts + 0.3, prompts + 0.1 * rng.normal(size=100)
    result = paired_difference(first, second)
    assert result.difference == pytest.approx(np.mean(first) - np.mean(second))
    assert result.pairs == 100
    assert 0.2 < result.interval.low < result.difference < result.interval.high < 0.4


def test_the_difference_turns_with_its_sides_and_clusters_widen_it() -> None:
    rng = np.random.default_rng(1)
    first = np.repeat(rng.normal(size=20), 5)
    second = np.zeros(100)
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.difference == -back.difference
    clustered = paired_difference(first, second, np.repeat(np.arange(20), 5))
    wide = clustered.interval.high - clustered.interval.low
    assert wide > 1.7 * (there.interval.high - there.interval.low)


def test_unequal_lists_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="equally many, not 2 and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_fall_is_measured_from_the_peak_to_the_end() -> None:
    """Without noise it is exact, both halves agree on the peak, and the interval is a point."""
    result = peak_and_fall(noisy(HUMP, 0, noise=0.0), half=HALF, resamples=200)
    assert result.peaks == (2, 2)
    assert result.fall == pytest.approx(0.3)
    assert result.interval == pytest.approx((0.3, 0.3))


def test_each_half_locates_the_peak_for_the_other() -> None:
    """Half A peaks at point 1 and half B at point 2; each fall is read at the other's peak."""
    curve = np.zeros((4, PROMPTS))
    curve[1, HALF], curve[2, HALF], curve[3, HALF] = 5.0, 2.0, 1.0
    curve[1, ~HALF], curve[2, ~HALF], curve[3, ~HALF] = 3.0, 9.0, 0.5
    result = peak_and_fall(curve, half=HALF, resamples=50)
    assert result.peaks == (1, 2)
    assert result.fall == pytest.approx(((3.0 - 0.5) + (2.0 - 1.0)) / 2)


def test_a_curve_that_ends_at_its_peak_has_not_fallen() -> None:
    rising = noisy(np.array([0.0, 1.0, 2.0, 3.0]), 1, noise=0.1)
    result = peak_and_fall(rising, half=HALF, resamples=200)
    assert result.fall == 0.0
    assert result.peaks == (3, 3)


def test_noise_on_a_flat_curve_is_no_fall_though_it_nearly_always_has_an_inner_peak() -> None:
    flat, falls, naive, covered = np.zeros(14), [], [], 0
    for seed in range(150):
        curve = noisy(flat, seed)
        result = peak_and_fall(curve, half=HALF, resamples=300)
        falls.append(result.fall)
        covered += result.interval.low <= 0 <= result.interval.high
        means = curve.mean(axis=1)
        naive.append(means.max() - means[-1])
    error = np.std(falls) / np.sqrt(len(falls))
    assert abs(np.mean(falls)) < 3 * error
    assert np.mean(np.array(naive) > 0) > 0.85
    assert np.mean(naive) > 10 * error
    assert covered / 150 > 0.9


def test_a_real_fall_is_found_and_covered() -> None:
    found, covered = [], 0
    for seed in range(100):
        result = peak_and_fall(noisy(HUMP, seed), half=HALF, resamples=300)
        found.append(result.fall)
        covered += result.interval.low <= 0.3 <= result.interval.high
    assert 0.2 < np.mean(found) <= 0.3
    assert covered > 85


def test_prompts_about_one_fact_are_resampled_together() -> None:
    """Four copies of each prompt: the point stays, and only clusters keep the interval honest."""
    curve = np.repeat(noisy(HUMP, 7), 4, axis=1)
    half, facts = np.repeat(HALF, 4), np.repeat(np.arange(PROMPTS), 4)
    single = peak_and_fall(noisy(HUMP, 7), half=HALF, resamples=2_000)
    by_fact = peak_and_fall(curve, half=half, clusters=facts, resamples=2_000)
    by_copy = peak_and_fall(curve, half=half, resamples=2_000)
    assert by_fact.fall == pytest.approx(single.fall)
    assert by_fact.interval == pytest.approx(single.interval)
    assert by_copy.interval.high - by_copy.interval.low < 0.75 * (
        single.interval.high - single.interval.low
    )


def test_what_cannot_be_split_is_refused() -> None:
    curve = noisy(HUMP, 0)
    with pytest.raises(ValueError, match="in both halves"):
        peak_and_fall(curve, half=HALF, clusters=np.zeros(PROMPTS))
    with pytest.raises(ValueError, match="60 booleans"):
        peak_and_fall(curve, half=HALF[:-1])
    with pytest.raises(ValueError, match="60 booleans, not int64"):
        peak_and_fall(curve, half=HALF.astype(np.int64))
    with pytest.raises(ValueError, match="60 cluster labels"):
        peak_and_fall(curve, half=HALF, clusters=np.zeros(3))
    with pytest.raises(ValueError, match="2 points or more"):
        peak_and_fall(curve[:1], half=HALF)
    with pytest.raises(ValueError, match="at least 2 clusters"):
        peak_and_fall(curve, half=np.arange(PROMPTS) == 0)
    curve[3, 5] = np.nan
    with pytest.raises(ValueError, match="nan at point 3, prompt 5"):
        peak_and_fall(curve, half=HALF)


def test_halves_have_as_many_clusters_of_each_size_and_no_cluster_is_in_both() -> None:
    sizes = {"easy": [2, 1] * 4, "hard": [1, 1, 1, 2, 2, 2], "odd": [3, 1, 3]}
    clusters, strata = [], []
    for stratum, counts in sizes.items():
        for number, count in enumerate(counts):
            clusters += [f"{stratum}/{number}"] * count
            strata += [stratum] * count
    half = alike_halves(clusters, strata)
    sides = {name: set(half[np.array(clusters) == name]) for name in clusters}
    assert all(len(side) == 1 for side in sides.values())
    for stratum, counts in sizes.items():
        for size in set(counts):
            placed = Counter(
                bool(*sides[f"{stratum}/{number}"])
                for number, count in enumerate(counts)
                if count == size
            )
            assert abs(placed[True] - placed[False]) <= 1, (stratum, size)


@pytest.mark.parametrize("seed", range(4))
def test_halves_of_the_measured_prompts_are_asked_about_in_the_same_ways(seed: int) -> None:
    """Facts asked about with no belief and a false one took turns with those of a true one."""
    prompts, _ = measured_prompts(World(seed))
    half = alike_halves([one.fact.group for one in prompts], [one.fact.kind for one in prompts])
    for kind in ("easy", "hard"):
        for stance in ("none", "right", "wrong"):
            placed = [
                bool(first)
                for one, first in zip(prompts, half, strict=True)
                if (one.fact.kind, one.stance) == (kind, stance)
            ]
            assert len(placed) == 2 * sum(placed) > 0, (kind, stance)
