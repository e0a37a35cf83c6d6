"""What stands in the padding, and how much of it there is, changes nothing: value nor gradient."""

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assent.objectives.advantages import gae, shaped_rewards
from assent.objectives.kl import exact_kl
from assent.objectives.language_loss import sft_loss
from assent.objectives.masks import masked_mean, masked_sum, masked_whiten
from assent.objectives.policy_losses import ppo_policy_loss, value_loss

lengths = st.lists(st.integers(1, 5), min_size=1, max_size=4)
junk = st.sampled_from([torch.nan, torch.inf, -torch.inf, 1e30, -7.0])
seeds = st.integers(0, 1_000)


def padded(rows: list[list[float]], width: int, filler: float) -> Tensor:
    tensor = torch.full((len(rows), width), filler, dtype=torch.float64)
    for index, values in enumerate(rows):
        tensor[index, : len(values)] = torch.tensor(values, dtype=torch.float64)
    return tensor


def mask_of(sizes: list[int], width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(sizes).unsqueeze(1)


def rows_of(sizes: list[int], seed: int) -> list[list[float]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator).tolist() for size in sizes]


def check(
    function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    sizes: list[int],
    seed: int,
    filler: float,
    extra: int,
) -> None:
    """Compare clean, narrow inputs with dirty, wide ones: result and gradient in the first."""
    results = []
    for width, fill in ((max(sizes), 0.0), (max(sizes) + extra, filler)):
        inputs = [padded(rows_of(sizes, seed + k), width, fill) for k in range(3)]
        mask = mask_of(sizes, width)
        inputs[0].requires_grad_()
        result = function(inputs[0], inputs[1], inputs[2], mask)
        (gradient,) = torch.autograd.grad(result.sum(), inputs[0])
        assert bool((gradient[~mask] == 0).all())
        if result.shape == mask.shape:
            assert bool((result[~mask] == 0).all())
            result = result[mask]
        results.append((result, gradient[mask]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@given(sizes=lengths, seed=seeds, filler=junk, extra=st.integers(0, 3))
def test_masked_sums_means_and_whitening(
    sizes: list[int], seed: int, filler: float, extra: int
) -> None:
    check(lambda x, _y, _z, mask: masked_sum(x, mask), sizes, seed, filler, extra)
    check(lambda x, _y, _z, mask: masked_sum(x, mask, dim=1), sizes, seed, filler, extra)
    check(lambda x, _y, _z, mask: masked_mean(x, mask), sizes, seed, filler, extra)
    check(lambda x, _y, _z, mask: masked_mean(x, mask, dim=1), sizes, seed, filler, extra)
    check(lambda x, _y, _z, mask: masked_whiten(x, mask), sizes, seed, filler, extra)
    check(
        lambda x, _y, _z, mask: masked_whiten(x, mask, shift_mean=False),
        sizes,
        seed,
        filler,
        extra,
    )


@given(sizes=lengths, seed=seeds, filler=junk, extra=st.integers(0, 3))
def test_the_losses_of_ppo(sizes: list[int], seed: int, filler: float, extra: int) -> None:
    def policy(x: Tensor, y: Tensor, z: Tensor, mask: Tensor) -> Tensor:
        return ppo_policy_loss(x, y, z, mask, clip_range=0.2).loss

    def clipped_value(x: Tensor, y: Tensor, z: Tensor, mask: Tensor) -> Tensor:
        return value_loss(x, y, z, mask, clip_range=0.2).loss

    def plain_value(x: Tensor, y: Tensor, z: Tensor, mask: Tensor) -> Tensor:
        return value_loss(x, y, z, mask, clip_range=None).loss

    for loss in (policy, clipped_value, plain_value):
        check(loss, sizes, seed, filler, extra)


@given(sizes=lengths, seed=seeds, filler=junk, extra=st.integers(0, 3))
def test_the_figures_of_ppo(sizes: list[int], seed: int, filler: float, extra: int) -> None:
    def figures(width: int, fill: float) -> tuple[Tensor, ...]:
        new, old, targets = (padded(rows_of(sizes, seed + k), width, fill) for k in range(3))
        mask = mask_of(sizes, width)
        policy = ppo_policy_loss(new, old, targets, mask, clip_range=0.2)
        return (*policy, *value_loss(new, old, targets, mask, clip_range=0.2))

    torch.testing.assert_close(
        figures(max(sizes) + extra, filler), figures(max(sizes), 0.0), rtol=1e-12, atol=1e-12
    )


@given(sizes=lengths, seed=seeds, filler=junk, extra=st.integers(0, 3))
def test_rewards_and_advantages(sizes: list[int], seed: int, filler: float, extra: int) -> None:
    def outcome(width: int, fill: float) -> tuple[Tensor, Tensor, Tensor]:
        logprobs, reference, values = (
            padded(rows_of(sizes, seed + k), width, fill) for k in range(3)
        )
        mask = mask_of(sizes, width)
        scores = torch.arange(float(len(sizes)), dtype=torch.float64)
        rewards = shaped_rewards(scores, logprobs, reference, mask, kl_coef=0.1)
        estimate = gae(rewards, values, mask)
        for result in (rewards, *estimate):
            assert bool((result[~mask] == 0).all())
        return rewards[mask], estimate.advantages[mask], estimate.returns[mask]

    torch.testing.assert_close(
        outcome(max(sizes) + extra, filler), outcome(max(sizes), 0.0), rtol=1e-12, atol=1e-12
    )


@given(sizes=lengths, seed=seeds, filler=junk, extra=st.integers(0, 3))
def test_losses_on_logits(sizes: list[int], seed: int, filler: float, extra: int) -> None:
    def outcome(width: int, fill: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        clean = torch.randn(2, len(sizes), 6, 4, generator=generator, dtype=torch.float64)
        labels = torch.randint(4, (len(sizes), 6), generator=generator)
        mask = mask_of([size + 1 for size in sizes], width)
        logits, others = torch.full((2, len(sizes), width, 4), fill, dtype=torch.float64)
        tokens = torch.zeros(len(sizes), width, dtype=torch.long)
        for index, size in enumerate(sizes):
            logits[index, : size + 1] = clean[0, index, : size + 1]
            others[index, : size + 1] = clean[1, index, : size + 1]
            tokens[index, : size + 1] = labels[index, : size + 1]
        logits.requires_grad_()
        loss = sft_loss(logits, tokens, mask)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert bool((gradient[~mask] == 0).all())
        distance = exact_kl(logits.detach(), others, mask, temperature=0.7)
        assert bool((distance[~mask] == 0).all())
        return loss.detach(), gradient[mask], distance[mask], distance.sum()

    torch.testing.assert_close(
        outcome(max(sizes) + 1 + extra, filler), outcome(max(sizes) + 1, 0.0), rtol=1e-12, atol=0
    )
