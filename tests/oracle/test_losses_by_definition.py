"""Each loss against its formula in plain Python, and each gradient against finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assent.objectives.kl import exact_kl, k2, k3
from assent.objectives.language_loss import sft_loss
from assent.objectives.logprobs import entropy_from_logits, next_token_logprobs, token_logprobs
from assent.objectives.masks import masked_whiten
from assent.objectives.policy_losses import ppo_policy_loss, value_loss
from assent.objectives.preference_losses import bradley_terry_loss

Check = tuple[Callable[..., Tensor], tuple[Tensor, ...]]

logprob = st.floats(-4, 0)
number = st.floats(-3, 3)
clip = st.floats(0.05, 0.5)
MASK = torch.tensor([[True, True, True, False], [True, True, False, False]])


def row(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(
    tokens=st.lists(st.tuples(logprob, logprob, number, st.booleans()), min_size=1, max_size=6),
    epsilon=clip,
)
def test_ppos_policy_loss_is_its_formula(
    tokens: list[tuple[float, float, float, bool]], epsilon: float
) -> None:
    tokens = [*tokens, (-1.0, -1.5, 0.7, True)]
    new, old, advantages, counts = map(list, zip(*tokens, strict=True))
    kept = [(a, b, c) for a, b, c, counted in tokens if counted]
    losses, clipped, squares, ratios = [], 0, [], []
    for now, before, advantage in kept:
        ratio = math.exp(now - before)
        bounded = min(max(ratio, 1 - epsilon), 1 + epsilon)
        losses.append(max(-advantage * ratio, -advantage * bounded))
        clipped += -advantage * bounded > -advantage * ratio
        squares.append((now - before) ** 2)
        ratios.append(ratio)

    result = ppo_policy_loss(
        row(new), row(old), row(advantages), torch.tensor([counts]), clip_range=epsilon
    )

    count = len(kept)
    assert result.loss.item() == pytest.approx(sum(losses) / count, rel=1e-9, abs=1e-12)
    assert result.clip_fraction.item() == pytest.approx(clipped / count)
    assert result.approximate_kl.item() == pytest.approx(sum(squares) / count / 2, abs=1e-12)
    assert result.ratio_mean.item() == pytest.approx(sum(ratios) / count)
    worst = max(abs(ratio - 1) for ratio in ratios)
    assert result.ratio_max_deviation.item() == pytest.approx(worst, abs=1e-12)


@given(
    tokens=st.lists(st.tuples(number, number, number, st.booleans()), min_size=1, max_size=6),
    epsilon=st.none() | clip,
)
def test_the_value_loss_is_its_formula(
    tokens: list[tuple[float, float, float, bool]], epsilon: float | None
) -> None:
    tokens = [*tokens, (-1.0, 1.5, 0.7, True)]
    values, old, returns, counts = map(list, zip(*tokens, strict=True))
    errors, clipped = [], 0
    for value, before, target in [(a, b, c) for a, b, c, counted in tokens if counted]:
        plain = (value - target) ** 2
        if epsilon is None:
            errors.append(plain)
            continue
        near = (min(max(value, before - epsilon), before + epsilon) - target) ** 2
        errors.append(max(plain, near))
        clipped += near > plain

    result = value_loss(
        row(values), row(old), row(returns), torch.tensor([counts]), clip_range=epsilon
    )

    assert result.loss.item() == pytest.approx(sum(errors) / len(errors) / 2, abs=1e-12)
    assert result.clip_fraction.item() == pytest.approx(clipped / len(errors))


@given(
    pairs=st.lists(st.tuples(number, number, number, st.floats(0.1, 2)), min_size=1, max_size=6),
    centre_coef=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_the_bradley_terry_loss_is_its_formula(
    pairs: list[tuple[float, float, float, float]], centre_coef: float
) -> None:
    chosen, rejected, margin, weights = torch.tensor(pairs, dtype=torch.float64).T
    total = loss = won = ahead = 0.0
    for better, worse, by, weight in pairs:
        likelihood = 1 / (1 + math.exp(-(better - worse - by)))
        loss += weight * (-math.log(likelihood) + centre_coef * (better + worse) ** 2)
        won += weight * (1.0 if better > worse else 0.5 if better == worse else 0.0)
        ahead += weight * (better - worse)
        total += weight

    result = bradley_terry_loss(
        chosen, rejected, margin=margin, centre_coef=centre_coef, weights=weights
    )

    assert result.loss.item() == pytest.approx(loss / total, rel=1e-9)
    assert result.accuracy.item() == pytest.approx(won / total)
    assert result.margin_mean.item() == pytest.approx(ahead / total, abs=1e-12)


def test_the_language_loss_is_the_mean_surprise_of_the_tokens_that_count() -> None:
    logits, tokens = draw(2, 4, 5), torch.tensor([[1, 2, 3, 4], [4, 0, 2, 2]])
    mask = torch.tensor([[True, False, True, True], [True, True, False, False]])
    surprises = []
    for batch, position in [(0, 2), (0, 3), (1, 1)]:
        weights = [math.exp(x) for x in logits[batch, position - 1].tolist()]
        surprises.append(-math.log(weights[int(tokens[batch, position])] / sum(weights)))
    assert sft_loss(logits, tokens, mask).item() == pytest.approx(sum(surprises) / 3)


def test_logprobs_and_entropy_are_those_of_the_tempered_softmax() -> None:
    logits, tokens, temperature = draw(1, 3, 5), torch.tensor([[4, 0, 2]]), 0.7
    for position in range(3):
        weights = [math.exp(x / temperature) for x in logits[0, position].tolist()]
        chances = [weight / sum(weights) for weight in weights]
        scored = token_logprobs(logits, tokens, temperature=temperature)[0, position]
        assert scored.item() == pytest.approx(math.log(chances[int(tokens[0, position])]))
        entropy = entropy_from_logits(logits, temperature=temperature)[0, position]
        assert entropy.item() == pytest.approx(-sum(p * math.log(p) for p in chances))
    shifted = next_token_logprobs(logits, tokens, temperature=temperature)
    aligned = token_logprobs(logits[:, :2], tokens[:, 1:], temperature=temperature)
    assert torch.equal(shifted, aligned)


@pytest.mark.parametrize("seed", range(4))
def test_gradients_agree_with_finite_differences(seed: int) -> None:
    first, second, third = draw(3, 2, 4, seed=seed)
    first.requires_grad_()
    logits, others = draw(2, 2, 4, 5, seed=seed + 10)
    logits.requires_grad_()
    tokens = torch.randint(5, (2, 4), generator=torch.Generator().manual_seed(seed))
    pairs = draw(2, 6, seed=seed + 20)
    chosen, rejected = (side.requires_grad_() for side in pairs)
    checks: list[Check] = [
        (lambda x: ppo_policy_loss(x, second, third, MASK, clip_range=0.2).loss, (first,)),
        (lambda x: value_loss(x, second, third, MASK, clip_range=0.2).loss, (first,)),
        (lambda x: value_loss(x, second, third, MASK, clip_range=None).loss, (first,)),
        (lambda x, y: bradley_terry_loss(x, y, centre_coef=0.1).loss, (chosen, rejected)),
        (lambda x: sft_loss(x, tokens, MASK), (logits,)),
        (lambda x: token_logprobs(x, tokens, temperature=0.7), (logits,)),
        (lambda x: entropy_from_logits(x, temperature=0.7), (logits,)),
        (lambda x: exact_kl(x, others, MASK, temperature=0.7), (logits,)),
        (lambda x: k2(x, second), (first,)),
        (lambda x: k3(x, second), (first,)),
        (lambda x: masked_whiten(x, MASK), (first,)),
    ]
    for function, inputs in checks:
        assert torch.autograd.gradcheck(function, inputs)


def test_only_what_is_being_trained_gets_a_gradient() -> None:
    new, old, targets = (draw(2, 4, seed=seed).requires_grad_() for seed in range(3))
    policy = ppo_policy_loss(new, old, targets, MASK, clip_range=0.2)
    value = value_loss(new, old, targets, MASK, clip_range=0.2)
    torch.autograd.backward(policy.loss + value.loss)
    assert new.grad is not None
    assert old.grad is None
    assert targets.grad is None
    assert not policy.approximate_kl.requires_grad
    assert not value.clip_fraction.requires_grad


def test_a_forbidden_token_adds_nothing_to_the_entropy_or_its_gradient() -> None:
    logits = torch.tensor([0.3, -0.2, -math.inf], requires_grad=True)
    entropy = entropy_from_logits(logits, temperature=1.0)
    allowed = torch.tensor([0.3, -0.2], requires_grad=True)
    expected = entropy_from_logits(allowed, temperature=1.0)
    torch.testing.assert_close(entropy, expected)
    (gradient,) = torch.autograd.grad(entropy, logits)
    (wanted,) = torch.autograd.grad(expected, allowed)
    torch.testing.assert_close(gradient, torch.cat([wanted, torch.zeros(1)]))
