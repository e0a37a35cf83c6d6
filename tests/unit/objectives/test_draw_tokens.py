"""A token drawn by the inverse distribution function is the one the definition names."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assent.errors import NonFinite
from assent.objectives.logprobs import draw_tokens

weights = st.lists(st.sampled_from([0.0, 1e-12, 0.1, 0.4, 1.0, 5.0]), min_size=1, max_size=9)


def drawn(given_weights: list[float], uniform: float) -> int:
    logprobs = torch.tensor([given_weights]).log()
    return int(draw_tokens(logprobs, torch.tensor([uniform], dtype=torch.float64)))


@given(
    given_weights=weights.filter(any),
    uniform=st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 1 - 2**-53]),
)
def test_it_is_the_first_token_below_whose_end_the_random_number_lies(
    given_weights: list[float], uniform: float
) -> None:
    token = drawn(given_weights, uniform)
    probabilities = torch.tensor(given_weights).log().exp().double()
    assert probabilities[token] > 0, "a token without probability is never drawn"
    whole = float(probabilities.sum())
    before, after = float(probabilities[:token].sum()), float(probabilities[: token + 1].sum())
    assert before <= uniform * whole + 1e-12
    assert uniform * whole <= after + 1e-12


def test_a_small_probability_at_the_end_of_a_large_vocabulary_is_still_drawn() -> None:
    logprobs = torch.zeros(1, 200_000)
    logprobs[0, -1] = -12.0
    drawn_last = draw_tokens(logprobs, torch.tensor([1 - 1e-12], dtype=torch.float64))
    assert drawn_last.tolist() == [199_999]


def test_each_row_has_its_own_number() -> None:
    logprobs = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]).log()
    uniforms = torch.tensor([0.2, 0.7, 0.2], dtype=torch.float64)
    assert draw_tokens(logprobs, uniforms).tolist() == [0, 1, 1]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_distribution_is_refused(broken: float) -> None:
    logprobs = torch.full((2, 3), broken)
    with pytest.raises(NonFinite, match="NaN or infinite"):
        draw_tokens(logprobs, torch.zeros(2, dtype=torch.float64))
