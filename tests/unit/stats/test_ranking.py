"""Counting wins, and what a ranking says when the wins cannot carry it."""

import numpy as np
import pytest

from assent.stats.ranking import count_wins, fit_bradley_terry


def test_a_tie_is_half_a_win_to_each() -> None:
    wins = count_wins([0, 0, 1, 2], [1, 1, 0, 0], [1.0, 0.5, 1.0, 0.0], items=3)
    assert wins.tolist() == [[0.0, 1.5, 1.0], [1.5, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [([0, 1], [1, 3], [1, 1]), ([0, -1], [1, 0], [1, 1]), ([0, 1], [1, 1], [1, 1])],
)
def test_an_impossible_comparison_is_named(
    first: list[int], second: list[int], outcome: list[int]
) -> None:
    with pytest.raises(ValueError, match="comparison 1"):
        count_wins(first, second, outcome, items=3)


def test_outcomes_outside_zero_to_one_and_unequal_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="comparison 0: 0 against 1 with outcome 2"):
        count_wins([0], [1], [2], items=2)
    with pytest.raises(ValueError, match="equal lists"):
        count_wins([0, 1], [1], [1], items=2)


def test_an_undefeated_item_needs_imagined_ties() -> None:
    wins = [[0, 3, 2], [0, 0, 1], [0, 1, 0]]
    with pytest.raises(ValueError, match="prior_ties above 0"):
        fit_bradley_terry(wins)
    fit = fit_bradley_terry(wins, prior_ties=1.0)
    assert fit.strengths.argmax() == 0
    assert np.isfinite(fit.standard_errors).all()
    milder = fit_bradley_terry(wins, prior_ties=4.0)
    assert np.ptp(milder.strengths) < np.ptp(fit.strengths)


def test_items_that_never_met_the_rest_are_named() -> None:
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[1, 0] = wins[2, 3] = wins[3, 2] = 1
    with pytest.raises(ValueError, match=r"\[\[0, 1\], \[2, 3\]\]"):
        fit_bradley_terry(wins)


def test_equal_records_are_equal_strengths_and_more_games_say_so_more_surely() -> None:
    few = fit_bradley_terry(2 * (1 - np.eye(3)))
    many = fit_bradley_terry(200 * (1 - np.eye(3)))
    assert few.strengths == pytest.approx([0, 0, 0], abs=1e-12)
    np.testing.assert_allclose(few.standard_errors, 10 * many.standard_errors)
    assert few.difference(0, 0) == (0.0, 0.0)


def test_lopsided_wins_still_converge() -> None:
    expected = np.array([[0, 1e6, 1], [1, 0, 1e6], [1, 1, 0]])
    fit = fit_bradley_terry(expected)
    gap, _ = fit.difference(0, 1)
    chances = 1 / (1 + np.exp(fit.strengths[None, :] - fit.strengths[:, None]))
    games = expected + expected.T
    assert gap > 5
    np.testing.assert_allclose((games * chances).sum(axis=1), expected.sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("wins", "named"),
    [
        ([[0, 1, 2], [1, 0, 2]], "square"),
        ([[0.0]], "square"),
        ([[0, -1], [1, 0]], r"wins\[0, 1\]"),
        ([[0, 1], [np.nan, 0]], r"wins\[1, 0\]"),
        ([[0, 1], [1, 5]], r"wins\[1, 1\]"),
    ],
)
def test_a_table_that_is_no_record_of_wins_is_refused(wins: list[list[float]], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        fit_bradley_terry(wins)


def test_one_imagined_tie_is_half_a_win_to_each_of_every_two() -> None:
    gap, error = fit_bradley_terry([[0, 3], [0, 0]], prior_ties=1.0).difference(0, 1)
    assert gap == pytest.approx(np.log(3.5 / 0.5))
    assert error == pytest.approx(np.sqrt(1 / 3.5 + 1 / 0.5))
    wins = np.array([[0, 4, 1], [2, 0, 3], [5, 1, 0]])
    imagined = fit_bradley_terry(wins, prior_ties=0.4).strengths
    spelt_out = fit_bradley_terry(wins + 0.2 * (1 - np.eye(3))).strengths
    np.testing.assert_allclose(imagined, spelt_out)


@pytest.mark.parametrize("prior_ties", [1e-9, 1e-3, 1e3])
def test_the_fit_balances_wins_and_expected_wins_however_small_the_prior(
    prior_ties: float,
) -> None:
    wins = np.triu(np.full((5, 5), 20.0), k=1)
    strengths = fit_bradley_terry(wins, prior_ties=prior_ties).strengths
    table = wins + prior_ties / 2 * (1 - np.eye(5))
    chances = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    expected = ((table + table.T) * chances).sum(axis=1)
    np.testing.assert_allclose(expected, table.sum(axis=1), rtol=1e-5)
