"""Group baselines where everything can be listed: their expected gradients, and their fixed points.

The world is that of `test_ppo_exact`: sequences of up to four tokens, a table of logits a state.
A group of two is a pair of sequences, and all 961 pairs are listed with their probabilities, so the
expectation over groups is exact.
"""

import pytest
import torch
from tests.oracle.test_ppo_exact import (
    MASK,
    STATE,
    TOKENS,
    scores_of_all,
    sequence_table,
    table,
    token_table,
)
from torch import Tensor

from assent.objectives.group_advantages import (
    GroupBaseline,
    KlLevel,
    MovingBaseline,
    group_advantages,
    returns_to_go,
)
from assent.objectives.kl import categorical_kl, k1
from assent.objectives.logprobs import token_logprobs
from assent.objectives.policy_losses import (
    Aggregation,
    KlEstimator,
    kl_loss,
    ppo_policy_loss,
    response_weights,
)
from assent.objectives.tilting import objective, tilt

COUNT = len(TOKENS)
FIRST, SECOND = (one.flatten() for one in torch.meshgrid(
    torch.arange(COUNT), torch.arange(COUNT), indexing="ij"
))  # fmt: skip
PAIRS = torch.stack([FIRST, SECOND], dim=1).flatten()
"""Both members of every pair, side by side."""
BETA = 0.3


def exact_gradient(logits: Tensor, reference: Tensor, scores: Tensor, beta: float) -> Tensor:
    goal = objective(sequence_table(logits), sequence_table(reference), scores, beta)
    (gradient,) = torch.autograd.grad(goal, logits)
    return gradient


def returns_of(
    logits: Tensor, reference: Tensor, scores: Tensor, beta: float, level: KlLevel
) -> Tensor:
    kl = k1(token_table(logits), token_table(reference))
    return returns_to_go(scores, kl, MASK, kl_coef=beta, level=level)


def expected_gradient(logits: Tensor, advantages: Tensor, rows: Tensor, chance: Tensor) -> Tensor:
    """Ascent direction of the loss: each row weighs in with its chance, tokens are summed."""
    logprobs = token_table(logits)[rows]
    loss = ppo_policy_loss(
        logprobs, logprobs, advantages, MASK[rows], clip_range=0.2, weights=chance
    ).loss
    (gradient,) = torch.autograd.grad(-loss, logits)
    return gradient


def group_gradient(
    logits: Tensor, reference: Tensor, scores: Tensor, baseline: GroupBaseline, level: KlLevel
) -> Tensor:
    returns = returns_of(logits, reference, scores, BETA, level)[PAIRS]
    advantages = group_advantages(returns, MASK[PAIRS], samples=2, baseline=baseline)
    single = sequence_table(logits).exp().detach()
    pair = (single[FIRST] * single[SECOND]).repeat_interleave(2) / 2
    return expected_gradient(logits, advantages, PAIRS, pair)


@pytest.mark.parametrize("level", ["sequence", "token"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rloo_has_the_exact_policy_gradient_in_expectation(seed: int, level: KlLevel) -> None:
    logits, reference = table(seed).requires_grad_(), table(seed + 50)
    scores = scores_of_all(seed)
    expected = exact_gradient(logits, reference, scores, BETA)
    found = group_gradient(logits, reference, scores, "rloo", level)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert expected.abs().max() > 1e-2


@pytest.mark.parametrize("level", ["sequence", "token"])
def test_dr_grpo_has_that_gradient_times_one_half_in_groups_of_two(level: KlLevel) -> None:
    logits, reference, scores = table(3).requires_grad_(), table(53), scores_of_all(3)
    expected = exact_gradient(logits, reference, scores, BETA)
    found = group_gradient(logits, reference, scores, "dr_grpo", level)
    torch.testing.assert_close(found, expected / 2, rtol=1e-10, atol=1e-12)


def test_grpo_has_another_gradient_that_of_winning_against_another_sample() -> None:
    """In groups of two the spread divides the gap away: only which is better is left."""
    logits, reference, scores = table(4).requires_grad_(), table(54), scores_of_all(4)
    found = group_gradient(logits, reference, scores, "grpo", "sequence")
    exact = exact_gradient(logits, reference, scores, BETA)
    alike = torch.nn.functional.cosine_similarity(found.flatten(), exact.flatten(), dim=0)
    assert 0.9 < alike < 0.999

    totals = returns_of(logits.detach(), reference, scores, BETA, "sequence")[:, 0]
    wins = (totals[:, None] > totals[None, :]).double()
    chances = sequence_table(logits).exp()
    other = chances.detach()
    # d/dtheta of P(a sample beats one of the same policy, held fixed), less that of losing.
    goal = chances @ (wins - wins.T) @ other / 2**0.5
    (expected,) = torch.autograd.grad(goal, logits)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mean", [None, -2.0, 7.0])
def test_reinforce_has_the_exact_gradient_whatever_the_baseline(mean: float | None) -> None:
    logits, reference, scores = table(5).requires_grad_(), table(55), scores_of_all(5)
    returns = returns_of(logits, reference, scores, BETA, "sequence")
    expected = exact_gradient(logits, reference, scores, BETA)
    chances = sequence_table(logits).exp().detach()
    if mean is not None:
        advantages = MovingBaseline(decay=0.9, mean=mean).advantages(returns, MASK)
        found = expected_gradient(logits, advantages, torch.arange(COUNT), chances)
    else:  # the first batch: all pairs are all batches of two
        pair = chances[FIRST] * chances[SECOND]
        both = torch.stack([returns[FIRST], returns[SECOND]], dim=1)
        masks = torch.stack([MASK[FIRST], MASK[SECOND]], dim=1)
        fresh = MovingBaseline(decay=0.9)
        alone = torch.stack(
            [fresh.advantages(two, mask) for two, mask in zip(both, masks, strict=True)]
        )
        found = expected_gradient(logits, alone.flatten(0, 1), PAIRS, pair.repeat_interleave(2) / 2)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_a_single_group_is_noisier_without_its_baseline() -> None:
    """What a baseline is for: the same mean of gradients, and less spread around it."""
    logits, reference, scores = table(6).requires_grad_(), table(56), scores_of_all(6) + 3.0
    returns = returns_of(logits, reference, scores, BETA, "sequence")[PAIRS]
    chances = sequence_table(logits).exp().detach()
    pair = chances[FIRST] * chances[SECOND]
    jacobian = torch.func.jacrev(sequence_table)(logits.detach()).flatten(1)[PAIRS]

    def spread(advantages: Tensor) -> Tensor:
        each = (advantages[:, :1] * jacobian).view(-1, 2, jacobian.shape[1]).mean(1)
        mean = (pair[:, None] * each).sum(0)
        total: Tensor = (pair[:, None] * (each - mean).square()).sum()
        return total

    compared = group_advantages(returns, MASK[PAIRS], samples=2, baseline="rloo")
    assert spread(compared) < spread(returns) / 2


@pytest.mark.parametrize(
    ("estimator", "level", "forward"),
    [("k2", "sequence", True), ("k3", "sequence", False), ("k2", "token", None)],
)
def test_what_kl_as_a_term_of_the_loss_has_as_its_gradient(
    estimator: KlEstimator, level: KlLevel, forward: bool | None
) -> None:
    """Sequence-level k2: KL(policy || reference). k3: the other way round. Token-level: neither."""
    logits, reference = table(7).requires_grad_(), table(57)
    chances = sequence_table(logits).exp().detach()
    loss = kl_loss(
        token_table(logits), token_table(reference), MASK,
        estimator=estimator, level=level, weights=chances,
    )  # fmt: skip
    (found,) = torch.autograd.grad(loss, logits)
    mine, other = sequence_table(logits), sequence_table(reference)
    (there,) = torch.autograd.grad(categorical_kl(mine, other), logits, retain_graph=True)
    (back,) = torch.autograd.grad(categorical_kl(other, mine), logits)
    for is_it, expected in ((forward is True, there), (forward is False, back)):
        off = float((found - expected).norm() / expected.norm())
        assert off < 1e-10 if is_it else off > 1e-2


@pytest.mark.parametrize("baseline", ["rloo", "dr_grpo", "grpo"])
@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_at_the_tilt_no_advantage_is_left_whatever_divides_it(
    baseline: GroupBaseline, aggregation: Aggregation
) -> None:
    """With KL in the reward all responses are worth the same there, so it is a fixed point."""
    reference, scores = table(58), scores_of_all(8)
    best = tilt(sequence_table(reference), scores, BETA)
    # Of whole sequences: only their sum enters, so all of it may stand at the first token.
    kl = torch.zeros_like(MASK, dtype=torch.float64)
    kl[:, 0] = best - sequence_table(reference)
    returns = returns_to_go(scores, kl, MASK, kl_coef=BETA, level="sequence")
    totals = returns[:, :1]
    torch.testing.assert_close(totals, totals[:1].expand_as(totals), rtol=0, atol=1e-12)
    found = group_advantages(returns[PAIRS], MASK[PAIRS], samples=2, baseline=baseline)
    weights = response_weights(MASK[PAIRS], aggregation, length=4)
    limit = 1e-6 if baseline == "grpo" else 1e-11  # rounding over epsilon
    assert (found * weights[:, None]).abs().max() < limit


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("baseline", ["rloo", "grpo"])
def test_o8_from_samples_they_reach_the_optimum(seed: int, baseline: GroupBaseline) -> None:
    beta, reference, scores = 0.5, table(seed + 50), scores_of_all(seed)
    generator = torch.Generator().manual_seed(seed)
    logits = reference.clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.1)
    best = tilt(sequence_table(reference), scores, beta)
    start = categorical_kl(sequence_table(logits.detach()), best).item()
    for update in range(300):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * (1 - update / 300)
        chances = sequence_table(logits.detach()).exp()
        drawn = torch.multinomial(chances, 512, replacement=True, generator=generator)
        states, tokens, mask = STATE[drawn], TOKENS[drawn], MASK[drawn]
        old = token_logprobs(logits.detach()[states], tokens, temperature=1.0)
        kl = k1(old, token_logprobs(reference[states], tokens, temperature=1.0))
        returns = returns_to_go(scores[drawn], kl, mask, kl_coef=beta, level="sequence")
        advantages = group_advantages(returns, mask, samples=4, baseline=baseline)
        logprobs = token_logprobs(logits[states], tokens, temperature=1.0)
        weights = response_weights(mask, "constant", length=4)
        loss = ppo_policy_loss(logprobs, old, advantages, mask, clip_range=0.2, weights=weights)
        optimiser.zero_grad()
        torch.autograd.backward(loss.loss)
        optimiser.step()
    assert start > 0.3
    assert categorical_kl(sequence_table(logits.detach()), best).item() < 3e-3
