"""Masks and padding: small examples by hand, and what is refused."""

import pytest
import torch

from assent.objectives.masks import (
    last_index,
    left_pad,
    masked_mean,
    masked_sum,
    masked_whiten,
    position_ids,
    response_mask_until_eos,
    right_pad,
    token_count,
)

VALUES = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
MASK = torch.tensor([[True, True, False], [False, False, True]])
NOTHING = torch.zeros(2, 3, dtype=torch.bool)


def test_sums_and_means_take_what_counts() -> None:
    assert masked_sum(VALUES, MASK).item() == 35.0
    assert masked_sum(VALUES, MASK, dim=1).tolist() == [3.0, 32.0]
    assert masked_sum(VALUES, MASK, dim=0).tolist() == [1.0, 2.0, 32.0]
    assert masked_mean(VALUES, MASK).item() == pytest.approx(35 / 3)
    assert masked_mean(VALUES, MASK, dim=1).tolist() == [1.5, 32.0]


def test_the_sum_of_nothing_is_zero_and_its_mean_is_refused() -> None:
    assert masked_sum(VALUES, NOTHING).item() == 0.0
    with pytest.raises(ValueError, match="no position counts"):
        masked_mean(VALUES, NOTHING)
    one_empty_row = torch.tensor([[True, False, False], [False, False, False]])
    assert masked_mean(VALUES, one_empty_row).item() == 1.0
    with pytest.raises(ValueError, match="no position counts"):
        masked_mean(VALUES, one_empty_row, dim=1)


def test_whitening_refuses_what_has_no_variance() -> None:
    single = torch.tensor([[True, False, False], [False, False, False]])
    assert masked_whiten(VALUES, single).tolist() == [[0.0] * 3] * 2
    with pytest.raises(ValueError, match="needs 1 values, the mask keeps 0"):
        masked_whiten(VALUES, NOTHING)
    with pytest.raises(ValueError, match="needs 2 values, the mask keeps 1"):
        masked_whiten(VALUES, single, unbiased=True)


def test_equal_values_whiten_to_zero() -> None:
    assert masked_whiten(torch.full((2, 3), 5.0), MASK).tolist() == [[0.0] * 3] * 2


def test_padding_aligns_ends_or_starts() -> None:
    left, right = left_pad([[5, 6], [7]], 0), right_pad([[5, 6], [7]], 0)
    assert left.tokens.tolist() == [[5, 6], [0, 7]]
    assert left.mask.tolist() == [[True, True], [False, True]]
    assert right.tokens.tolist() == [[5, 6], [7, 0]]
    assert right.mask.tolist() == [[True, True], [True, False]]
    assert left.tokens.dtype == torch.long


def test_no_sequences_make_an_empty_rectangle() -> None:
    assert left_pad([], 0).tokens.shape == (0, 0)
    assert right_pad([[], []], 0).mask.shape == (2, 0)


def test_positions_start_at_the_first_real_token() -> None:
    mask = torch.tensor([[False, True, True], [True, True, False]])
    assert position_ids(mask).tolist() == [[0, 0, 1], [0, 1, 2]]


def test_tokens_after_the_first_end_token_do_not_count() -> None:
    tokens = torch.tensor([[4, 9, 4, 9], [4, 4, 4, 4], [9, 0, 0, 0]])
    assert response_mask_until_eos(tokens, 9).int().tolist() == [
        [1, 1, 0, 0],
        [1, 1, 1, 1],
        [1, 0, 0, 0],
    ]


def test_the_last_token_is_found_on_either_side_and_an_empty_row_is_named() -> None:
    assert last_index(torch.tensor([[False, True, True], [True, False, False]])).tolist() == [2, 0]
    with pytest.raises(ValueError, match="row 1 of the mask"):
        last_index(torch.tensor([[True, False], [False, False]]))


def test_a_divisor_is_the_normaliser_or_the_tokens_and_never_zero() -> None:
    assert token_count(MASK, None) == 3
    assert token_count(MASK, 7) == 7
    assert token_count(NOTHING, torch.tensor(4)) == 4
    with pytest.raises(ValueError, match="a token that counts"):
        token_count(NOTHING, None)
    with pytest.raises(ValueError, match="a token that counts"):
        token_count(MASK, 0)
