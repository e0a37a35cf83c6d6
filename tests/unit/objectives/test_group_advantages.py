"""Advantages out of groups: golden numbers, what makes them vanish, and what weighs how much."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assent.objectives.group_advantages import (
    MovingBaseline,
    group_advantages,
    identical_groups,
    returns_to_go,
)
from assent.objectives.masks import right_pad
from assent.objectives.policy_losses import kl_loss, ppo_policy_loss, response_weights

GROUP = [1.0, 2.0, 3.0, 6.0]
scores = st.lists(st.floats(-5, 5), min_size=2, max_size=6)


def column(values: list[float]) -> Tensor:
    """Responses of one token."""
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def advantages(values: list[float], baseline: str, samples: int | None = None) -> list[float]:
    returns = column(values)
    mask = torch.ones_like(returns, dtype=torch.bool)
    found = group_advantages(
        returns, mask, samples=samples or len(values), baseline=baseline  # type: ignore[arg-type]
    )  # fmt: skip
    result: list[float] = found.squeeze(1).tolist()
    return result


def test_golden_numbers_of_one_group() -> None:
    """Mean 3, the means of the others 11/3, 10/3, 3 and 2, variance 14/3 over k - 1."""
    assert advantages(GROUP, "rloo") == pytest.approx([-8 / 3, -4 / 3, 0, 4])
    assert advantages(GROUP, "dr_grpo") == pytest.approx([-2, -1, 0, 3])
    deviation = math.sqrt(14 / 3) + 1e-6
    assert advantages(GROUP, "grpo") == pytest.approx([one / deviation for one in (-2, -1, 0, 3)])


def test_of_two_responses_grpo_says_only_which_is_better() -> None:
    half = 1 / math.sqrt(2)
    for gap in (0.01, 1.0, 100.0):
        assert advantages([0.0, gap], "grpo") == pytest.approx([-half, half], rel=1e-3)


@given(group=scores, shift=st.floats(-3, 3))
def test_leave_one_out_is_its_definition_and_a_shift_changes_nothing(
    group: list[float], shift: float
) -> None:
    expected = [
        mine - sum(group[:at] + group[at + 1 :]) / (len(group) - 1) for at, mine in enumerate(group)
    ]
    assert advantages(group, "rloo") == pytest.approx(expected, abs=1e-9)
    assert advantages([one + shift for one in group], "rloo") == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("baseline", ["rloo", "grpo", "dr_grpo"])
@pytest.mark.parametrize("score", [0.1, -7.3, 1e6, 0.0])
def test_equal_rewards_are_advantage_zero_to_the_last_bit(baseline: str, score: float) -> None:
    """The mean of three times 0.1 is not 0.1 in floating point, and grpo would blow that up."""
    returns = torch.full((6, 4), score)
    mask = torch.ones(6, 4, dtype=torch.bool)
    found = group_advantages(returns, mask, samples=3, baseline=baseline)  # type: ignore[arg-type]
    assert found.count_nonzero() == 0
    assert identical_groups(returns[:, 0], 3).all()


def test_groups_keep_to_themselves_and_identical_ones_are_counted() -> None:
    values = [*GROUP, 5.0, 5.0, 5.0, 5.0, -1.0, -2.0, -3.0, -6.0]
    found = advantages(values, "rloo", samples=4)
    assert found == pytest.approx([-8 / 3, -4 / 3, 0, 4, 0, 0, 0, 0, 8 / 3, 4 / 3, 0, -4])
    flat = torch.tensor(values)
    assert identical_groups(flat, 4).tolist() == [False, True, False]


@pytest.mark.parametrize(("count", "samples"), [(4, 1), (4, 3), (5, 2), (4, 0)])
def test_what_is_no_group_is_refused(count: int, samples: int) -> None:
    returns = torch.zeros(count, 2)
    with pytest.raises(ValueError, match=f"{count} responses are no whole number of groups"):
        group_advantages(
            returns, torch.ones(count, 2, dtype=torch.bool), samples=samples, baseline="rloo"
        )


def test_junk_in_the_padding_reaches_no_advantage() -> None:
    mask = right_pad([[1, 1, 1], [1], [1, 1], [1]], 0).mask
    kl = torch.where(mask, 0.5, float("nan"))
    for level in ("sequence", "token"):
        returns = returns_to_go(torch.tensor(GROUP), kl, mask, kl_coef=0.1, level=level)
        assert returns.isfinite().all()
        found = group_advantages(returns, mask, samples=2, baseline="grpo")
        assert found.isfinite().all()
        assert not found[~mask].any()


def test_a_token_pays_for_the_kl_from_it_on_or_for_all_of_it() -> None:
    kl = torch.tensor([[0.5, -1.0, 2.0], [3.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    given_scores = torch.tensor([1.0, 2.0])
    tokens = returns_to_go(given_scores, kl, mask, kl_coef=0.1, level="token")
    expected = [[1 - 0.15, 1 - 0.1, 1 - 0.2], [2 - 0.3, 2.0, 2.0]]
    torch.testing.assert_close(tokens, torch.tensor(expected))
    whole = returns_to_go(given_scores, kl, mask, kl_coef=0.1, level="sequence")
    torch.testing.assert_close(whole, torch.tensor([[0.85] * 3, [1.7] * 3]))


def test_the_first_batch_of_reinforce_is_compared_with_itself_and_later_ones_with_the_past() -> (
    None
):
    mask = torch.ones(4, 1, dtype=torch.bool)
    fresh = MovingBaseline(decay=0.75)
    found = fresh.advantages(column(GROUP), mask).squeeze(1).tolist()
    assert found == pytest.approx([-8 / 3, -4 / 3, 0, 4])
    second = fresh.after(torch.tensor(GROUP))
    assert second.mean == pytest.approx(3.0)
    found = second.advantages(column([3.0, 4.0, 0.0, 3.0]), mask).squeeze(1).tolist()
    assert found == pytest.approx([0.0, 1.0, -3.0, 0.0])
    third = second.after(torch.tensor([7.0]))
    assert third.mean == pytest.approx(0.75 * 3 + 0.25 * 7)
    alone = fresh.advantages(column([5.0]), mask[:1])
    assert alone.tolist() == [[0.0]]


MASK = torch.tensor([[True] * 4, [True, False, False, False], [True, True, False, False]])


def test_weights_of_responses_are_their_definitions() -> None:
    """Seven tokens in three responses; eight is the longest allowed."""
    found = {
        how: response_weights(MASK, how, length=8).tolist()
        for how in ("token", "sequence", "constant")
    }
    assert found["token"] == pytest.approx([1 / 7] * 3)
    assert found["sequence"] == pytest.approx([1 / 12, 1 / 3, 1 / 6])
    assert found["constant"] == pytest.approx([1 / 24] * 3)


@pytest.mark.parametrize("how", ["token", "sequence", "constant"])
def test_micro_batches_take_their_weights_from_the_whole_batch(how: str) -> None:
    generator = torch.Generator().manual_seed(0)
    new, old, worth, reference = torch.randn(4, 3, 4, generator=generator, dtype=torch.float64)
    weights = response_weights(MASK, how, length=8)  # type: ignore[arg-type]

    def loss(rows: slice) -> Tensor:
        policy = ppo_policy_loss(
            new[rows], old[rows], worth[rows], MASK[rows], clip_range=0.2, weights=weights[rows]
        )
        held = kl_loss(
            new[rows], reference[rows], MASK[rows],
            estimator="k3", level="token", weights=weights[rows],
        )  # fmt: skip
        return policy.loss + held

    parts = sum(loss(slice(at, at + 1)) for at in range(3))
    torch.testing.assert_close(parts, loss(slice(None)))


def test_token_weights_are_the_mean_over_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    new, old, worth = torch.randn(3, 3, 4, generator=generator, dtype=torch.float64)
    plain = ppo_policy_loss(new, old, worth, MASK, clip_range=0.2)
    weighed = ppo_policy_loss(
        new, old, worth, MASK, clip_range=0.2, weights=response_weights(MASK, "token", length=4)
    )
    torch.testing.assert_close(weighed.loss, plain.loss)
    assert weighed.clip_fraction == plain.clip_fraction
    assert weighed.ratio_mean == plain.ratio_mean


def test_an_empty_response_weighs_nothing_and_an_empty_batch_is_refused() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    assert response_weights(mask, "sequence", length=2).tolist() == [0.25, 0.0]
    with pytest.raises(ValueError, match="a loss needs a token that counts"):
        response_weights(mask & False, "token", length=2)
