"""One batch of eight or eight of one: with the window's normaliser the step is the same."""

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assent.objectives.language_loss import sft_loss, target_mask
from assent.objectives.policy_losses import ppo_policy_loss, value_loss
from assent.objectives.preference_losses import bradley_terry_loss

sizes = st.lists(st.integers(0, 5), min_size=8, max_size=8).filter(any)
micro_batches = st.sampled_from([1, 2, 4])
seeds = st.integers(0, 1_000)


def same_step(loss_of: Callable[[slice, bool], Tensor], trained: Tensor, micro_batch: int) -> None:
    """Loss and gradient of the whole batch against the sum over its micro-batches."""
    whole = loss_of(slice(None), False)
    (gradient,) = torch.autograd.grad(whole, trained)
    parts = [loss_of(slice(i, i + micro_batch), True) for i in range(0, 8, micro_batch)]
    (accumulated,) = torch.autograd.grad(torch.stack(parts).sum(), trained)
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(accumulated, gradient, rtol=1e-12, atol=1e-12)


@given(sizes=sizes, micro_batch=micro_batches, seed=seeds)
def test_the_losses_of_ppo(sizes: list[int], micro_batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    new, old, targets = torch.randn(3, 8, 5, generator=generator, dtype=torch.float64)
    new.requires_grad_()
    mask = torch.arange(5) < torch.tensor(sizes).unsqueeze(1)

    def policy(rows: slice, window: bool) -> Tensor:
        return ppo_policy_loss(
            new[rows],
            old[rows],
            targets[rows],
            mask[rows],
            clip_range=0.2,
            normaliser=mask.sum() if window else None,
        ).loss

    def value(rows: slice, window: bool) -> Tensor:
        return value_loss(
            new[rows],
            old[rows],
            targets[rows],
            mask[rows],
            clip_range=0.2,
            normaliser=mask.sum() if window else None,
        ).loss

    same_step(policy, new, micro_batch)
    same_step(value, new, micro_batch)


@given(sizes=sizes, micro_batch=micro_batches, seed=seeds)
def test_the_figures_of_ppo_add_up_too(sizes: list[int], micro_batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    new, old, targets = torch.randn(3, 8, 5, generator=generator, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor(sizes).unsqueeze(1)
    slices = [slice(i, i + micro_batch) for i in range(0, 8, micro_batch)]
    whole = ppo_policy_loss(new, old, targets, mask, clip_range=0.2)
    parts = [
        ppo_policy_loss(
            new[rows], old[rows], targets[rows], mask[rows], clip_range=0.2, normaliser=mask.sum()
        )
        for rows in slices
    ]
    for name in ("clip_fraction", "approximate_kl", "ratio_mean"):
        total = torch.stack([getattr(part, name) for part in parts]).sum()
        torch.testing.assert_close(total, getattr(whole, name), rtol=1e-12, atol=1e-12)
    worst = torch.stack([part.ratio_max_deviation for part in parts]).max()
    assert worst == whole.ratio_max_deviation


@given(sizes=sizes, micro_batch=micro_batches, seed=seeds)
def test_the_language_loss(sizes: list[int], micro_batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, 6, 4, generator=generator, dtype=torch.float64).requires_grad_()
    tokens = torch.randint(4, (8, 6), generator=generator)
    mask = torch.arange(6) < (torch.tensor(sizes) + 1).unsqueeze(1)

    def loss(rows: slice, window: bool) -> Tensor:
        normaliser = target_mask(mask).sum() if window else None
        return sft_loss(logits[rows], tokens[rows], mask[rows], normaliser=normaliser)

    same_step(loss, logits, micro_batch)


@given(micro_batch=micro_batches, seed=seeds)
def test_the_reward_models_loss(micro_batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 8, generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.rand(8, generator=generator, dtype=torch.float64) + 0.1

    def loss(rows: slice, window: bool) -> Tensor:
        return bradley_terry_loss(
            scores[0, rows],
            scores[1, rows],
            centre_coef=0.01,
            weights=weights[rows],
            normaliser=weights.sum() if window else None,
        ).loss

    same_step(loss, scores, micro_batch)
