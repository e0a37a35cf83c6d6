"""Probabilities among listed answers."""

from math import log

import pytest

from assent.stats.choices import choice_probabilities, coverage


def test_probabilities_are_those_among_the_listed() -> None:
    assert choice_probabilities([log(0.1), log(0.3)]) == pytest.approx([0.25, 0.75])
    assert coverage([log(0.1), log(0.3)]) == pytest.approx(0.4)


def test_answers_far_below_what_exp_can_hold_still_compare() -> None:
    assert choice_probabilities([-2000.0, -2000.0 + log(3)]) == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize("logprobs", [[], [float("nan")], [0.0, float("-inf")]])
def test_nothing_to_choose_from_is_refused(logprobs: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no answer|logprobs"):
        choice_probabilities(logprobs)
