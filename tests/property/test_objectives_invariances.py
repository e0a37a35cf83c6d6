"""What each objective must not depend on, and which way it must move."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assent.objectives.advantages import gae, shaped_rewards
from assent.objectives.kl import adaptive_kl_coef, categorical_kl, k2, k3
from assent.objectives.logprobs import token_logprobs
from assent.objectives.masks import (
    last_index,
    left_pad,
    masked_mean,
    masked_whiten,
    position_ids,
    response_mask_until_eos,
    right_pad,
)
from assent.objectives.policy_losses import ppo_policy_loss
from assent.objectives.preference_losses import bradley_terry_loss
from assent.objectives.schedules import constant, cosine, linear_decay
from assent.objectives.tilting import best_of_n_kl, effective_number, tilt

seeds = st.integers(0, 10_000)
sequences = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=4)


def draw(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(sequences=sequences)
def test_padding_on_either_side_can_be_taken_off_again(sequences: list[list[int]]) -> None:
    """The pad id is a real token here: only the mask may say what is padding."""
    for pad in (left_pad, right_pad):
        tokens, mask = pad(sequences, 3)
        assert tokens.shape == mask.shape
        assert [row[keep].tolist() for row, keep in zip(tokens, mask, strict=True)] == sequences
    left, right = left_pad(sequences, 3).mask, right_pad(sequences, 3).mask
    assert torch.equal(left, right.flip(1))
    if any(sequences):
        assert bool(left[:, -1].any())


@given(sequences=sequences)
def test_positions_count_real_tokens_from_zero(sequences: list[list[int]]) -> None:
    for pad in (left_pad, right_pad):
        mask = pad(sequences, 0).mask
        positions = position_ids(mask)
        for row, sequence in enumerate(sequences):
            assert positions[row][mask[row]].tolist() == list(range(len(sequence)))
        assert bool((positions >= 0).all())


@given(rows=st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=4))
def test_a_response_ends_with_its_first_end_token(rows: list[list[int]]) -> None:
    mask = response_mask_until_eos(torch.tensor(rows), 2)
    lengths = [row.index(2) + 1 if 2 in row else 4 for row in rows]
    assert mask.sum(dim=1).tolist() == lengths
    assert last_index(mask).tolist() == [length - 1 for length in lengths]


@given(seed=seeds, shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
def test_whitened_values_have_mean_zero_and_variance_one_wherever_they_came_from(
    seed: int, shift: float, scale: float
) -> None:
    values, mask = draw(4, 5, seed=seed), draw(4, 5, seed=seed + 1) > -0.5
    whitened = masked_whiten(values * scale + shift, mask)
    assert masked_mean(whitened, mask).item() == pytest.approx(0.0, abs=1e-9)
    assert masked_mean(whitened.square(), mask).item() == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(whitened, masked_whiten(values, mask), rtol=1e-4, atol=1e-5)


@given(seed=seeds, shift=st.floats(-100, 100))
def test_a_constant_added_to_all_logits_or_all_scores_changes_nothing(
    seed: int, shift: float
) -> None:
    logits, tokens = draw(2, 3, 5, seed=seed), torch.tensor([[0, 1, 2], [4, 3, 2]])
    torch.testing.assert_close(
        token_logprobs(logits + shift, tokens, temperature=0.7),
        token_logprobs(logits, tokens, temperature=0.7),
    )
    chosen, rejected = draw(2, 6, seed=seed)
    torch.testing.assert_close(
        bradley_terry_loss(chosen + shift, rejected + shift).loss,
        bradley_terry_loss(chosen, rejected).loss,
    )
    reference, rewards = draw(2, 6, seed=seed).log_softmax(-1)
    torch.testing.assert_close(tilt(reference, rewards + shift, 0.5), tilt(reference, rewards, 0.5))


@given(seed=seeds)
def test_the_order_of_a_batch_changes_no_mean(seed: int) -> None:
    new, old, advantages = draw(3, 5, 4, seed=seed)
    mask = draw(5, 4, seed=seed + 1) > -1
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    plain = ppo_policy_loss(new, old, advantages, mask, clip_range=0.2)
    mixed = ppo_policy_loss(new[order], old[order], advantages[order], mask[order], clip_range=0.2)
    torch.testing.assert_close(mixed, plain)


@given(seed=seeds)
def test_an_unchanged_policy_has_ratio_one_and_nothing_clipped(seed: int) -> None:
    logprobs, advantages = draw(2, 3, 4, seed=seed)
    mask = torch.ones(3, 4, dtype=torch.bool)
    whitened = masked_whiten(advantages, mask)
    result = ppo_policy_loss(logprobs, logprobs, whitened, mask, clip_range=0.2)
    assert abs(result.loss.item()) < 1e-12
    assert result.ratio_mean == 1
    assert result.clip_fraction == 0
    assert result.approximate_kl == 0
    assert result.ratio_max_deviation == 0


@given(seed=seeds)
def test_kl_is_never_negative_nor_are_k2_and_k3(seed: int) -> None:
    policy, reference = draw(2, 8, seed=seed).log_softmax(-1)
    assert categorical_kl(policy, reference).item() >= 0
    assert categorical_kl(policy, policy).item() == 0
    assert bool((k2(policy, reference) >= 0).all())
    assert bool((k3(policy, reference) >= 0).all())


@given(seed=seeds, score=st.floats(-5, 5), coef=st.floats(0, 1), more=st.floats(0.01, 1))
def test_the_shaped_rewards_of_a_response_sum_to_its_score_less_the_price_of_its_kl(
    seed: int, score: float, coef: float, more: float
) -> None:
    logprobs, reference = draw(2, 1, 4, seed=seed)
    mask = torch.tensor([[True, True, True, False]])
    kl_nats = (logprobs - reference)[mask].sum().item()

    def total(kl_coef: float) -> float:
        scores = torch.tensor([score], dtype=torch.float64)
        return shaped_rewards(scores, logprobs, reference, mask, kl_coef=kl_coef).sum().item()

    assert total(coef) == pytest.approx(score - coef * kl_nats, abs=1e-9)
    assert total(coef + more) - total(coef) == pytest.approx(-more * kl_nats, abs=1e-9)


@given(seed=seeds, factor=st.floats(-3, 3))
def test_advantages_are_linear_in_rewards_and_values_together(seed: int, factor: float) -> None:
    rewards, values = draw(2, 2, 5, seed=seed)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    plain, scaled = gae(rewards, values, mask), gae(factor * rewards, factor * values, mask)
    torch.testing.assert_close(scaled.advantages, factor * plain.advantages)
    torch.testing.assert_close(scaled.returns, factor * plain.returns)


@given(seed=seeds, beta=st.floats(0.1, 2.0))
def test_a_higher_price_of_kl_buys_less_of_it_and_less_reward(seed: int, beta: float) -> None:
    logits, rewards = draw(2, 8, seed=seed)
    reference = logits.log_softmax(-1)
    cheap, dear = tilt(reference, rewards, beta), tilt(reference, rewards, 1.5 * beta)
    assert categorical_kl(dear, reference) < categorical_kl(cheap, reference)
    assert (dear.exp() * rewards).sum() < (cheap.exp() * rewards).sum()
    assert 1 <= effective_number(cheap).item() <= 8


@given(coef=st.floats(1e-3, 10), kl_nats=st.floats(0, 100), episodes=st.integers(1, 512))
def test_the_controller_raises_the_coefficient_exactly_when_kl_is_over_the_target(
    coef: float, kl_nats: float, episodes: int
) -> None:
    following = adaptive_kl_coef(
        coef, kl_nats, target_nats=6.0, episodes=episodes, horizon_episodes=10_000
    )
    bound = 0.2 * episodes / 10_000
    assert 1 - bound - 1e-12 <= following / coef <= 1 + bound + 1e-12
    if abs(kl_nats - 6) > 1e-6:
        assert (following > coef) == (kl_nats > 6)


@given(total=st.integers(2, 50), data=st.data())
def test_schedules_climb_to_one_and_fall_to_zero(total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    for schedule in (linear_decay, cosine, constant):
        rates = [schedule(step, total, warmup) for step in range(total + 3)]
        assert all(0 <= rate <= 1 for rate in rates)
        assert rates[0] == pytest.approx(1 / (warmup + 1))
        assert rates[warmup] == 1
        assert all(a < b for a, b in pairwise(rates[: warmup + 1]))
        after = rates[warmup:total]
        assert all(a >= b for a, b in pairwise(after))
        assert rates[total] == (1 if schedule is constant else pytest.approx(0, abs=1e-12))
        assert all(rate > 0 for rate in rates[:total])


@given(n=st.integers(1, 10_000))
def test_more_samples_cost_more_kl_but_never_log_n(n: int) -> None:
    assert best_of_n_kl(n) < best_of_n_kl(n + 1)
    assert 0 <= best_of_n_kl(n) <= math.log(n)
