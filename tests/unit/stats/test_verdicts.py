"""Paired tests and corrections against scipy and statsmodels, and the rule of the four verdicts."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from assent.stats.intervals import Interval, wilson
from assent.stats.verdicts import (
    Change,
    Linear,
    expanded_level,
    family_verdicts,
    holm,
    linearise,
    mcnemar_exact,
    paired_change,
    share_interval,
)

RNG = np.random.default_rng(5)
MODEL = RNG.normal(0.4, 0.3, 40)
BASELINE = MODEL - RNG.normal(0.05, 0.2, 40)


def compared(margin: float = 0.1, level: float = 0.95) -> Change:
    return paired_change(
        linearise(MODEL), linearise(BASELINE), margin=margin, span=1.0, level=level
    )


def test_a_paired_change_of_means_is_the_paired_t_test() -> None:
    found = compared()
    theirs = stats.ttest_rel(MODEL, BASELINE)
    interval = theirs.confidence_interval(0.95)
    assert found.difference == pytest.approx(float((MODEL - BASELINE).mean()), abs=1e-12)
    assert found.p_change == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.interval == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.clusters == 40


@pytest.mark.parametrize("margin", [0.02, 0.1, 0.4])
def test_equivalence_is_two_one_sided_t_tests(margin: float) -> None:
    theirs, _, _ = ttost_paired(MODEL, BASELINE, -margin, margin)
    assert compared(margin).p_equivalence == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("counts", [(0, 0), (3, 3), (1, 9), (12, 4), (0, 6)])
def test_mcnemar_is_the_exact_one(counts: tuple[int, int]) -> None:
    table = [[20, counts[0]], [counts[1], 30]]
    expected = float(mcnemar(table, exact=True).pvalue)
    assert mcnemar_exact(*counts) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    p_values = np.random.default_rng(seed).uniform(0, 0.2, 11) ** 2
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values.tolist()) == pytest.approx(expected.tolist(), abs=1e-9)


def test_holm_of_no_values_is_none() -> None:
    assert holm([]) == []


def test_a_clustered_ratio_has_the_error_of_its_definition() -> None:
    over, under = RNG.uniform(0, 2, 30), RNG.uniform(0.5, 3, 30)
    clusters = np.repeat(np.arange(10), 3)
    strata = np.repeat([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], 3)
    line = linearise(over, under, clusters, strata)
    ratio = over.sum() / under.sum()
    parts = np.array(
        [
            (over[clusters == c] - ratio * under[clusters == c]).sum() / under.sum()
            for c in range(10)
        ]
    )
    variance = sum(
        len(inside) / (len(inside) - 1) * ((inside - inside.mean()) ** 2).sum()
        for inside in (parts[:4], parts[4:])
    )
    assert line.estimate == pytest.approx(ratio)
    assert line.parts == pytest.approx(parts)
    assert line.error == pytest.approx(variance**0.5)
    assert line.freedom == 8


def test_clusters_without_weight_are_no_evidence() -> None:
    line = linearise([1.0, 0.0, 1.0, 5.0], [1, 1, 1, 0], ["a", "b", "c", "d"])
    # d weighs nothing, so three clusters are left; what it would have said is still in the sum.
    assert len(line.parts) == 3


@pytest.mark.parametrize("successes", [0, 1, 7, 20, 39, 40])
def test_the_interval_of_a_plain_share_is_near_wilsons(successes: int) -> None:
    values = [1.0] * successes + [0.0] * (40 - successes)
    found = share_interval(linearise(values))
    expected = wilson(successes, 40)
    # A variance estimated from 40 items costs a little: t for z, and 39 for 40.
    assert found.low <= expected.low + 1e-12
    assert found.high >= expected.high - 1e-12
    assert found == pytest.approx(expected, abs=0.012)


def test_a_share_whose_clusters_are_all_alike_is_as_sure_as_their_number() -> None:
    values, clusters = [0.0] * 64, np.repeat(np.arange(16), 4)
    assert share_interval(linearise(values, None, clusters)) == pytest.approx(wilson(0, 16))


def test_more_samples_of_the_same_items_narrow_a_share_until_items_set_the_limit() -> None:
    chance = np.random.default_rng(1).uniform(0.2, 0.8, 30)
    widths = []
    for samples in (1, 8, 1000):
        draws = np.random.default_rng(2).binomial(samples, chance) / samples
        low, high = share_interval(linearise(draws))
        widths.append(high - low)
    low, high = share_interval(linearise(chance))
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] == pytest.approx(high - low, rel=0.1)


def test_the_expanded_level_gives_students_width_for_normal_means() -> None:
    level = expanded_level(0.95, 9)
    z = stats.norm.ppf(0.5 + level / 2)
    # A bootstrap mean of 10 values has the spread of the variance over 10, not over 9.
    assert z * np.sqrt(9 / 10) == pytest.approx(stats.t.ppf(0.975, 9), rel=1e-6)


def test_items_that_all_differ_alike_are_no_proof_about_all_such_items() -> None:
    same = linearise(np.full(16, 0.3))
    found = paired_change(same, same, margin=0.1, span=1.0)
    assert found.difference == 0
    assert found.interval == pytest.approx((-0.1707, 0.1707), abs=1e-3)  # 1 - .05 ** (1 / 16)
    assert (found.p_change, found.p_equivalence) == (1.0, 1.0)
    many = linearise(np.full(100, 0.3))
    assert paired_change(many, many, margin=0.1, span=1.0).p_equivalence <= 0.0501


def test_a_single_item_says_nothing() -> None:
    one = linearise([0.5])
    found = paired_change(one, linearise([0.1]), margin=0.1, span=1.0)
    assert found.p_change == found.p_equivalence == 1.0
    assert found.interval == Interval(-np.inf, np.inf)


def verdict(p_change: float, p_equivalence: float, difference: float = 0.2) -> str:
    change = Change(difference, Interval(-1, 1), p_change, p_equivalence, 10)
    return family_verdicts([change], ["higher"])[0]


def test_a_small_difference_is_equivalent_before_it_is_a_change() -> None:
    assert verdict(0.01, 0.8) == "improved"
    assert verdict(0.01, 0.8, -0.2) == "regressed"
    assert verdict(0.4, 0.3) == "inconclusive"
    assert verdict(0.4, 0.01) == "equivalent"
    assert verdict(0.01, 0.01) == "equivalent"


def test_lower_is_better_where_the_figure_says_so() -> None:
    change = Change(0.2, Interval(0.1, 0.3), 0.001, 1.0, 10)
    assert family_verdicts([change, change], ["lower", "higher"]) == ["regressed", "improved"]


def test_one_figure_of_twenty_must_be_clearer_than_one_alone() -> None:
    clear = Change(0.2, Interval(0.1, 0.3), 0.01, 1.0, 10)
    dull = Change(0.0, Interval(-0.1, 0.1), 0.9, 1.0, 10)
    assert family_verdicts([clear], ["lower"]) == ["regressed"]
    assert family_verdicts([clear] + [dull] * 19, ["lower"] * 20)[0] == "inconclusive"


@pytest.mark.parametrize(
    ("values", "weights", "problem"),
    [
        ([1.0, np.nan], None, "values"),
        ([1.0, 2.0], [1.0], "equally many"),
        ([1.0], [0.0], "not all 0"),
        ([1.0, 1.0], [1.0, -1.0], "0 or more"),
    ],
)
def test_what_cannot_be_a_ratio_is_refused(
    values: list[float], weights: list[float] | None, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        linearise(values, weights)


def test_figures_over_other_clusters_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same clusters"):
        paired_change(linearise([1.0, 2.0]), linearise([1.0, 2.0, 3.0]), margin=1, span=1)


def test_linear_errors_add_up_over_strata() -> None:
    parts = np.array([0.1, -0.1, 0.2, -0.2])
    line = Linear(0.5, parts, np.array([0, 0, 1, 1]))
    assert line.error == pytest.approx((2 * 0.02 + 2 * 0.08) ** 0.5)
