"""What the objectives refuse, and the cases a formula leaves open."""

import math

import pytest
import torch

from assent.objectives.advantages import apply_missing_eos, explained_variance, shaped_rewards
from assent.objectives.language_loss import sft_loss, target_mask
from assent.objectives.logprobs import entropy_from_logits, token_logprobs
from assent.objectives.policy_losses import ppo_policy_loss, value_loss
from assent.objectives.preference_losses import bradley_terry_loss
from assent.objectives.schedules import cosine, linear_decay
from assent.objectives.tilting import best_of_n_kl, sequence_logprobs, soft_values, tilt

SCORES = torch.tensor([2.0, -3.0, 0.5])
FINISHED = torch.tensor([True, False, False])
NOTHING = torch.zeros(2, 3, dtype=torch.bool)


def test_an_unfinished_response_is_replaced_by_the_penalty_or_loses_it() -> None:
    replaced = apply_missing_eos(SCORES, FINISHED, penalty=1.0)
    assert replaced.tolist() == [2.0, -1.0, -1.0]
    subtracted = apply_missing_eos(SCORES, FINISHED, penalty=1.0, mode="subtract")
    assert subtracted.tolist() == [2.0, -4.0, -0.5]
    assert torch.equal(apply_missing_eos(SCORES, FINISHED, penalty=None), SCORES)


@pytest.mark.parametrize("penalty", [-1.0, math.inf, math.nan])
def test_a_penalty_that_would_reward_not_stopping_is_refused(penalty: float) -> None:
    with pytest.raises(ValueError, match="missing-EOS penalty"):
        apply_missing_eos(SCORES, FINISHED, penalty=penalty)


def test_a_response_without_tokens_cannot_be_rewarded() -> None:
    nothing = torch.zeros(2, 3)
    mask = torch.tensor([[True, False, False], [False, False, False]])
    with pytest.raises(ValueError, match="row 1"):
        shaped_rewards(torch.zeros(2), nothing, nothing, mask, kl_coef=0.1)


def test_losses_over_nothing_are_refused_unless_the_window_has_tokens() -> None:
    nothing = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="a token that counts"):
        ppo_policy_loss(nothing, nothing, nothing, NOTHING, clip_range=0.2)
    with pytest.raises(ValueError, match="a token that counts"):
        value_loss(nothing, nothing, nothing, NOTHING, clip_range=None)
    logits, tokens = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="a token that counts"):
        sft_loss(logits, tokens, NOTHING)
    loss = ppo_policy_loss(nothing, nothing, nothing, NOTHING, clip_range=0.2, normaliser=5).loss
    assert loss.item() == 0.0
    assert sft_loss(logits, tokens, NOTHING, normaliser=5.0).item() == 0.0


def test_the_first_token_of_a_text_is_no_target() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert target_mask(mask).sum() == 1
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[3, 1, 2], [0, 2, 1]])
    expected = -torch.log_softmax(logits[0, 0], dim=-1)[1]
    torch.testing.assert_close(sft_loss(logits, tokens, mask), expected)


def test_half_precision_logits_are_scored_in_float32() -> None:
    logits = torch.randn(1, 4, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    tokens = torch.arange(4).unsqueeze(0)
    scored = token_logprobs(logits, tokens, temperature=0.7)
    assert scored.dtype == torch.float32
    precise = token_logprobs(logits.double(), tokens, temperature=0.7)
    assert precise.dtype == torch.float64
    torch.testing.assert_close(scored.double(), precise, rtol=0, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        entropy_from_logits(torch.zeros(3), temperature=temperature)


def test_equal_scores_count_as_half_right() -> None:
    result = bradley_terry_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
    assert result.accuracy.item() == 0.75
    assert result.margin_mean.item() == 0.5


def test_a_tie_as_two_half_pairs_is_least_surprising_at_equal_scores() -> None:
    both_ways = torch.tensor([0.5, 0.5])
    equal = bradley_terry_loss(torch.zeros(2), torch.zeros(2), weights=both_ways).loss
    apart = bradley_terry_loss(
        torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), weights=both_ways
    ).loss
    assert equal.item() == pytest.approx(math.log(2))
    assert apart > equal


def test_extreme_margins_neither_overflow_nor_vanish() -> None:
    far = torch.tensor([200.0], requires_grad=True)
    wrong = bradley_terry_loss(torch.zeros(1), far).loss
    (gradient,) = torch.autograd.grad(wrong, far)
    assert wrong.item() == 200.0
    assert gradient.item() == 1.0


def test_pairs_without_weight_are_refused() -> None:
    with pytest.raises(ValueError, match="positive total weight"):
        bradley_terry_loss(torch.zeros(2), torch.zeros(2), weights=torch.zeros(2))


def test_the_first_update_has_the_full_rate_and_the_last_is_not_wasted() -> None:
    assert [linear_decay(step, 4) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert [linear_decay(step, 6, 2) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 0.75])
    assert [cosine(step, 4) for step in range(5)] == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0.0]
    )


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"warm-up \(5 updates\).*run \(5\)"):
        linear_decay(0, 5, 5)


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan])
def test_a_tilt_needs_a_price(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be above 0"):
        tilt(torch.zeros(2).log_softmax(-1), torch.zeros(2), beta)


def test_a_tree_must_fit_together() -> None:
    root, wrong = torch.zeros(1, 2).log_softmax(-1), torch.zeros(3, 2).log_softmax(-1)
    with pytest.raises(ValueError, match="depth 0 has 2 branches"):
        soft_values([root, wrong], torch.zeros(6), 1.0)
    with pytest.raises(ValueError, match="depth 1 has 3 nodes, not 2"):
        sequence_logprobs([root, wrong])


def test_best_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="not 0"):
        best_of_n_kl(0)


def test_explained_variance_is_one_for_foresight_and_nought_for_a_constant() -> None:
    returns = torch.tensor([[1.0, 3.0, 90.0], [5.0, 7.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert explained_variance(returns, returns, mask) == pytest.approx(1)
    assert explained_variance(returns - 4, returns, mask) == pytest.approx(1)  # spread, not level
    assert explained_variance(torch.full_like(returns, 2.0), returns, mask) == pytest.approx(0)
    assert explained_variance(-returns, returns, mask) == pytest.approx(-3)
    assert explained_variance(returns / 2, returns, mask) == pytest.approx(0.75)
