"""Whose judgement a consensus stands for, on panels where that is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from assent.stats.consensus import group_agreement, held_out_accuracy

NAN = float("nan")


def panel(seed: int, *, apart: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two groups of ten; on a share `apart` of 80 items they hold opposite views."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=80)
    turned = rng.random(80) < apart
    groups = np.repeat([0, 1], 10)
    view = np.where((groups[:, None] == 1) & turned, 1 - truth, truth)
    return np.where(rng.random((20, 80)) < 0.85, view, 1 - view).astype(float), groups


def test_agreement_within_and_between_is_that_of_all_pairs() -> None:
    table, groups = panel(0, apart=0.5)
    table[np.random.default_rng(1).random(table.shape) < 0.2] = NAN
    same: dict[bool, list[float]] = {True: [], False: []}
    for one in range(20):
        for other in range(one + 1, 20):
            both = ~(np.isnan(table[one]) | np.isnan(table[other]))
            agree = (table[one] == table[other])[both].tolist()
            same[bool(groups[one] == groups[other])] += agree
    found = group_agreement(table, groups, resamples=50)
    assert found.within == pytest.approx(np.mean(same[True]), abs=1e-12)
    assert found.between == pytest.approx(np.mean(same[False]), abs=1e-12)


def test_groups_that_differ_are_found_and_groups_that_do_not_are_not() -> None:
    found = group_agreement(*panel(1, apart=0.5), resamples=300)
    assert found.interval.low > 0
    assert found.p_value < 0.01
    alarms = sum(group_agreement(*panel(s, apart=0), resamples=99).p_value <= 0.05
                 for s in range(60))  # fmt: skip
    assert alarms <= 9  # 3 expected


def test_a_minority_is_predicted_worse_by_the_consensus() -> None:
    table, groups = panel(2, apart=1.0)
    kept = np.concatenate([np.flatnonzero(groups == 0), np.flatnonzero(groups == 1)[:2]])
    found = held_out_accuracy(table[kept])
    assert found.accuracy[:10].min() > 0.7
    assert found.accuracy[10:].max() < 0.3
    assert found.lowest_tenth < 0.3
    assert found.spread > 0.15
    even = held_out_accuracy(panel(3, apart=0)[0])
    assert even.spread < 0.06
    assert even.interval.low < even.mean < even.interval.high


def test_the_held_out_have_no_part_in_the_consensus() -> None:
    # Each rates alone or against one other: the consensus is what the other said.
    table = [[0.0, 0.0, NAN], [0.0, 1.0, 1.0]]
    assert held_out_accuracy(table, folds=2).accuracy == pytest.approx([0.5, 0.5])


def test_panels_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        held_out_accuracy([[1.0, 2.0]])
    with pytest.raises(ValueError, match="another annotator"):
        held_out_accuracy([[1.0, NAN], [NAN, 1.0]])
    with pytest.raises(ValueError, match="within a group"):
        group_agreement([[1.0], [1.0]], ["a", "b"])
    with pytest.raises(ValueError, match="between groups"):
        group_agreement([[1.0], [1.0]], ["a", "a"])
    with pytest.raises(ValueError, match="as many groups"):
        group_agreement([[1.0], [1.0]], ["a"])
