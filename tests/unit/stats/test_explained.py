"""How much of a gain length explains, where it was planted."""

import numpy as np
import pytest
from numpy.typing import NDArray

from assent.stats.explained import share_explained

Side = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def planted(seed: int, *, by_length: float, otherwise: float) -> tuple[Side, Side]:
    """100 prompts, 8 responses each; the first side is 2 longer and better for its own sake."""
    rng = np.random.default_rng(seed)
    prompts = np.repeat(np.arange(100), 8)
    worth = rng.normal(0, 1, size=100)[prompts]
    sides = []
    for longer, better in ((2, otherwise), (0, 0.0)):
        lengths = rng.integers(5, 15, size=800) + longer
        rewards = worth + by_length * lengths + better + rng.normal(0, 0.3, size=800)
        sides.append((rewards, lengths.astype(float), prompts))
    return sides[0], sides[1]


def test_a_gain_that_is_all_length_is_explained_by_it() -> None:
    found = share_explained(*planted(0, by_length=0.5, otherwise=0.0), bins=30)
    assert found.gain == pytest.approx(1, abs=0.15)
    assert found.share == pytest.approx(1, abs=0.1)
    assert found.within_interval.low < 0 < found.within_interval.high
    assert found.overlap == pytest.approx(0.8, abs=0.05)  # lengths 15 and 16 are only the first's


def test_a_gain_that_is_none_of_it_is_not() -> None:
    found = share_explained(*planted(1, by_length=0.0, otherwise=1.0))
    assert found.share == pytest.approx(0, abs=0.1)
    assert found.within == pytest.approx(1, abs=0.1)


def test_half_and_half_and_the_interval_covers() -> None:
    covered = 0
    for seed in range(40):
        found = share_explained(
            *planted(seed, by_length=0.25, otherwise=0.5), bins=30, resamples=300, seed=seed
        )
        assert found.share_interval is not None
        covered += found.share_interval.low <= 0.5 <= found.share_interval.high
    assert covered >= 33  # 38 expected


def test_without_a_gain_there_is_nothing_to_share() -> None:
    found = share_explained(*planted(2, by_length=0.0, otherwise=0.0))
    assert found.share is None
    assert found.share_interval is None


def test_sides_that_cannot_be_compared_are_refused() -> None:
    one, other = planted(3, by_length=0.0, otherwise=0.0)
    with pytest.raises(ValueError, match="like covariate"):
        share_explained(one, (other[0], other[1] + 1000, other[2]))
    with pytest.raises(ValueError, match="at least 2 clusters"):
        share_explained(([1.0], [1.0], ["a"]), ([2.0], [1.0], ["a"]))
    with pytest.raises(ValueError, match="equally many"):
        share_explained(([1.0], [1.0, 2.0], ["a"]), other)
